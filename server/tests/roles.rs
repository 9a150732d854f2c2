//! Roles and their configuration, as an operator meets them.

use crate::support::{Process, Standalone, evanesce, exchange, run, signal, text};
use rustix::process::Signal;

#[test]
fn standalone_node_answers_and_ends_in_order() {
    let mut node =
        Standalone::start(&["--listen", "127.0.0.1:0", "--threads", "1", "--memory", "64MiB"], &[]);
    let answer = exchange(node.memcached, "set k 5 0 2\r\nhi\r\nget k\r\nquit\r\n");
    assert_eq!(answer, "STORED\r\nVALUE k 5 2\r\nhi\r\nEND\r\n");
    signal(node.process.0.id(), Signal::TERM);
    assert_eq!(node.process.exit_code(), Some(0));
}

#[test]
fn environment_configures_and_flags_go_over_it() {
    let environment = [("EVANESCE_LISTEN", "127.0.0.1:0"), ("EVANESCE_THREADS", "0")];
    let node = Standalone::start(&["--threads", "2"], &environment);
    assert_ne!(node.memcached.port(), 11211);
    let threads = exchange(node.memcached, "stats\r\nquit\r\n");
    assert!(threads.contains("STAT threads 2\r\n"), "{threads}");
}

#[test]
fn node_ends_when_the_pipe_of_its_parent_does() {
    let mut command = evanesce();
    command.args(["node", "--standalone", "--listen", "127.0.0.1:0"]).env("EVANESCE_EXIT_ON_STDIN_EOF", "1");
    let child =
        command.stdin(std::process::Stdio::piped()).stderr(std::process::Stdio::null()).spawn().unwrap();
    let mut node = Process(child);
    drop(node.0.stdin.take());
    assert_eq!(node.exit_code(), Some(0));
}

#[test]
fn off_loopback_is_refused_without_insecure() {
    let output = run(&["node", "--standalone", "--listen", "0.0.0.0:0"]);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(said.contains("not loopback") && said.contains("--insecure"), "{said}");
}

#[test]
fn taken_address_is_a_failure_not_a_fault_of_usage() {
    let node = Standalone::start(&["--listen", "127.0.0.1:0"], &[]);
    let output = run(&["node", "--standalone", "--listen", &node.memcached.to_string()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains(&node.memcached.to_string()), "{}", text(&output.stderr));
}

#[test]
fn config_check_reports_all_faults_and_print_shows_what_holds() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("evanesce.toml");
    std::fs::write(
        &path,
        "[common]\ncluster = \"HOME\"\n[node]\nmemory = \"lots\"\nthreads = -1\nmemroy = 1\n",
    )
    .unwrap();
    let file = path.to_str().unwrap();
    let output = run(&["config", "check", "--config", file, "node"]);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    for part in ["6 faults", "memory = \"lots\"", "threads = \"-1\"", "no option `memroy`", "zone is not set"]
    {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    std::fs::write(&path, "[node]\nmemory = \"1GiB\"\nstandalone = true\n").unwrap();
    assert_eq!(run(&["config", "check", "--config", file, "node"]).status.code(), Some(0));
    let printed = text(&run(&["config", "print", "node", "--config", file, "--threads", "3"]).stdout);
    assert!(printed.contains("\nmemory = \"1GiB\"\n") && printed.contains("\nthreads = 3\n"), "{printed}");
}

#[test]
fn bad_usage_ends_with_code_two() {
    assert_eq!(run(&["node", "--colour", "red"]).status.code(), Some(2));
    assert_eq!(run(&["up", "--zones", "0"]).status.code(), Some(2));
    assert_eq!(run(&["--help"]).status.code(), Some(0));
}

#[test]
fn node_started_to_survive_its_terminal_does() {
    // `nohup` starts a program deaf to SIGHUP, and it ended by it all the same.
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "trap '' HUP; exec \"$0\" node --standalone --listen 127.0.0.1:0 --log-format json"]);
    command.arg(env!("CARGO_BIN_EXE_evanesce"));
    let mut node = Standalone::of(command);
    signal(node.process.0.id(), Signal::HUP);
    assert!(exchange(node.memcached, "version\r\nquit\r\n").starts_with("VERSION"));
    signal(node.process.0.id(), Signal::TERM);
    assert_eq!(node.process.exit_code(), Some(0));
    let said = node.rest_of_log();
    assert!(said.contains("SIGTERM") && !said.contains("SIGHUP"), "{said}");
}
