//! The way from gateways and `ctl` to nodes that speak TLS and ask for certificates and passwords.

use std::net::SocketAddr;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::{Logged, eventually, exchange, run, signal, text, write_pem};

/// Words of a command line, and where they name a file, one of the scene's.
type Words<'a> = &'a [&'a str];

const TLS: Words<'_> = &["--node-tls-ca", "@ca.pem", "--node-tls-server-name", "nodes.internal"];
const CERTIFICATE: Words<'_> = &["--node-tls-cert", "@gateway.pem", "--node-tls-key", "@gateway.key"];
const PASSWORD: Words<'_> = &["--node-user", "ann", "--node-password-file", "@password"];

/// A discovery and one node of a cluster that speaks TLS, and asks for a certificate and a password.
struct Scene {
    dir: TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
    node: Logged,
    discovery: SocketAddr,
    _discovery: Logged,
}

impl Scene {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = write_authority(&dir.path().join("ca.pem"));
        write_authority(&dir.path().join("foreign.pem"));
        sign(&authority, dir.path(), "node", "nodes.internal");
        sign(&authority, dir.path(), "gateway", "whoever");
        std::fs::write(dir.path().join("users"), "ann:hunter2\n").unwrap();
        std::fs::write(dir.path().join("password"), "hunter2\n").unwrap();
        std::fs::write(dir.path().join("wrong"), "hunter3").unwrap();
        let mut discovery = Logged::start("discovery", &["--grpc", "127.0.0.1:0", "--http", "off"]);
        let at = discovery.serves_at("grpc");
        let known_at = at.to_string();
        let node = [
            &["--cluster", "HOME", "--zone", "a", "--name", "n1", "--discovery", &known_at][..],
            &["--listen", "tls://127.0.0.1:0", "--memory", "16MiB", "--threads", "1"],
            &["--grpc", "off", "--http", "off", "--auth-file", "@users"],
            &["--tls-cert", "@node.pem", "--tls-key", "@node.key", "--tls-client-ca", "@ca.pem"],
        ];
        let mut node = Logged::start("node", &words(&dir, &node.concat()).each());
        node.serves_at("memcached");
        Self { dir, authority, node, discovery: at, _discovery: discovery }
    }

    fn gateway(&self, way: &[Words<'_>]) -> (Logged, SocketAddr) {
        let discovery = self.discovery.to_string();
        let own = [
            &["--cluster", "HOME", "--zone", "a", "--discovery", &discovery][..],
            &["--listen", "127.0.0.1:0", "--grpc", "off", "--http", "off", "--threads", "1"],
        ];
        let own = [&own.concat()[..], &way.concat()].concat();
        let mut gateway = Logged::start("gateway", &words(&self.dir, &own).each());
        let at = gateway.serves_at("memcached");
        (gateway, at)
    }

    fn ctl(&self, verb: Words<'_>, way: &[Words<'_>]) -> (Option<i32>, String, String) {
        let discovery = self.discovery.to_string();
        let all = [&["ctl", "--discovery", &discovery], verb, &way.concat()].concat();
        let output = run(&words(&self.dir, &all).each());
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }
}

/// Words of which those behind an `@` are files.
struct Line(Vec<String>);

fn words(dir: &TempDir, words: Words<'_>) -> Line {
    let word = |word: &&str| match word.strip_prefix('@') {
        Some(file) => dir.path().join(file).to_str().unwrap().to_owned(),
        None => (*word).to_owned(),
    };
    Line(words.iter().map(word).collect())
}

impl Line {
    fn each(&self) -> Vec<&str> {
        self.0.iter().map(String::as_str).collect()
    }
}

fn write_authority(path: &Path) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    write_pem(path, "CERTIFICATE", authority.der());
    authority
}

/// Writes a certificate for a name, and its key.
fn sign(authority: &CertifiedIssuer<'static, KeyPair>, dir: &Path, file: &str, name: &str) {
    let key = KeyPair::generate().unwrap();
    let cert = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, authority).unwrap();
    write_pem(&dir.join(format!("{file}.pem")), "CERTIFICATE", cert.der());
    write_pem(&dir.join(format!("{file}.key")), "PRIVATE KEY", &key.serialize_der());
}

#[test]
fn gateway_and_ctl_reach_a_node_behind_tls_and_password_while_its_certificate_changes() {
    let scene = Scene::start();
    let (gateway, at) = scene.gateway(&[TLS, CERTIFICATE, PASSWORD]);
    assert_eq!(
        exchange(at, "set k 5 0 2\r\nhi\r\nget k\r\nquit\r\n"),
        "STORED\r\nVALUE k 5 2\r\nhi\r\nEND\r\n"
    );
    let way = [TLS, CERTIFICATE, PASSWORD];
    assert_eq!(scene.ctl(&["get", "k"], &way), (Some(0), "hi\n".to_owned(), String::new()));
    let (_, topology, _) = scene.ctl(&["topology", "--json"], &[]);
    let topology: serde_json::Value = serde_json::from_str(&topology).unwrap();
    let node = &topology["groups"][0]["nodes"][0];
    assert_eq!(node["capabilities"], serde_json::json!(["versions", "tls", "auth"]));

    sign(&scene.authority, scene.dir.path(), "node", "renamed.internal");
    signal(scene.node.process.0.id(), Signal::HUP);
    eventually("the changed certificate", || {
        scene.node.log().contains("took over the changed TLS files").then_some(())
    });
    assert_eq!(exchange(at, "get k\r\nquit\r\n"), "VALUE k 5 2\r\nhi\r\nEND\r\n");
    let (code, _, said) = scene.ctl(&["get", "k"], &way);
    assert!(code == Some(1) && said.contains("the node's certificate is not accepted"), "{said}");
    let renamed = ["--node-tls-ca", "@ca.pem", "--node-tls-server-name", "renamed.internal"];
    assert_eq!(scene.ctl(&["set", "k", "ho"], &[&renamed, CERTIFICATE, PASSWORD]).0, Some(0));
    assert_eq!(exchange(at, "get k\r\nquit\r\n"), "VALUE k 0 2\r\nho\r\nEND\r\n");
    assert!(!gateway.log().contains("hunter2") && !scene.node.log().contains("hunter2"));
}

#[test]
fn gateway_that_nodes_do_not_take_or_that_does_not_take_nodes_says_why() {
    let scene = Scene::start();
    let foreign = ["--node-tls-ca", "@foreign.pem", "--node-tls-server-name", "nodes.internal"];
    let nameless = ["--node-tls-ca", "@ca.pem"];
    let wrong = ["--node-user", "ann", "--node-password-file", "@wrong"];
    let ways: [(&[Words<'_>], &str); 6] = [
        (&[], "the node speaks TLS only"),
        (&[PASSWORD], "the node speaks TLS only"),
        (&[&foreign, CERTIFICATE, PASSWORD], "(invalid peer certificate: "),
        (&[&nameless, CERTIFICATE, PASSWORD], "the node's certificate is not accepted"),
        (&[TLS, PASSWORD], "the node refuses our certificate, or misses one"),
        (&[TLS, CERTIFICATE, &wrong], "the node refuses the user or the password"),
    ];
    for (way, why) in ways {
        let (mut gateway, at) = scene.gateway(way);
        for request in ["get k\r\nquit\r\n", "set k 0 0 1\r\nx\r\nquit\r\n", "incr k 1\r\nquit\r\n"] {
            let answer = exchange(at, request);
            assert!(answer.starts_with("SERVER_ERROR ") && answer.contains(why), "{way:?}: {answer}");
            assert!(answer.contains("node n1 in zone a") && !answer.contains("hunter"), "{answer}");
        }
        let log = gateway.log();
        assert!(log.contains("cannot connect") && log.contains(why), "{way:?}: {log}");
        assert_eq!(log.matches("cannot connect").count(), 1, "it is told once: {log}");
        signal(gateway.process.0.id(), Signal::TERM);
        assert_eq!(gateway.process.exit_code(), Some(0));
    }
    assert!(!scene.node.log().contains("hunter"));
}

#[test]
fn check_reads_every_file_and_print_none_and_neither_shows_a_secret() {
    let dir = tempfile::tempdir().unwrap();
    write_authority(&dir.path().join("ca.pem"));
    std::fs::write(dir.path().join("password"), "two words\n").unwrap();
    std::fs::write(dir.path().join("users"), "hunter2\n").unwrap();
    let own = ["--cluster", "HOME", "--zone", "a", "--discovery", "d:1", "--auth-file", "@users"];
    let way = ["--node-tls-ca", "@ca.pem", "--node-tls-cert", "@nowhere", "--node-tls-key", "@neither"];
    let more =
        ["--node-tls-server-name", "no name", "--node-user", "ann", "--node-password-file", "@password"];
    let all = [&own[..], &way, &more, &["--threads", "0"]].concat();
    let check = run(&[&["config", "check", "gateway"][..], &words(&dir, &all).each()].concat());
    let said = text(&check.stderr);
    assert_eq!(check.status.code(), Some(2));
    for part in [
        "6 faults",
        "threads = \"0\"",
        "users: line 1 is not user:password",
        "nowhere",
        "neither",
        "\"no name\": the server name must be a DNS name",
        "must not hold white space",
    ] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    assert!(!said.contains("hunter2") && !said.contains("two words"), "{said}");
    let started = run(&[&["gateway"][..], &words(&dir, &all).each()].concat());
    assert_eq!((started.status.code(), text(&started.stderr)), (Some(2), said));

    let good = [&own[..], &way, &more].concat();
    let print = run(&[&["config", "print", "gateway"][..], &words(&dir, &good).each()].concat());
    let printed = text(&print.stdout);
    assert_eq!(print.status.code(), Some(0));
    assert!(printed.contains("node_user = \"ann\"") && !printed.contains("two words"), "{printed}");
}

#[test]
fn half_a_way_to_nodes_is_told_what_is_missing() {
    let own = ["config", "check", "gateway", "--cluster", "HOME", "--zone", "a", "--discovery", "d:1"];
    for (half, missing) in [
        (["--node-tls-cert", "c"], &["node_tls_ca is not set", "node_tls_key is not set"][..]),
        (["--node-tls-server-name", "n"], &["node_tls_ca is not set"]),
        (["--node-user", "ann"], &["node_password_file is not set"]),
        (["--node-password-file", "f"], &["node_user is not set"]),
    ] {
        let check = run(&[&own[..], &half].concat());
        let said = text(&check.stderr);
        assert_eq!(check.status.code(), Some(2));
        assert!(missing.iter().all(|part| said.contains(part)), "{half:?}: {said}");
    }
}
