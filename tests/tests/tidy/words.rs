//! Rules about words: what is never right in this project, in code or in documents.

use crate::scan::words;
use crate::tree::{File, Violation};

/// Words that are never right, and what to say instead.
const BANNED: [(&str, &str); 4] = [
    ("vnode", "point"),
    ("vnodes", "points"),
    ("bucket", "slot, TTL wheel or token allowance"),
    ("buckets", "slots, TTL wheel or token allowance"),
];
/// Names of modules and packages that say nothing.
const EMPTY_NAMES: [&str; 6] = ["util", "utils", "common", "helper", "helpers", "misc"];
/// Homes of a developer or a build machine.
const MACHINE_HOMES: [&str; 3] = ["work", "root", "home"];

/// Banned words in source, documents and configuration.
pub(crate) fn banned_words(file: &File) -> Vec<Violation> {
    if file.is_tidy() || file.path.ends_with(".lock") {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (at, line) in file.text.lines().enumerate() {
        let line = line.to_lowercase();
        for (_, word) in words(&line) {
            if let Some((_, instead)) = BANNED.iter().find(|(banned, _)| *banned == word) {
                found.push(Violation::at(file, at + 1, format!("\"{word}\": say {instead}")));
            }
        }
    }
    found
}

/// Modules, files, directories and packages with a name that says nothing.
pub(crate) fn banned_names(file: &File) -> Vec<Violation> {
    let empty = |name: &str| EMPTY_NAMES.contains(&name);
    let mut found = Vec::new();
    for part in file.path.split('/').map(|part| part.split('.').next().unwrap_or(part)) {
        if empty(part) {
            found.push(Violation::at(file, 0, format!("\"{part}\" names nothing: name it by its noun")));
        }
    }
    for (at, line) in file.text.lines().enumerate() {
        let name = match file.path.ends_with("Cargo.toml") {
            true => line.strip_prefix("name = \"").and_then(|rest| rest.split('"').next()).unwrap_or(""),
            false if file.is_rust() => module_name(line).unwrap_or(""),
            false => "",
        };
        if name.split('-').any(empty) {
            found.push(Violation::at(file, at + 1, format!("\"{name}\" names nothing: name it by its noun")));
        }
    }
    found
}

fn module_name(line: &str) -> Option<&str> {
    let (before, rest) = line.trim_start().split_once("mod ")?;
    let name = rest.split([' ', ';', '{']).next()?;
    (before.is_empty() || before.starts_with("pub")).then_some(name)
}

/// Paths that exist on one machine only.
pub(crate) fn machine_paths(file: &File) -> Vec<Violation> {
    if file.is_tidy() {
        return Vec::new();
    }
    let starts = |line: &str, at: usize| {
        at == 0 || line[..at].ends_with(|c: char| c.is_whitespace() || "\"'`(=:<>[,".contains(c))
    };
    let homes = MACHINE_HOMES.map(|home| format!("/{home}/"));
    let names =
        |line: &str| homes.iter().any(|home| line.match_indices(home).any(|(at, _)| starts(line, at)));
    let lines = file.text.lines().enumerate().filter(|(_, line)| names(line));
    lines.map(|(at, _)| Violation::at(file, at + 1, "a path of one machine")).collect()
}

#[test]
fn banned_words_are_refused_whole_words_only() {
    let refused = |text: &str| banned_words(&File::new("a/src/b.rs", text)).len();
    assert_eq!(refused("// a Bucket of\nlet bucket = 2; struct VNode;"), 3);
    assert_eq!(refused("a foreign `set_buckets` and bucketed tables"), 0);
}

#[test]
fn names_that_say_nothing_are_refused() {
    assert_eq!(banned_names(&File::new("a/src/util.rs", "")).len(), 1);
    assert_eq!(banned_names(&File::new("a/common/src/lib.rs", "")).len(), 1);
    assert_eq!(banned_names(&File::new("a/src/lib.rs", "pub mod helpers;\nmod misc {\n")).len(), 2);
    assert_eq!(banned_names(&File::new("a/Cargo.toml", "name = \"evanesce-common\"\n")).len(), 1);
    assert_eq!(banned_names(&File::new("a/src/lib.rs", "mod commonplace;\nuse tokio_util::x;\n")).len(), 0);
}

#[test]
fn machine_paths_are_refused_and_parts_of_addresses_are_not() {
    let refused = |text: &str| machine_paths(&File::new("a/README.md", text)).len();
    let [work, root, home] = MACHINE_HOMES;
    assert_eq!(refused(&format!("run /{work}/x\ncd '/{root}/y'\nPATH=/{home}/z/bin\n")), 3);
    assert_eq!(refused(&format!("https://example.org/{work}/x and ./{home}/x")), 0);
}
