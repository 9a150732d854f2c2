//! TLS: who is let in, who is not, what is counted, and certificates that change.

use std::io::{Read, Write};
use std::sync::Arc;

use rustls::version::TLS12;

use crate::kit::{
    Authority, Place, ask, client, connect, connect_tls, drain, eventually, is_served, refusals, rest,
    sockets_at, start, write_pem,
};

#[test]
fn tls_is_served_beside_plain_tcp() {
    let place = Place::new();
    let running = start(place.config(&["127.0.0.1:0", "tls://127.0.0.1:0"]));
    let [plain, tls] = running.local_addrs() else { panic!("two addresses") };
    is_served(&mut connect(*plain));
    let mut stream = connect_tls(*tls, &place.client(None));
    is_served(&mut stream);
    // Values of many records, requested together, and a long request.
    let replies = ask(&mut stream, &b"get 300000\r\n".repeat(5), 5 * 300_002).unwrap();
    assert_eq!(replies, format!("{}\r\n", ".".repeat(300_000)).repeat(5));
    let value = [b"set k 0 0 500000\r\n", &[b'x'; 500_000][..], b"\r\n"].concat();
    assert_eq!(ask(&mut stream, &value, 4).unwrap(), "OK\r\n");
    stream.write_all(b"mn\r\nquit\r\n").unwrap();
    let mut reply = String::new();
    // Without a word of farewell this would be an error.
    stream.read_to_string(&mut reply).unwrap();
    assert_eq!(reply, "OK\r\n");
    assert_eq!(running.stats().tls_handshakes, 1);
    drain(running);
}

#[test]
fn reader_that_pauses_gets_all_of_a_long_reply() {
    let place = Place::new();
    let running = start(place.config(&["tls://127.0.0.1:0"]));
    let mut stream = connect_tls(running.local_addrs()[0], &place.client(None));
    stream.write_all(&b"get 1000000\r\n".repeat(20)).unwrap();
    stream.flush().unwrap();
    eventually("a writer that waits", || running.stats().output_bytes > 0);
    let mut replies = vec![0; 20 * 1_000_002];
    stream.read_exact(&mut replies).unwrap();
    is_served(&mut stream);
    assert_eq!(running.stats().output_bytes, 0);
}

#[test]
fn drain_says_farewell_to_idle_connections() {
    let place = Place::new();
    let running = start(place.config(&["tls://127.0.0.1:0"]));
    let mut stream = connect_tls(running.local_addrs()[0], &place.client(None));
    is_served(&mut stream);
    let half_way = connect(running.local_addrs()[0]);
    eventually("both", || running.stats().curr_connections == 2);
    drain(running);
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
    drop(half_way);
}

#[test]
fn certificate_of_the_authority_comes_in_and_all_others_are_refused_by_reason() {
    let place = Place::new();
    let running = place.mutual();
    let address = running.local_addrs()[0];
    is_served(&mut connect_tls(address, &place.client(Some(&place.authority.sign()))));

    let foreign = Authority::new();
    let strangers = [
        ("no_certificate", place.client(None)),
        ("expired_certificate", place.client(Some(&place.authority.sign_expired()))),
        ("foreign_certificate", place.client(Some(&foreign.sign()))),
        // This one does not trust us.
        ("peer_refused", client(&foreign, Some(&place.authority.sign()))),
    ];
    for (reason, config) in strangers {
        let refused = ask(&mut connect_tls(address, &config), b"mn\r\n", 4).unwrap_err();
        // The peer is told by an alert, not by a connection that breaks.
        assert!(!refused.to_string().contains("os error"), "{reason}: {refused}");
        eventually(reason, || refusals(&running.stats()).contains(&(reason, 1)));
    }
    let mut plain = connect(address);
    plain.write_all(b"get a\r\n").unwrap();
    assert_eq!(rest(&mut plain), "CLIENT_ERROR this port speaks TLS only\r\n");
    eventually("plain text", || refusals(&running.stats()).contains(&("plain_text", 1)));
    drop(connect(address));
    eventually("one who goes", || refusals(&running.stats()).contains(&("gone", 1)));
    assert_eq!(running.stats().tls_handshakes, 1);
    assert_eq!(running.stats().requests, 1);
}

#[test]
fn tls_is_refused_and_counted_where_plain_text_is_spoken() {
    let place = Place::new();
    let running = place.with_passwords(&["127.0.0.1:0", "127.0.0.1:0?auth=off"]);
    let mut count = 0;
    for address in running.local_addrs() {
        count += 2;
        ask(&mut connect_tls(*address, &place.client(None)), b"mn\r\n", 4).unwrap_err();
        eventually("it is counted", || refusals(&running.stats()) == [("plain_port", count - 1)]);
        let mut peer = connect(*address);
        peer.write_all(b"\x16\x03\x01\x02\x00\x01\x00").unwrap();
        assert_eq!(rest(&mut peer), "CLIENT_ERROR this port speaks no TLS\r\n");
        eventually("it is counted", || refusals(&running.stats()) == [("plain_port", count)]);
    }
    assert_eq!((running.stats().requests, running.stats().refused_requests), (0, 0));
    eventually("none", || running.stats().curr_connections == 0);
}

#[test]
fn refused_handshakes_leave_nothing_behind() {
    let place = Place::new();
    let running = place.mutual();
    let address = running.local_addrs()[0];
    let stranger = place.client(Some(&Authority::new().sign()));
    let descriptors = sockets_at(address);
    assert_eq!(descriptors, 1, "the listener");
    for round in 1..=50 {
        let mut refused = connect_tls(address, &stranger);
        ask(&mut refused, b"mn\r\n", 4).unwrap_err();
        let mut plain = connect(address);
        plain.write_all(b"version\r\n").unwrap();
        rest(&mut plain);
        drop((refused, plain));
        eventually("both counted", || {
            refusals(&running.stats()).iter().map(|(_, n)| n).sum::<u64>() == 2 * round
        });
    }
    eventually("no connection", || running.stats().curr_connections == 0);
    eventually("no descriptor", || sockets_at(address) == descriptors);
    assert!(running.stats_handle().connections().is_empty());
    is_served(&mut connect_tls(address, &place.client(Some(&place.authority.sign()))));
    assert_eq!(running.stats().input_bytes + running.stats().output_bytes, 0);
}

#[test]
fn handshakes_count_against_the_limit_of_connections() {
    let place = Place::new();
    let running =
        start(evanesce_front::FrontConfig { connections_max: 2, ..place.config(&["tls://127.0.0.1:0"]) });
    let address = running.local_addrs()[0];
    let silent = [connect(address), connect(address)];
    eventually("two", || running.stats().curr_connections == 2);
    // In TLS there is no word for "too many" before a handshake.
    assert_eq!(rest(&mut connect(address)), "");
    assert_eq!(running.stats().rejected_connections, 1);
    drop(silent);
    eventually("none", || running.stats().curr_connections == 0);
    is_served(&mut connect_tls(address, &place.client(None)));
}

#[test]
fn older_tls_is_served_too() {
    let place = Place::new();
    let running = start(place.config(&["tls://127.0.0.1:0"]));
    let mut config = (*place.client(None)).clone();
    let provider = Arc::clone(config.crypto_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(place.authority.cert().into()).unwrap();
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS12]);
    config = builder.unwrap().with_root_certificates(roots).with_no_client_auth();
    is_served(&mut connect_tls(running.local_addrs()[0], &Arc::new(config)));
}

#[test]
fn changed_certificate_is_taken_over_and_a_bad_one_is_not() {
    let place = Place::new();
    let running = start(place.config(&["tls://127.0.0.1:0"]));
    let address = running.local_addrs()[0];
    let mut open = connect_tls(address, &place.client(None));
    is_served(&mut open);
    running.reload();
    assert_eq!((running.stats().reloads, running.stats().reload_errors), (0, 0));

    // A key that is not the certificate's: renewed half way, say.
    let other = Authority::new();
    let renewed = other.sign();
    write_pem(&place.path("cert.pem"), "CERTIFICATE", &renewed.cert);
    running.reload();
    assert_eq!((running.stats().reloads, running.stats().reload_errors), (0, 1));
    // Who asks once more is told once more.
    running.reload();
    assert_eq!((running.stats().reloads, running.stats().reload_errors), (0, 2));
    is_served(&mut connect_tls(address, &place.client(None)));

    place.write_identity(&renewed);
    running.reload();
    running.reload();
    assert_eq!((running.stats().reloads, running.stats().reload_errors), (1, 2));
    is_served(&mut connect_tls(address, &client(&other, None)));
    ask(&mut connect_tls(address, &place.client(None)), b"mn\r\n", 4).unwrap_err();
    is_served(&mut open);

    std::fs::remove_file(place.path("key.pem")).unwrap();
    running.reload();
    assert_eq!(running.stats().reload_errors, 3);
    is_served(&mut connect_tls(address, &client(&other, None)));
}

#[test]
fn authority_that_is_no_longer_trusted_lets_nobody_in() {
    let place = Place::new();
    let running = place.mutual();
    let address = running.local_addrs()[0];
    let shown = place.client(Some(&place.authority.sign()));
    is_served(&mut connect_tls(address, &shown));
    let other = Authority::new();
    write_pem(&place.path("ca.pem"), "CERTIFICATE", &other.cert());
    running.reload();
    // No session of before is taken up again.
    ask(&mut connect_tls(address, &shown), b"mn\r\n", 4).unwrap_err();
    is_served(&mut connect_tls(address, &place.client(Some(&other.sign()))));
}

#[test]
fn certificates_that_cannot_be_used_are_told_at_the_start() {
    let place = Place::new();
    let told = |listen: &[&str]| evanesce_front::Front::bind(place.config(listen)).unwrap_err().to_string();
    let tls = &["tls://127.0.0.1:0"];
    std::fs::write(place.path("key.pem"), "nothing of the kind").unwrap();
    assert!(told(tls).contains("key.pem holds no private key in PEM form"), "{}", told(tls));
    write_pem(&place.path("key.pem"), "PRIVATE KEY", &Authority::new().sign().key);
    assert!(told(tls).contains("give a certificate and the key it was made for"), "{}", told(tls));
    std::fs::remove_file(place.path("cert.pem")).unwrap();
    assert!(told(tls).contains("cert.pem") && told(tls).contains("name a file"), "{}", told(tls));
    let mut config = place.config(tls);
    config.tls = None;
    let error = evanesce_front::Front::bind(config).unwrap_err().to_string();
    assert!(error.contains("speaks TLS and there is no certificate"), "{error}");
}
