//! Each example runs on a fresh machine, ends by itself, and finds its own results right.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

/// Many times what the slowest takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// The names of all files beside each other in `examples`.
fn names() -> BTreeSet<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let files = directory.read_dir().expect("it is there").map(|file| file.expect("it can be read").path());
    let sources = files.filter(|file| file.extension().is_some_and(|extension| extension == "rs"));
    sources.map(|file| file.file_stem().expect("it has one").to_string_lossy().into_owned()).collect()
}

/// `cargo test` builds examples beside the directory that this test is in.
fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("it runs");
    let profile = test.parent().and_then(Path::parent).expect("it is in deps, in the profile's directory");
    let program = profile.join("examples").join(name).with_extension(std::env::consts::EXE_EXTENSION);
    assert!(program.is_file(), "{name} is not built: cargo build -p evanesce-client --examples");
    program
}

async fn run(name: &str) {
    let mut command = Command::new(program(name));
    command.env_remove("EVANESCE_NODES").stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(PATIENCE, command.output()).await.expect("it ends by itself").expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {}\n{said}\n{complained}", output.status);
    assert!(!said.is_empty(), "{name} shows nothing");
}

#[tokio::test]
async fn every_example_ends_well() {
    let names = names();
    assert!(names.contains("home_page"), "{names:?}");
    for name in names {
        run(&name).await;
    }
}
