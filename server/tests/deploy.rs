//! What `deploy/` says of this binary, held against the binary.

use std::path::{Path, PathBuf};

use crate::support::{run, text};

/// The roles that are configured.
const ROLES: [&str; 3] = ["node", "discovery", "gateway"];

/// A file of `deploy/`.
fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(name)
}

#[test]
fn reference_files_are_what_the_code_says() {
    for role in ROLES {
        let output = run(&["config", "reference", role]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let file = std::fs::read_to_string(deploy(&format!("config/{role}.toml"))).unwrap();
        assert!(
            file == text(&output.stdout),
            "deploy/config/{role}.toml is not what the options are now: run `cargo run -p evanesce -- config reference \
             {role} > deploy/config/{role}.toml`"
        );
    }
}
