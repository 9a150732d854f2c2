//! Options as text: for `--help`, as a commented file of what is in effect, and as the reference of all there is.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::config::form::Form;
use crate::config::namespaces;
use crate::config::spec::{RoleName, Spec, Unset, options_of};

/// Columns of a commented file.
const COLUMNS: usize = 100;

/// What `--help` says of an option.
pub(crate) fn help_text(spec: &Spec, role: RoleName) -> String {
    let allowed = spec.form.bounds().map(|bounds| format!(" [allowed: {bounds}]")).unwrap_or_default();
    let default = default_of(spec, role).map(|default| format!(" [default: {default}]")).unwrap_or_default();
    format!("{}{allowed}{default}", spec.doc)
}

/// What holds when nobody sets it, in words.
fn default_of(spec: &Spec, role: RoleName) -> Option<&'static str> {
    match spec.unset(role) {
        Some(Unset::Text(text)) => Some(text),
        Some(Unset::Computed(how)) => Some(how),
        Some(Unset::Nothing) | None => None,
    }
}

/// All options of a role with all that the table says of each: a file that sets nothing. The same on every machine.
pub(crate) fn reference(role: RoleName) -> String {
    let mut out = String::new();
    comment(&mut out, &format!("Every option of a {role}, as `evanesce config reference {role}` prints it."));
    comment(&mut out, REFERENCE_HOW);
    out.push_str(&format!("\n[{role}]\n"));
    for spec in options_of(role) {
        out.push('\n');
        comment(&mut out, spec.doc);
        for fact in facts_of(spec, role) {
            comment(&mut out, &fact);
        }
        writeln!(out, "# {} = {}", spec.name, example(spec, role)).expect("a string takes everything");
    }
    out
}

const REFERENCE_HOW: &str = "As it is, the file sets nothing: take the `# ` off a line to set it. The environment goes over \
                             the file, and flags go over both. What is set holds from the next start.";

/// What the table says of an option beside its doc, a line each.
fn facts_of(spec: &Spec, role: RoleName) -> Vec<String> {
    let written = match (spec.form, spec.form.bounds()) {
        (Form::Word(_), Some(words)) => format!("one of {words}"),
        (form, Some(bounds)) => format!("{}, {bounds}", form.type_name()),
        (form, None) => form.type_name().to_owned(),
    };
    let default = default_of(spec, role).unwrap_or("none");
    let mut facts = vec![
        format!("  Type: {written}"),
        format!("  Default: {default}"),
        format!("  Elsewhere: --{}, {}", spec.flag(), spec.env()),
    ];
    if spec.form == Form::WatchedFile {
        facts.push("  While running: what is in the file may change, and is read again".to_owned());
    }
    facts
}

/// The default as the file has it, or else what stands for a value.
fn example(spec: &Spec, role: RoleName) -> String {
    match (spec.unset(role), spec.form) {
        (Some(Unset::Text(text)), _) => in_file(spec, text),
        (_, Form::Namespaces) => namespaces::in_file(namespaces::EXAMPLE),
        (_, Form::Number(_)) => "N".to_owned(),
        (_, form) => toml::Value::from(form.value_name().unwrap_or_default()).to_string(),
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
        Form::Number(_) => text.parse::<i64>().map_or_else(|_| toml::Value::from(text), toml::Value::Integer),
        _ => toml::Value::from(text),
    };
    value.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reference_sets_nothing_and_its_lines_less_their_sign_are_toml_with_the_defaults() {
        for role in RoleName::ALL {
            let text = reference(role);
            let read: toml::Table = text.parse().unwrap();
            assert_eq!(read[role.word()].as_table().map(toml::Table::len), Some(0), "{text}");
            for spec in options_of(role) {
                let line = format!("# {} = ", spec.name);
                let line = text.lines().find(|found| found.starts_with(&line)).unwrap();
                if let Some(Unset::Text(default)) = spec.unset(role) {
                    let read: toml::Table = line[2..].parse().unwrap();
                    let expected: toml::Table =
                        format!("{} = {}", spec.name, in_file(spec, default)).parse().unwrap();
                    assert_eq!(read, expected);
                }
            }
        }
    }

    #[test]
    fn help_and_reference_tell_the_bounds() {
        let text = reference(RoleName::Node);
        for line in [
            "#   Type: whole number, 1 to 1024",
            "#   Type: size, 8MiB to 16TiB",
            "#   Type: time, 1s to 1day, or off",
            "#   Type: one of evanesce, evcache",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in {text}");
        }
        let memory = options_of(RoleName::Node).find(|spec| spec.name == "memory").unwrap();
        assert!(help_text(memory, RoleName::Node).contains("[allowed: 8MiB to 16TiB] [default: a quarter"));
    }
}
