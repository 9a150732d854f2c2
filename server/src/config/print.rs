//! Options as text: for `--help`, and as a commented file.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::config::namespaces;
use crate::config::spec::{Form, RoleName, Spec, Unset, options_of};

/// Columns of a commented file.
const COLUMNS: usize = 100;

/// What `--help` says of an option.
pub(crate) fn help_text(spec: &Spec, role: RoleName) -> String {
    match spec.unset(role) {
        Some(Unset::Text(text)) => format!("{} [default: {text}]", spec.doc),
        Some(Unset::Computed(how)) => format!("{} [default: {how}]", spec.doc),
        Some(Unset::Nothing) | None => spec.doc.to_owned(),
    }
}

/// A file that says what `effective` says, each option with its doc; what is unset is commented out.
pub(crate) fn commented_file(role: RoleName, effective: &BTreeMap<&'static str, String>) -> String {
    let mut out = format!("[{role}]\n");
    for spec in options_of(role) {
        out.push('\n');
        comment(&mut out, &help_text(spec, role));
        match effective.get(spec.name) {
            Some(text) => writeln!(out, "{} = {}", spec.name, in_file(spec, text)),
            None => writeln!(out, "# {} =", spec.name),
        }
        .expect("a string takes everything");
    }
    out
}

fn comment(out: &mut String, text: &str) {
    let mut line = String::from("#");
    for word in text.split(' ') {
        if line.len() + 1 + word.len() > COLUMNS {
            out.push_str(&line);
            out.push('\n');
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    out.push_str(&line);
    out.push('\n');
}

fn in_file(spec: &Spec, text: &str) -> String {
    let value = match spec.form {
        Form::Namespaces => return namespaces::in_file(text),
        Form::Many(_) => toml::Value::Array(text.split(',').map(toml::Value::from).collect()),
        Form::Switch => toml::Value::Boolean(text == "true"),
        Form::One("N") => text.parse::<i64>().map_or_else(|_| toml::Value::from(text), toml::Value::Integer),
        Form::One(_) => toml::Value::from(text),
    };
    value.to_string()
}
