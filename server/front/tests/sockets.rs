//! Fronts on real sockets of the loopback.

#![expect(clippy::unwrap_used, reason = "a test panics on failure")]

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use evanesce_front::{Flow, Front, FrontConfig, Output, Running, Service};
use evanesce_wire::request::Request;

/// How long anything may take that should happen at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// Answers with the number of the worker.
struct Worker(usize);

impl Service for Worker {
    async fn call(&self, batch: &[Request<'_>], out: &mut Output<'_>) -> io::Result<Flow> {
        for request in batch {
            if matches!(request, Request::MetaNoop) {
                return Ok(Flow::Close);
            }
            out.buf().extend_from_slice(format!("{}\r\n", self.0).as_bytes());
        }
        Ok(Flow::Continue)
    }
}

fn start(listen: &str, threads: usize, connections_max: usize) -> Running {
    let threads = NonZeroUsize::new(threads).unwrap();
    let config = FrontConfig { connections_max, ..FrontConfig::new(vec![listen.parse().unwrap()], threads) };
    Front::bind(config).unwrap().start(Worker).unwrap()
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn ask(stream: &mut TcpStream) -> String {
    stream.write_all(b"version\r\n").unwrap();
    let mut reply = [0; 3];
    stream.read_exact(&mut reply).unwrap();
    String::from_utf8(reply.to_vec()).unwrap()
}

fn drain(running: Running) -> evanesce_front::Drained {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(running.drain(PATIENCE))
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "{what} does not come true");
        std::thread::yield_now();
    }
}

#[test]
fn connections_are_dealt_evenly() {
    let running = start("127.0.0.1:0", 4, 100);
    let mut streams: Vec<_> = (0..40).map(|_| connect(running.local_addrs()[0])).collect();
    let mut seen = [0; 4];
    for stream in &mut streams {
        seen[ask(stream).trim().parse::<usize>().unwrap()] += 1;
    }
    assert_eq!(seen, [10; 4]);
    let stats = running.stats();
    assert_eq!((stats.curr_connections, stats.total_connections, stats.requests), (40, 40, 40));
    assert_eq!(stats.bytes_read, 40 * 9);
    // Counted when the write has returned: the peer may have the reply a moment before.
    eventually("all that was written is counted", || running.stats().bytes_written == 40 * 3);
}

#[test]
fn connection_too_many_is_told_and_its_place_is_free_again_later() {
    let running = start("127.0.0.1:0", 2, 3);
    let mut streams: Vec<_> = (0..3).map(|_| connect(running.local_addrs()[0])).collect();
    streams.iter_mut().for_each(|stream| drop(ask(stream)));
    let mut told = String::new();
    connect(running.local_addrs()[0]).read_to_string(&mut told).unwrap();
    assert_eq!(told, "ERROR Too many open connections\r\n");
    assert_eq!(running.stats().rejected_connections, 1);
    streams.pop();
    eventually("a free place", || running.stats().curr_connections == 2);
    ask(&mut connect(running.local_addrs()[0]));
}

#[test]
fn half_closed_socket_gets_its_answers() {
    let running = start("127.0.0.1:0", 1, 10);
    let mut stream = connect(running.local_addrs()[0]);
    stream.write_all(b"version\r\nversion\r\nvers").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut replies = String::new();
    stream.read_to_string(&mut replies).unwrap();
    assert_eq!(replies, "0\r\n0\r\n");
}

#[test]
fn service_may_close() {
    let running = start("127.0.0.1:0", 1, 10);
    let mut stream = connect(running.local_addrs()[0]);
    stream.write_all(b"version\r\nmn\r\nversion\r\n").unwrap();
    let mut replies = String::new();
    stream.read_to_string(&mut replies).unwrap();
    assert_eq!(replies, "0\r\n");
}

#[test]
fn ipv6_is_served() {
    let running = start("[::1]:0", 1, 10);
    ask(&mut connect(running.local_addrs()[0]));
}

#[test]
fn address_in_use_is_told() {
    let running = start("127.0.0.1:0", 1, 10);
    let config = FrontConfig::new(vec![running.local_addrs()[0].into()], NonZeroUsize::MIN);
    let error = Front::bind(config).unwrap_err().to_string();
    assert!(error.contains(&running.local_addrs()[0].to_string()), "{error}");
}

#[test]
fn drain_closes_idle_connections_and_the_listener() {
    let running = start("127.0.0.1:0", 2, 500);
    let address = running.local_addrs()[0];
    let mut streams: Vec<_> = (0..200).map(|_| connect(address)).collect();
    streams.iter_mut().for_each(|stream| drop(ask(stream)));
    let stats = running.stats_handle();
    assert_eq!(drain(running).cut_connections, 0);
    assert_eq!(stats.stats().curr_connections, 0);
    for stream in &mut streams {
        assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
    }
    assert!(TcpStream::connect(address).is_err());
}

// It was served until the deadline cut it, because its socket always had something to read.
#[test]
fn drain_ends_a_connection_whose_peer_never_pauses_and_loses_no_reply() {
    let running = start("127.0.0.1:0", 1, 10);
    let mut stream = connect(running.local_addrs()[0]);
    let mut writer = stream.try_clone().unwrap();
    let flood = std::thread::spawn(move || while writer.write_all(&b"version\r\n".repeat(5000)).is_ok() {});
    let reader = std::thread::spawn(move || {
        let mut bytes = 0;
        let mut buffer = vec![0; 1 << 20];
        while let Ok(read @ 1..) = stream.read(&mut buffer) {
            bytes += read as u64;
        }
        stream.shutdown(Shutdown::Both).ok();
        bytes
    });
    let stats = running.stats_handle();
    eventually("a flood", || stats.stats().requests > 100_000);
    assert_eq!(drain(running).cut_connections, 0);
    flood.join().unwrap();
    assert_eq!(reader.join().unwrap(), stats.stats().requests * 3);
}

#[test]
fn dropping_a_front_stops_it() {
    let running = start("127.0.0.1:0", 1, 10);
    let mut stream = connect(running.local_addrs()[0]);
    ask(&mut stream);
    drop(running);
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
}
