//! Passwords: nothing is served without one, in any protocol, on any listener that asks.

use std::io::Write;

use evanesce_front::Front;

use crate::kit::{Place, ask, connect, connect_tls, connect_unix, drain, eventually, is_served, rest};

const UNAUTHENTICATED: &str = "CLIENT_ERROR unauthenticated\r\n";
const FAILED: &str = "CLIENT_ERROR authentication failure\r\n";

const ANN: &[u8] = b"set auth 0 0 10\r\nann secret\r\n";

/// A SASL request of the binary protocol.
fn plain(data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x80, 0x21, 0, 5, 0, 0, 0, 0, 0, 0, 0, 5 + data.len() as u8];
    bytes.extend_from_slice(&[0; 12]);
    [&bytes[..], b"PLAIN", data].concat()
}

#[test]
fn nothing_is_served_before_a_password_and_everything_after() {
    let place = Place::new();
    let running = place.with_passwords(&["127.0.0.1:0"]);
    let mut stream = connect(running.local_addrs()[0]);
    assert_eq!(ask(&mut stream, b"get 5\r\n", UNAUTHENTICATED.len()).unwrap(), UNAUTHENTICATED);
    let wrong = b"set auth 0 0 9\r\nann wrong\r\n";
    assert_eq!(ask(&mut stream, wrong, FAILED.len()).unwrap(), FAILED);
    assert_eq!(running.stats().requests, 0);
    // What follows in the same packet is served.
    let both = [ANN, b"get 5\r\n"].concat();
    assert_eq!(ask(&mut stream, &both, 15).unwrap(), "STORED\r\n.....\r\n");
    // A `set` is a `set` from now on.
    assert_eq!(ask(&mut stream, ANN, 4).unwrap(), "OK\r\n");
    let stats = running.stats();
    assert_eq!((stats.auth_cmds, stats.auth_errors, stats.requests), (2, 1, 2));
    drain(running);
}

#[test]
fn password_in_pieces_is_as_good() {
    let place = Place::new();
    let running = place.with_passwords(&["127.0.0.1:0"]);
    let mut stream = connect(running.local_addrs()[0]);
    stream.set_nodelay(true).unwrap();
    for byte in ANN {
        stream.write_all(&[*byte]).unwrap();
    }
    assert_eq!(ask(&mut stream, b"mn\r\n", 12).unwrap(), "STORED\r\nOK\r\n");
}

#[test]
fn binary_protocol_authenticates_by_sasl_plain() {
    let place = Place::new();
    let running = place.with_passwords(&["127.0.0.1:0"]);
    let address = running.local_addrs()[0];
    let mut stream = connect(address);
    let refused = ask(&mut stream, &plain(b"\0ann\0wrong"), 24 + 13).unwrap();
    assert!(refused.ends_with("Auth failure."), "{refused:?}");
    let noop = [&[0x80, 0x0a][..], &[0; 22]].concat();
    // The word of whoever is let in, and the service's for a noop.
    let admitted = ask(&mut stream, &[plain(b"\0ann\0secret"), noop.clone()].concat(), 24 + 13 + 4).unwrap();
    assert!(admitted.ends_with("AuthenticatedOK\r\n"), "{admitted:?}");

    let mut stranger = connect(address);
    stranger.write_all(&noop).unwrap();
    let refused = rest(&mut stranger);
    assert!(refused.ends_with("Auth failure."), "{refused:?}");
    let stats = running.stats();
    assert_eq!((stats.auth_cmds, stats.auth_errors, stats.auth_missing, stats.requests), (2, 1, 1, 1));
}

#[test]
fn every_listener_asks_unless_it_was_told_not_to() {
    let place = Place::new();
    let (asks, trusts) = (place.path("a.sock"), place.path("t.sock"));
    let listen = [
        "127.0.0.1:0".to_owned(),
        "tls://127.0.0.1:0".to_owned(),
        "127.0.0.1:0?auth=off".to_owned(),
        format!("unix:{}", asks.display()),
        format!("unix:{}?auth=off", trusts.display()),
    ];
    let running = place.with_passwords(&listen.each_ref().map(String::as_str));
    let [plain, tls, open] = running.local_addrs() else { panic!("three addresses") };
    let asked = |reply: std::io::Result<String>| assert_eq!(reply.unwrap(), "CLIE");
    asked(ask(&mut connect(*plain), b"mn\r\n", 4));
    asked(ask(&mut connect_tls(*tls, &place.client(None)), b"mn\r\n", 4));
    asked(ask(&mut connect_unix(&asks), b"mn\r\n", 4));
    is_served(&mut connect(*open));
    is_served(&mut connect_unix(&trusts));
    let mut stream = connect_tls(*tls, &place.client(None));
    assert_eq!(ask(&mut stream, ANN, 8).unwrap(), "STORED\r\n");
    is_served(&mut stream);
    let mut stream = connect_unix(&asks);
    assert_eq!(ask(&mut stream, ANN, 8).unwrap(), "STORED\r\n");
    is_served(&mut stream);
}

#[test]
fn changed_passwords_hold_for_the_next_attempt_and_a_bad_file_changes_nothing() {
    let place = Place::new();
    let running = place.with_passwords(&["127.0.0.1:0"]);
    let address = running.local_addrs()[0];
    let mut inside = connect(address);
    assert_eq!(ask(&mut inside, ANN, 8).unwrap(), "STORED\r\n");
    std::fs::write(place.path("users"), "no password here\n").unwrap();
    running.reload();
    assert_eq!((running.stats().reloads, running.stats().reload_errors), (0, 1));
    assert_eq!(ask(&mut connect(address), ANN, 8).unwrap(), "STORED\r\n");
    std::fs::write(place.path("users"), "ann:changed\n").unwrap();
    running.reload();
    assert_eq!(running.stats().reloads, 1);
    assert_eq!(ask(&mut connect(address), ANN, FAILED.len()).unwrap(), FAILED);
    let changed = b"set auth 0 0 11\r\nann changed\r\n";
    assert_eq!(ask(&mut connect(address), changed, 8).unwrap(), "STORED\r\n");
    is_served(&mut inside);
}

#[test]
fn strangers_leave_nothing_behind_and_hold_little() {
    let place = Place::new();
    let running = place.with_passwords(&["127.0.0.1:0"]);
    let address = running.local_addrs()[0];
    for _ in 0..50 {
        // More of a line than there is, and more of a value.
        let mut stream = connect(address);
        stream.write_all(&[b'x'; 2049]).unwrap();
        assert_eq!(rest(&mut stream), "");
        let mut stream = connect(address);
        stream.write_all(b"set a 0 0 1000000\r\n").unwrap();
        assert_eq!(rest(&mut stream), "");
    }
    let waiting: Vec<_> = (0..50).map(|_| connect(address)).collect();
    eventually("fifty", || running.stats().curr_connections == 50);
    assert_eq!(running.stats().input_bytes, 0);
    drop(waiting);
    eventually("none", || running.stats().curr_connections == 0);
    drain(running);
}

#[test]
fn authentication_file_that_is_wrong_is_told_at_the_start_without_its_words() {
    let place = Place::new();
    std::fs::write(place.path("users"), "ann:secret\nhunter2\n").unwrap();
    let config = evanesce_front::FrontConfig {
        auth_file: Some(place.path("users")),
        ..place.config(&["127.0.0.1:0"])
    };
    let error = Front::bind(config).unwrap_err();
    assert!(error.to_string().contains("line 2 is not user:password"), "{error}");
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
}

/// `/dev/zero` filled the memory, and a pipe made the reader wait for ever.
#[test]
fn secrets_are_read_from_regular_files_of_some_size_only() {
    let place = Place::new();
    let told = |path: &std::path::Path| {
        let auth_file = Some(path.to_owned());
        Front::bind(evanesce_front::FrontConfig { auth_file, ..place.config(&["127.0.0.1:0"]) })
            .unwrap_err()
            .to_string()
    };
    std::os::unix::fs::symlink("/dev/zero", place.path("zero")).unwrap();
    assert!(told(&place.path("zero")).contains("no regular file"), "{}", told(&place.path("zero")));
    assert!(told(place.dir.path()).contains("no regular file"));
    std::fs::write(place.path("large"), b"ann:secret\n".repeat(100_000)).unwrap();
    assert!(told(&place.path("large")).contains("larger than 1MiB"));
}
