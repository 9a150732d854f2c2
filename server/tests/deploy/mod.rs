//! What `deploy/` says of this binary, held against the binary: options, ports, paths, and how long and how large things are.

mod compose;
mod documents;
mod kubernetes;
mod metrics;
mod process;
mod script;
mod systemd;
mod yaml;

use std::path::{Path, PathBuf};

use crate::support::{run, text};

/// The roles that are configured.
const ROLES: [&str; 3] = ["node", "discovery", "gateway"];

/// What a role takes beyond its `drain_deadline` to close what remains, and a moment for the process to end.
const END_GRACE_SECS: u64 = 3;

/// A file of `deploy/`.
fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(name)
}

/// What stands in a file of `deploy/`.
fn read(name: &str) -> String {
    std::fs::read_to_string(deploy(name)).unwrap_or_else(|error| panic!("deploy/{name}: {error}"))
}

#[test]
fn reference_files_are_what_the_code_says() {
    for role in ROLES {
        let output = run(&["config", "reference", role]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(
            read(&format!("config/{role}.toml")) == text(&output.stdout),
            "deploy/config/{role}.toml is not what the options are now: run `cargo run -p evanesce -- config reference \
             {role} > deploy/config/{role}.toml`"
        );
    }
}
