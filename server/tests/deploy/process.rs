//! A process as something in `deploy/` starts it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use crate::deploy::ROLES;
use crate::support::{evanesce, text};

/// A command line and an environment.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    /// Where it stands, for whoever reads a failure.
    pub(crate) place: String,
    /// The role, and what is behind it on the command line.
    pub(crate) arguments: Vec<String>,
    /// What is set for it.
    pub(crate) environment: BTreeMap<String, String>,
    /// The file that `EVANESCE_CONFIG` names there, where it lies in the repository.
    pub(crate) file: Option<PathBuf>,
}

/// What is in effect, as `config print` says.
#[derive(Debug)]
pub(crate) struct Effective(toml::Table);

impl Process {
    /// What is in effect; fails where the binary would not start with it.
    pub(crate) fn effective(&self) -> Effective {
        let role = self.arguments.first().unwrap_or_else(|| panic!("{}: no role", self.place));
        assert!(ROLES.contains(&role.as_str()), "{}: {role} is no role", self.place);
        let printed = self.config("print");
        // What is printed may not hold: `print` looks at no file. Without TLS there is none to look at.
        if !self.environment.keys().any(|name| name.contains("TLS")) {
            self.config("check");
        }
        let mut table: toml::Table = printed.parse().unwrap();
        match table.remove(role.as_str()) {
            Some(toml::Value::Table(options)) => Effective(options),
            other => panic!("{}: {other:?}", self.place),
        }
    }

    fn config(&self, verb: &str) -> String {
        let mut command = evanesce();
        command.args(["config", verb]).args(&self.arguments).envs(&self.environment);
        match &self.file {
            Some(file) => command.env("EVANESCE_CONFIG", file),
            None => command.env_remove("EVANESCE_CONFIG"),
        };
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}: {}", self.place, text(&output.stderr));
        text(&output.stdout)
    }
}

impl Effective {
    /// An option's text.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(toml::Value::as_str).unwrap_or_else(|| panic!("{name} is not in effect"))
    }

    /// An option's number.
    pub(crate) fn number(&self, name: &str) -> u64 {
        let number = self.0.get(name).and_then(toml::Value::as_integer);
        number.and_then(|number| u64::try_from(number).ok()).unwrap_or_else(|| panic!("{name} is no number"))
    }

    /// An option's values.
    pub(crate) fn texts(&self, name: &str) -> Vec<&str> {
        let values = self.0.get(name).and_then(toml::Value::as_array);
        values
            .unwrap_or_else(|| panic!("{name} is not in effect"))
            .iter()
            .flat_map(toml::Value::as_str)
            .collect()
    }

    /// How long it drains at most.
    pub(crate) fn drain_secs(&self) -> u64 {
        seconds(self.text("drain_deadline"))
    }

    /// The bytes of an option such as `1GiB`.
    pub(crate) fn bytes(&self, name: &str) -> u64 {
        bytes(self.text(name))
    }

    /// Where it listens: port by purpose.
    pub(crate) fn ports(&self) -> BTreeSet<(&'static str, u64)> {
        let port = |text: &str| text.rsplit_once(':').unwrap().1.parse().unwrap();
        let mut ports =
            BTreeSet::from([("grpc", port(self.text("grpc"))), ("http", port(self.text("http")))]);
        if self.0.contains_key("listen") {
            ports.insert(("memcached", port(self.texts("listen")[0])));
        }
        ports
    }
}

/// Whole seconds of a time as options, systemd and compose write it.
pub(crate) fn seconds(text: &str) -> u64 {
    let with_unit =
        if text.bytes().all(|byte| byte.is_ascii_digit()) { format!("{text}s") } else { text.to_owned() };
    humantime::parse_duration(&with_unit)
        .map_or_else(|error| panic!("{text}: {error}"), |time: Duration| time.as_secs())
}

/// Bytes of a size in powers of two: `1GiB`, `1Gi`, `512m`.
pub(crate) fn bytes(text: &str) -> u64 {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let shift = match unit.to_ascii_lowercase().trim_end_matches("ib").trim_end_matches('i') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        other => panic!("{other} of {text} is no unit"),
    };
    digits.parse::<u64>().unwrap() << shift
}
