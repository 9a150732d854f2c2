//! The script that restarts the pods of nodes, with a `kubectl` that only writes down what it is asked.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use crate::deploy::deploy;
use crate::support::text;

/// Answers as a cluster of one discovery and two nodes would; `exec` as the file `serve` says.
const KUBECTL: &str = r#"#!/bin/sh
shift 2
echo "$*" >> "$LOG"
case "$*" in
    "get pods"*component=discovery*) echo pod/evanesce-discovery-a-0 ;;
    "get pods"*component=node*) printf 'pod/evanesce-node-b-0\npod/evanesce-node-a-0\n' ;;
    exec*) [ ! -e "$LOG.ill" ] ;;
    "delete pod evanesce-node-b-0"*) [ ! -e "$LOG.stuck" ] ;;
esac
"#;

fn restart(directory: &Path) -> (Output, Vec<String>) {
    let kubectl = directory.join("kubectl");
    std::fs::write(&kubectl, KUBECTL).unwrap();
    std::fs::set_permissions(&kubectl, PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", directory.display(), std::env::var("PATH").unwrap());
    let log = directory.join("log");
    let script = deploy("kubernetes/rolling-restart");
    let output =
        Command::new(script).args(["--pause", "0"]).env("PATH", path).env("LOG", &log).output().unwrap();
    let asked = std::fs::read_to_string(&log).unwrap().lines().map(str::to_owned).collect();
    (output, asked)
}

#[test]
fn pods_go_one_after_the_other_and_each_is_ready_before_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let (output, asked) = restart(directory.path());
    assert!(output.status.success(), "{output:?}");
    let steps: Vec<&str> = asked.iter().filter(|line| !line.starts_with("get")).map(String::as_str).collect();
    let serve = "exec pod/evanesce-discovery-a-0 -- evanesce ctl status --ready";
    assert_eq!(
        steps,
        [
            serve,
            "delete pod evanesce-node-a-0 --wait --timeout=30m",
            "wait pod/evanesce-node-a-0 --for=condition=Ready --timeout=30m",
            serve,
            "delete pod evanesce-node-b-0 --wait --timeout=30m",
            "wait pod/evanesce-node-b-0 --for=condition=Ready --timeout=30m",
        ]
    );
}

#[test]
fn nothing_is_deleted_where_not_all_serve() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("log.ill"), "").unwrap();
    let (output, asked) = restart(directory.path());
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("nothing was restarted"), "{output:?}");
    assert!(!asked.iter().any(|line| line.starts_with("delete")), "{asked:?}");
}

#[test]
fn one_that_does_not_end_stops_it_and_it_says_how_to_go_on() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("log.stuck"), "").unwrap();
    let (output, asked) = restart(directory.path());
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(
        said.contains("stopped at evanesce-node-b-0; to go on: ")
            && said.ends_with(" pod/evanesce-node-b-0\n"),
        "{said}"
    );
    assert!(asked.iter().any(|line| line.starts_with("wait pod/evanesce-node-a-0")), "{asked:?}");
}
