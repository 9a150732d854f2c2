//! The files of the repository, as the rules see them.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One text file.
#[derive(Debug, Clone)]
pub(crate) struct File {
    /// Path from the repository's root, with `/`.
    pub(crate) path: String,
    /// The whole text.
    pub(crate) text: String,
}

impl File {
    /// A file of a rule's own test.
    pub(crate) fn new(path: &str, text: &str) -> File {
        File { path: path.to_owned(), text: text.to_owned() }
    }

    /// Whether it is Rust.
    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether it is a document.
    pub(crate) fn is_markdown(&self) -> bool {
        self.path.ends_with(".md")
    }

    /// Whether all of it is test code: under a `tests` or `benches` directory, or a `tests.rs`.
    pub(crate) fn is_test(&self) -> bool {
        self.path.split('/').any(|part| matches!(part, "tests" | "benches" | "tests.rs" | "test.rs"))
    }

    /// Whether it is part of this test, which must name what it bans.
    pub(crate) fn is_tidy(&self) -> bool {
        self.path.starts_with("tests/tests/tidy/")
    }
}

/// One broken rule at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    /// Where: a path from the root, or a package's name.
    pub(crate) place: String,
    /// Line in it, from 1; 0 when it is about the whole.
    pub(crate) line: usize,
    /// What is wrong and what to do.
    pub(crate) what: String,
}

impl Violation {
    /// A violation at a line (from 1) of a file.
    pub(crate) fn at(file: &File, line: usize, what: impl Into<String>) -> Violation {
        Violation { place: file.path.clone(), line, what: what.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.place, self.what),
            line => write!(f, "{}:{line}: {}", self.place, self.what),
        }
    }
}

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests package lies in the root").to_path_buf()
}

/// Every text file of the repository: what git would track, or, without git, what lies there.
pub(crate) fn tree() -> Vec<File> {
    let root = root();
    let paths = listed(&root).unwrap_or_else(|| walked(&root));
    let read = |path: &String| {
        let text = std::fs::read_to_string(root.join(path)).ok()?;
        Some(File { path: path.clone(), text })
    };
    paths.iter().filter_map(read).collect()
}

fn listed(root: &Path) -> Option<BTreeSet<String>> {
    let arguments = ["ls-files", "--cached", "--others", "--exclude-standard"];
    let output = Command::new("git").args(arguments).current_dir(root).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let paths: BTreeSet<String> = text.lines().map(str::to_owned).collect();
    (output.status.success() && !paths.is_empty()).then_some(paths)
}

fn walked(root: &Path) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    let mut pending = vec![root.to_path_buf()];
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(&directory).expect("a directory of the tree is readable").flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() {
                if !matches!(name.as_str(), "target" | ".git" | "__pycache__") {
                    pending.push(path);
                }
            } else if let Ok(relative) = path.strip_prefix(root) {
                paths.insert(relative.to_string_lossy().replace('\\', "/"));
            }
        }
    }
    paths
}

#[test]
fn walking_without_git_finds_what_git_lists() {
    let walked = walked(&root());
    assert!(walked.contains("Cargo.toml") && walked.contains("tests/tests/tidy/tree.rs"));
    assert!(!walked.iter().any(|path| path.starts_with("target/")));
}
