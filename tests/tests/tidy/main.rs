//! Style as a test: the rules of this repository that a machine can hold.
//!
//! Each rule is a pure function from files to violations, so that its own test can show it failing on a
//! few lines of text. [`the_tree_is_tidy`] runs them all on the tree and prints every violation at once.
//!
//! What is checked: arrows between packages, length of functions and files, banned words and names, links
//! in documents, glob imports, leftovers, ignored tests and examples, commands of the wire codec that
//! `proto/PROTOCOL.md` does not name, and paths of somebody's machine.

mod arrows;
mod code;
mod documents;
mod scan;
mod tree;
mod words;

use tree::{Violation, tree};

#[test]
fn the_tree_is_tidy() {
    let files = tree();
    assert!(files.len() > 10, "the tree was not found: {} files", files.len());
    let mut found: Vec<Violation> = Vec::new();
    found.extend(arrows::check(&arrows::packages()));
    for file in &files {
        found.extend(code::function_length(file));
        found.extend(code::file_length(file));
        found.extend(code::glob_imports(file));
        found.extend(code::leftovers(file));
        found.extend(words::banned_words(file));
        found.extend(words::banned_names(file));
        found.extend(words::machine_paths(file));
    }
    found.extend(documents::links(&files));
    found.extend(documents::commands(&files));
    found.extend(documents::promises(&files));
    let text: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert!(text.is_empty(), "{} violations:\n{}", text.len(), text.join("\n"));
}
