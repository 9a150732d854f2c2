//! Deadlines of what comes before the first request, with time moved by hand.

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, LocalOptions};
use tokio::task::{spawn_local, yield_now};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::budget::Budget;
use crate::config::{FrontConfig, READ_STALL_DEFAULT};
use crate::output::Output;
use crate::secrets::Secrets;
use crate::service::Flow;
use crate::session::PROOF_MAX;
use crate::slot::{HANDSHAKE_CROWDED_MAX, HANDSHAKE_MAX};
use crate::stats::{Counters, StatsHandle};
use crate::tls::{HANDSHAKES_MAX, TlsFiles};
use evanesce_wire::request::Request;

/// Turns of the event loop after which something that should have happened did not.
const TURNS_MAX: usize = 1_000_000;

/// The beginning of a record of 512 bytes.
const BEGINNING: &[u8] = &[0x16, 3, 1, 2];

struct Silent;

impl Service for Silent {
    async fn call(&self, _batch: &[Request<'_>], _out: &mut Output<'_>) -> io::Result<Flow> {
        Ok(Flow::Continue)
    }
}

/// A worker that has a certificate and users, and where its peers connect.
struct Bench {
    worker: Rc<Worker>,
    listener: TcpListener,
    cert: CertificateDer<'static>,
}

impl Bench {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let key = rcgen::KeyPair::generate().unwrap();
        let cert = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let cert = cert.self_signed(&key).unwrap().der().clone();
        write_pem(&path("cert"), "CERTIFICATE", &cert);
        write_pem(&path("key"), "PRIVATE KEY", &key.serialize_der());
        std::fs::write(path("users"), "ann:secret\n").unwrap();
        let files = TlsFiles { cert: path("cert"), key: path("key"), client_ca: None };
        let secrets = Arc::new(Secrets::load(Some(files), Some(path("users"))).unwrap());
        let config = FrontConfig::new(Vec::new(), NonZeroUsize::MIN);
        let counters = Arc::new(Counters::new(1, 10_000, Budget::new(1 << 20), Budget::new(1 << 20)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { worker: Worker::new(Arc::new(config), counters, secrets, 0), listener, cert }
    }

    /// A peer, and its connection as it was accepted.
    async fn pair(&self) -> (TcpStream, TcpStream) {
        let peer = TcpStream::connect(self.listener.local_addr().unwrap()).await.unwrap();
        (peer, self.listener.accept().await.unwrap().0)
    }

    async fn tls(&self) -> TcpStream {
        let (peer, accepted) = self.pair().await;
        spawn_local(Rc::clone(&self.worker).serve_tls(accepted, Rc::new(Silent), false));
        peer
    }

    /// A peer that has shaken hands.
    async fn in_tls(&self) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(self.cert.clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let config = builder.with_root_certificates(roots).with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = self.tls().await;
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
    }

    async fn with_password(&self) -> TcpStream {
        let (peer, accepted) = self.pair().await;
        spawn_local(Rc::clone(&self.worker).serve(accepted, Rc::new(Silent), true));
        peer
    }

    /// Moves time, and waits until so many connections are left.
    async fn sweep(&self, now: Duration, left: usize) {
        self.worker.sweep(now);
        self.until(|bench| bench.worker.counters.connections.all().len() == left).await;
    }

    /// Waits until there are so many connections, and they wait for these, in any order.
    async fn wait_for(&self, phases: &[Phase]) {
        let sorted = |mut phases: Vec<Phase>| {
            phases.sort_by_key(|phase| *phase as u8);
            phases
        };
        let phases = sorted(phases.to_vec());
        self.until(|bench| sorted(bench.worker.phases()) == phases).await;
    }

    async fn until(&self, holds: impl Fn(&Self) -> bool) {
        for _ in 0..TURNS_MAX {
            if holds(self) {
                return;
            }
            yield_now().await;
        }
        panic!("it does not come true: {:?}", self.worker.phases());
    }

    fn timed_out(&self) -> u64 {
        let stats = StatsHandle(Arc::clone(&self.worker.counters)).stats();
        stats.tls_refusals().find(|(reason, _)| *reason == "timed_out").unwrap().1
    }
}

fn write_pem(path: &std::path::Path, kind: &str, der: &[u8]) {
    use base64::Engine;
    let text = base64::prelude::BASE64_STANDARD.encode(der);
    std::fs::write(path, format!("-----BEGIN {kind}-----\n{text}\n-----END {kind}-----\n")).unwrap();
}

fn run(test: impl AsyncFnOnce(Bench)) {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).unwrap();
    runtime.block_on(async { test(Bench::new().await).await });
}

#[test]
fn handshake_that_does_not_begin_or_end_is_given_up() {
    run(async |bench| {
        let mut silent = bench.tls().await;
        bench.wait_for(&[Phase::Greeting]).await;
        let mut drips = bench.tls().await;
        drips.write_all(BEGINNING).await.unwrap();
        bench.wait_for(&[Phase::Greeting, Phase::Handshaking]).await;
        bench.sweep(HANDSHAKE_MAX / 2, 2).await;
        // Some more of the record, which is no progress.
        drips.write_all(&[0]).await.unwrap();
        bench.sweep(HANDSHAKE_MAX, 2).await;
        assert_eq!(bench.timed_out(), 0);
        bench.sweep(HANDSHAKE_MAX + Duration::from_secs(1), 0).await;
        assert_eq!(bench.timed_out(), 2);
        assert_eq!(silent.read(&mut [0; 1]).await.unwrap_or(0), 0);
    });
}

/// Some hundred silent connections, renewed every ten seconds, kept everybody else out: each had its turn, in which it
/// did nothing. Now a turn is for those who began, and short while others wait.
#[test]
fn those_who_are_silent_or_slow_keep_nobody_out() {
    run(async |bench| {
        let mut others = Vec::new();
        for _ in 0..=HANDSHAKES_MAX {
            others.push(bench.tls().await);
        }
        bench.wait_for(&[Phase::Greeting; HANDSHAKES_MAX + 1]).await;
        assert_eq!(bench.worker.handshakes.available_permits(), HANDSHAKES_MAX);
        for other in &mut others {
            other.write_all(BEGINNING).await.unwrap();
        }
        let mut phases = [Phase::Handshaking; HANDSHAKES_MAX + 1];
        phases[0] = Phase::Greeting;
        bench.wait_for(&phases).await;
        bench.sweep(HANDSHAKE_CROWDED_MAX, HANDSHAKES_MAX + 1).await;
        bench.sweep(HANDSHAKE_CROWDED_MAX + Duration::from_secs(1), 1).await;
        assert_eq!(bench.timed_out() as usize, HANDSHAKES_MAX);
        // The one that waited has its turn, and its time.
        bench.wait_for(&[Phase::Handshaking]).await;
        bench.sweep(HANDSHAKE_MAX, 1).await;
        bench.sweep(HANDSHAKE_MAX * 2, 0).await;
        assert_eq!(bench.worker.handshakes.available_permits(), HANDSHAKES_MAX);
    });
}

/// What a peer had sent of a record lay with TLS, 10 KiB and more, and its connection was taken for an idle one.
#[test]
fn part_of_a_record_is_not_held_for_ever() {
    run(async |bench| {
        let idle = bench.in_tls().await;
        bench.wait_for(&[Phase::Idle]).await;
        let (mut below, _tls) = bench.in_tls().await.into_inner();
        below.write_all(&[0x17, 3, 3, 0x40, 0, 1, 2, 3]).await.unwrap();
        bench.wait_for(&[Phase::Idle, Phase::Partial]).await;
        bench.sweep(READ_STALL_DEFAULT / 2, 2).await;
        below.write_all(&[4]).await.unwrap();
        bench.sweep(READ_STALL_DEFAULT + Duration::from_secs(1), 1).await;
        bench.wait_for(&[Phase::Idle]).await;
        drop(idle);
    });
}

#[test]
fn stranger_who_only_tries_is_closed_in_time() {
    run(async |bench| {
        let mut silent = bench.with_password().await;
        let mut tries = bench.with_password().await;
        bench.wait_for(&[Phase::Proving; 2]).await;
        bench.sweep(PROOF_MAX, 2).await;
        tries.write_all(b"version\r\n").await.unwrap();
        let mut reply = [0; 30];
        tries.read_exact(&mut reply).await.unwrap();
        assert_eq!(&reply, b"CLIENT_ERROR unauthenticated\r\n");
        // One is silent for too long; the other is told so at its next attempt.
        bench.sweep(PROOF_MAX + Duration::from_secs(1), 1).await;
        assert_eq!(silent.read(&mut [0; 1]).await.unwrap(), 0);
        tries.write_all(b"version\r\n").await.unwrap();
        bench.until(|bench| bench.worker.counters.connections.all().is_empty()).await;
    });
}

#[test]
fn drain_waits_for_no_stranger() {
    run(async |bench| {
        let peers = (bench.tls().await, bench.with_password().await);
        bench.wait_for(&[Phase::Greeting, Phase::Proving]).await;
        bench.worker.drain();
        bench.sweep(Duration::from_secs(1), 0).await;
        assert_eq!(bench.timed_out(), 0);
        drop(peers);
    });
}
