//! The layers of a configuration, merged as text: the file, over it the environment, over it the flags.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::builder::ValueParser;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::config::fault::Fault;
use crate::config::form::Form;
use crate::config::namespaces;
use crate::config::spec::{RoleName, Spec, option_named, options_of};

/// The section that holds for every role; a role's own section goes over it.
const COMMON: &str = "common";

/// How a namespace is written.
pub(crate) const NAMESPACE: &str = "NAME[,guarantee=SIZE][,limit=SIZE]";

/// A configuration as it was written: nothing in it is known to be right.
#[derive(Debug)]
pub(crate) struct Raw {
    pub(crate) role: RoleName,
    /// What was set, by the option's name.
    pub(crate) settings: BTreeMap<&'static str, Setting>,
    /// What cannot even be merged.
    pub(crate) faults: Vec<Fault>,
    /// A file was named and cannot be read: what it sets is not known.
    pub(crate) file_lost: bool,
    /// Whether the files that options name are part of what is checked.
    pub(crate) looks_at_files: bool,
}

/// One option's text and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) text: String,
    pub(crate) origin: String,
}

/// The flag for the file, which goes under the others.
pub(crate) fn file_arg() -> Arg {
    Arg::new("config")
        .long("config")
        .env("EVANESCE_CONFIG")
        .hide_env_values(true)
        .value_name("FILE")
        .value_parser(ValueParser::path_buf())
        .help("Read options from this TOML file; the environment and flags go over it")
}

/// Adds the role's options to a command.
pub(crate) fn with_options(command: Command, role: RoleName) -> Command {
    options_of(role).fold(command, |command, spec| command.arg(option_arg(spec, role)))
}

fn option_arg(spec: &Spec, role: RoleName) -> Arg {
    let arg = Arg::new(spec.name)
        .long(spec.flag())
        .env(spec.env())
        .hide_env_values(true)
        .value_parser(ValueParser::os_string())
        .help(crate::config::print::help_text(spec, role));
    let arg = match spec.form.value_name() {
        Some(value) => arg.value_name(value),
        None => arg,
    };
    match spec.form {
        Form::Many(_) => arg.action(ArgAction::Append),
        Form::Namespaces => arg.value_name(NAMESPACE).action(ArgAction::Append),
        Form::Switch => {
            arg.num_args(0..=1).require_equals(true).default_missing_value("true").value_name("BOOL")
        }
        _ => arg.allow_hyphen_values(false),
    }
}

impl Raw {
    /// Nothing is set.
    pub(crate) fn new(role: RoleName) -> Self {
        Self { role, settings: BTreeMap::new(), faults: Vec::new(), file_lost: false, looks_at_files: false }
    }

    /// Merges the file named by `--config`, the environment and the flags that `matches` holds.
    pub(crate) fn gather(role: RoleName, matches: &ArgMatches) -> Self {
        let mut raw = Self::new(role);
        if let Some(path) = matches.get_one::<PathBuf>("config") {
            raw.read_file(path);
        }
        raw.take_matches(matches);
        raw
    }

    fn read_file(&mut self, path: &Path) {
        match std::fs::read_to_string(path) {
            Ok(text) => self.take_file(&text, &path.display().to_string()),
            Err(error) => self.lose_file(format!(
                "cannot read the file {}: {error}; see --config and EVANESCE_CONFIG",
                path.display()
            )),
        }
    }

    fn lose_file(&mut self, why: String) {
        self.faults.push(Fault::new(why));
        self.file_lost = true;
    }

    /// Takes over what a file says for this role, and faults what it says that no role understands.
    pub(crate) fn take_file(&mut self, text: &str, file: &str) {
        let table = match text.parse::<toml::Table>() {
            Ok(table) => table,
            Err(error) => {
                self.lose_file(format!("{file} is not TOML: {}", error.to_string().trim_end()));
                return;
            }
        };
        // The common section first, so that the role's own goes over it.
        let (common, sections): (Vec<_>, Vec<_>) = table.iter().partition(|(name, _)| *name == COMMON);
        for (section, value) in common.into_iter().chain(sections) {
            let role = RoleName::ALL.into_iter().find(|role| role.word() == section);
            match value {
                toml::Value::Table(options) if role.is_some() || section == COMMON => {
                    self.take_section(section, role, options, file);
                }
                _ => self.faults.push(Fault::new(format!(
                    "{file}: `{section}` is no section: options stand under [common], [node], [discovery] or [gateway]"
                ))),
            }
        }
    }

    fn take_section(&mut self, section: &str, role: Option<RoleName>, options: &toml::Table, file: &str) {
        for (name, value) in options {
            let known = option_named(name).filter(|spec| role.is_none_or(|role| spec.unset(role).is_some()));
            let Some(spec) = known else {
                self.faults
                    .push(Fault::new(format!("{file}: [{section}] has no option `{name}`{}", hint(name))));
                continue;
            };
            let text = match written(value, spec.form) {
                Ok(text) => text,
                Err(wrongs) => {
                    let fault = |wrong| Fault::new(format!("{file}: [{section}] {name} {wrong}"));
                    self.faults.extend(wrongs.into_iter().map(fault));
                    continue;
                }
            };
            let ours = role.is_none_or(|role| role == self.role) && spec.unset(self.role).is_some();
            if ours {
                self.settings.insert(spec.name, Setting { text, origin: format!("[{section}] in {file}") });
            }
        }
    }

    pub(crate) fn take_matches(&mut self, matches: &ArgMatches) {
        for spec in options_of(self.role) {
            let origin = match matches.value_source(spec.name) {
                Some(ValueSource::CommandLine) => format!("flag --{}", spec.flag()),
                Some(ValueSource::EnvVariable) => format!("environment variable {}", spec.env()),
                _ => continue,
            };
            let texts: Option<Vec<String>> = matches
                .get_many::<OsString>(spec.name)
                .map(|values| values.map(|value| value.to_string_lossy().into_owned()).collect());
            let between = if spec.form == Form::Namespaces { namespaces::BETWEEN } else { ',' };
            let text = texts.unwrap_or_default().join(&between.to_string());
            self.settings.insert(spec.name, Setting { text, origin });
        }
    }
}

/// What to write instead of a name that no option has: as a flag, words are joined by dashes.
fn hint(name: &str) -> String {
    let name = name.replace('-', "_");
    let singular = name.strip_suffix('s').unwrap_or(&name);
    let known = option_named(&name).or_else(|| option_named(singular));
    known.map_or(String::new(), |spec| format!(": write {}", spec.name))
}

/// A value of the file as a flag would have it, or everything that is wrong with it.
fn written(value: &toml::Value, form: Form) -> Result<String, Vec<String>> {
    let wrong_type =
        |value: &toml::Value| format!("is of type {}: write {}", value.type_str(), form.in_file());
    match value {
        toml::Value::Array(values) if form == Form::Namespaces => {
            let texts = values.iter().map(|value| match value {
                toml::Value::Table(table) => namespaces::from_file(table),
                toml::Value::String(text) => Ok(text.clone()),
                other => Err(wrong_type(other)),
            });
            let (texts, wrongs): (Vec<_>, Vec<_>) = texts.partition(Result::is_ok);
            if wrongs.is_empty() {
                let texts: Vec<_> = texts.into_iter().flatten().collect();
                Ok(texts.join(&namespaces::BETWEEN.to_string()))
            } else {
                Err(wrongs.into_iter().filter_map(Result::err).collect())
            }
        }
        value => text_of(value, form).ok_or_else(|| vec![wrong_type(value)]),
    }
}

/// A single value of the file, or an array of them, as a flag would have it.
fn text_of(value: &toml::Value, form: Form) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(switch) => Some(switch.to_string()),
        toml::Value::Array(values) if matches!(form, Form::Many(_)) => {
            // One value each: arrays of arrays mean nothing.
            let one = Form::One("");
            let texts: Option<Vec<_>> = values.iter().map(|value| text_of(value, one)).collect();
            texts.map(|texts| texts.join(","))
        }
        toml::Value::Array(_) | toml::Value::Float(_) | toml::Value::Datetime(_) | toml::Value::Table(_) => {
            None
        }
    }
}
