//! Words of `deploy/` that must be the binary's.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use crate::deploy::{ROLES, deploy, read};
use crate::support::text;

/// What the binary reads from the environment beside its options.
const BESIDES: [&str; 1] = ["EVANESCE_CONFIG"];

/// Every text file of `deploy/`.
fn files(directory: &Path, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push((path.display().to_string(), std::fs::read_to_string(&path).unwrap()));
        }
    }
}

#[test]
fn every_variable_named_is_an_option() {
    let known: BTreeSet<String> = ROLES
        .iter()
        .flat_map(|role| variables(&read(&format!("config/{role}.toml"))))
        .chain(BESIDES.map(str::to_owned))
        .collect();
    assert!(known.contains("EVANESCE_MEMORY_FILE"));
    let mut found = Vec::new();
    files(&deploy(""), &mut found);
    assert!(found.len() > 15, "deploy/ was not found");
    for (path, text) in found {
        for variable in variables(&text) {
            assert!(known.contains(&variable), "{path}: {variable} is no option's");
        }
    }
}

/// Words that begin as the options' variables do.
fn variables(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !(c.is_ascii_uppercase() || c == '_'));
    words
        .filter(|word| word.starts_with("EVANESCE_") && word.len() > "EVANESCE_".len())
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_command_line_shown_is_understood() {
    let directory = Path::new(env!("CARGO_BIN_EXE_evanesce")).parent().unwrap();
    let path = format!("{}:{}", directory.display(), std::env::var("PATH").unwrap());
    let document = read("README.md");
    let mut shown = 0;
    for line in document.lines().filter(|line| line.starts_with("evanesce ")) {
        // `--help` at the end makes it a question whether all before it is known.
        let line = line.split(" #").next().unwrap();
        let output =
            Command::new("sh").args(["-c", &format!("{line} --help")]).env("PATH", &path).output().unwrap();
        assert!(output.status.success(), "{line}: {}", text(&output.stderr));
        shown += 1;
    }
    assert!(shown >= 3, "{shown} command lines were found");
}
