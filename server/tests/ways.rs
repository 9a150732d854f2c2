//! Ways in, as an operator opens them: TLS, Unix sockets, passwords, and files that change while a node runs.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use rcgen::KeyPair;
use rustix::process::Signal;

use crate::support::{Standalone, eventually, exchange, run, signal, text, write_pem};

const PASSWORD: &str = "set auth 0 0 11\r\nann hunter2\r\n";

/// One statistic of a node that asks for a password.
fn stat(node: &Standalone, name: &str) -> String {
    let stats = exchange(node.memcached, "stats\r\nquit\r\n");
    let line = stats.lines().find_map(|line| line.strip_prefix(&format!("STAT {name} ")));
    line.unwrap_or_else(|| panic!("no {name} in {stats}")).to_owned()
}

fn write_identity(dir: &Path) {
    let key = KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    write_pem(&dir.join("cert.pem"), "CERTIFICATE", params.self_signed(&key).unwrap().der());
    write_pem(&dir.join("key.pem"), "PRIVATE KEY", &key.serialize_der());
}

#[test]
fn node_asks_for_passwords_and_takes_changed_ones_at_sighup() {
    let dir = tempfile::tempdir().unwrap();
    let users = dir.path().join("users");
    std::fs::write(&users, "ann:hunter2\n").unwrap();
    std::fs::set_permissions(&users, std::fs::Permissions::from_mode(0o640)).unwrap();
    let flags = ["--listen", "127.0.0.1:0", "--auth-file", users.to_str().unwrap()];
    let mut node = Standalone::start(&flags, &[]);
    let unauthenticated = "CLIENT_ERROR unauthenticated\r\n";
    let mut stream = TcpStream::connect(node.memcached).unwrap();
    stream.write_all(b"get a\r\n").unwrap();
    let mut answer = vec![0; unauthenticated.len()];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(text(&answer), unauthenticated);
    let told = exchange(node.memcached, &format!("{PASSWORD}stats settings\r\nstats\r\nquit\r\n"));
    for part in ["STORED\r\n", "auth_enabled_sasl yes", &format!("auth_enabled_ascii {}", users.display())] {
        assert!(told.contains(part), "{part} is not in {told}");
    }
    for count in ["auth_cmds 1", "auth_errors 0", "evanesce_auth_missing 1"] {
        assert!(told.contains(&format!("STAT {count}\r\n")), "{count} is not in {told}");
    }

    std::fs::write(&users, "ann:changed\n").unwrap();
    std::fs::set_permissions(&users, std::fs::Permissions::from_mode(0o644)).unwrap();
    signal(node.process.0.id(), Signal::HUP);
    let changed = "set auth 0 0 11\r\nann changed\r\n";
    eventually("the changed password", || {
        let mut stream = TcpStream::connect(node.memcached).unwrap();
        stream.write_all(changed.as_bytes()).unwrap();
        let mut answer = [0; 8];
        stream.read_exact(&mut answer).unwrap();
        (answer == *b"STORED\r\n").then_some(())
    });
    signal(node.process.0.id(), Signal::TERM);
    assert_eq!(node.process.exit_code(), Some(0));
    let log = node.rest_of_log();
    assert!(log.contains("SIGHUP") && log.contains("authentication file"), "{log}");
    assert!(log.contains("without a name and password"), "{log}");
    assert!(log.contains("secret file") && log.contains("\"mode\":\"0644\""), "{log}");
    assert!(!log.contains("hunter2"), "{log}");
}

#[test]
fn plain_text_on_a_tls_port_is_counted_and_a_bad_certificate_keeps_the_old_one() {
    let dir = tempfile::tempdir().unwrap();
    write_identity(dir.path());
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let socket = format!("unix:{}", path("e.sock"));
    let flags = [
        ["--listen", "127.0.0.1:0"],
        ["--listen", "tls://127.0.0.1:0"],
        ["--listen", &socket],
        ["--tls-cert", &path("cert.pem")],
        ["--tls-key", &path("key.pem")],
    ];
    let mut node = Standalone::start(&flags.concat(), &[]);
    let mode = std::fs::metadata(path("e.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let mut stream = UnixStream::connect(path("e.sock")).unwrap();
    stream.write_all(b"version\r\nquit\r\n").unwrap();
    let mut version = String::new();
    stream.read_to_string(&mut version).unwrap();
    assert_eq!(version, "VERSION 1.6.18\r\n");

    let mut stranger = TcpStream::connect(node.tls()).unwrap();
    stranger.write_all(b"get a\r\n").unwrap();
    let _ = stranger.read_to_end(&mut Vec::new());
    assert_eq!(stat(&node, "evanesce_tls_refused_plain_text"), "1");

    std::fs::write(path("key.pem"), "not a key").unwrap();
    signal(node.process.0.id(), Signal::HUP);
    // Its own look may come before the one that was asked for, and both tell the error.
    eventually("an error", || (stat(&node, "evanesce_reload_errors") != "0").then_some(()));
    assert_eq!(stat(&node, "evanesce_reloads"), "0");
    write_identity(dir.path());
    signal(node.process.0.id(), Signal::HUP);
    eventually("a reload", || (stat(&node, "evanesce_reloads") == "1").then_some(()));
    signal(node.process.0.id(), Signal::TERM);
    assert_eq!(node.process.exit_code(), Some(0));
    assert!(!Path::new(&path("e.sock")).exists());
    let log = node.rest_of_log();
    assert!(log.contains("does not speak TLS") && log.contains("no private key in PEM form"), "{log}");
}

#[test]
fn what_is_missing_for_tls_and_passwords_is_told_and_nothing_starts() {
    let output = run(&["node", "--standalone", "--listen", "127.0.0.1:0", "--auth-file", "/nowhere/users"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("/nowhere/users"), "{}", text(&output.stderr));
    let output = run(&["node", "--standalone", "--listen", "tls://0.0.0.0:0"]);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(
        said.contains("2 faults") && said.contains("tls_client_ca") && said.contains("tls_cert"),
        "{said}"
    );
}

#[test]
fn connections_too_many_are_told_so_and_logged() {
    let mut node = Standalone::start(&["--listen", "127.0.0.1:0", "--connections-max", "1"], &[]);
    let mut inside = TcpStream::connect(node.memcached).unwrap();
    inside.write_all(b"version\r\n").unwrap();
    inside.read_exact(&mut [0; 16]).unwrap();
    assert_eq!(exchange(node.memcached, ""), "ERROR Too many open connections\r\n");
    signal(node.process.0.id(), Signal::TERM);
    assert_eq!(node.process.exit_code(), Some(0));
    let log = node.rest_of_log();
    assert!(log.contains("there are connections_max of them") && log.contains("\"open\":1"), "{log}");
}
