//! Configuration: defaults, over them the file, over it the environment, over it the flags; checked as a whole.
//!
//! ```text
//!   spec ──┬─ layers: --config FILE < EVANESCE_* < flags ──> Raw ── check ──> Settings, or every fault
//!          ├─ --help
//!          ├─ config print: what is in effect, commented
//!          └─ config reference: all there is, as deploy/config has it
//! ```

mod bounds;
mod check;
mod face;
mod fault;
mod form;
mod layers;
mod namespaces;
mod nodes;
mod print;
mod roles;
mod spec;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use clap::ArgMatches;

pub(crate) use check::{parse_lease, peer};
pub(crate) use fault::ConfigError;
pub(crate) use layers::{NAMESPACE, file_arg, with_options};
pub(crate) use namespaces::parse_namespace;
pub(crate) use print::reference;
pub(crate) use roles::RoleSettings;
pub(crate) use spec::RoleName;

use check::Checker;
use layers::Raw;

/// A configuration that cannot be wrong.
#[derive(Debug)]
pub(crate) struct Settings {
    /// What the role needs.
    pub(crate) role: RoleSettings,
    /// How long work in flight may take once told to end.
    pub(crate) drain_deadline: Duration,
    /// What to log; `None` leaves it to `RUST_LOG`.
    pub(crate) log: Option<String>,
    /// How to log.
    pub(crate) log_format: LogFormat,
    /// Every option as it holds, by name.
    effective: BTreeMap<&'static str, String>,
}

/// How to log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// For collectors.
    Json,
}

impl FromStr for LogFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("write text or json"),
        }
    }
}

impl Settings {
    /// Merges the layers that `matches` holds or names, and checks the whole; with the files that options name, where
    /// `looks_at_files` says so, which may be those of another machine.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, at once.
    pub(crate) fn gather(
        role: RoleName,
        matches: &ArgMatches,
        looks_at_files: bool,
    ) -> Result<Self, ConfigError> {
        Self::check(Raw { looks_at_files, ..Raw::gather(role, matches) })
    }

    fn check(raw: Raw) -> Result<Self, ConfigError> {
        let role = raw.role;
        let mut check = Checker::new(raw);
        let drain_deadline = roles::drain_deadline(&mut check);
        let settings = roles::check_role(role, &mut check, drain_deadline);
        let log = check.other("log", None, crate::logging::check_filter);
        let log_format = check.word("log_format");
        let all = settings.zip(drain_deadline).zip(log_format);
        let (((role, drain_deadline), log_format), effective) = check.finish(all)?;
        Ok(Self { role, drain_deadline, log, log_format, effective })
    }

    /// What is in effect, as a file with the options' docs.
    pub(crate) fn commented_file(&self) -> String {
        print::commented_file(self.role.name(), &self.effective)
    }
}
