//! Sessions over streams in memory, with time moved by hand.

mod binary;
mod ends;

use std::cell::{Cell, RefCell};
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use evanesce_wire::request::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::runtime::{Builder, LocalOptions};
use tokio::task::{JoinHandle, spawn_local, yield_now};

use super::*;
use crate::budget::Budget;
use crate::config::FrontConfig;
use crate::reply_buffer::{OUTPUT_FULL_BYTES, PINNED_BYTES_MIN};
use crate::stats::Counters;

/// Turns of the event loop after which something that should have happened did not.
const TURNS_UNTIL_SETTLED: usize = 200;

/// Bytes of an idle connection's future: it is what ten thousand idle connections cost, ten thousand times.
const IDLE_FUTURE_BYTES_MAX: usize = 1024;

/// Answers sets, gets of `<size>` or `p<size>` with so many bytes, and everything else with a word.
#[derive(Default)]
struct Fake {
    batches: RefCell<Vec<usize>>,
    flushes: Cell<usize>,
}

impl Service for Rc<Fake> {
    async fn call(&self, batch: &[Request<'_>], out: &mut Output<'_>) -> io::Result<Flow> {
        self.batches.borrow_mut().push(batch.len());
        for request in batch {
            match request {
                Request::Set(set) => {
                    out.buf().extend_from_slice(format!("STORED {}\r\n", set.value.len()).as_bytes());
                }
                Request::TooLarge(refused) => refused.refusal.encode(out.buf()),
                Request::Get(get) => {
                    for key in get.keys.iter() {
                        answer(key, out);
                    }
                    out.buf().extend_from_slice(b"END\r\n");
                }
                _ => out.buf().extend_from_slice(b"OK\r\n"),
            }
            if out.is_full() {
                self.flushes.set(self.flushes.get() + 1);
                out.flush().await?;
            }
        }
        Ok(Flow::Continue)
    }
}

fn answer(key: &[u8], out: &mut Output<'_>) {
    let text = std::str::from_utf8(key).unwrap();
    let size = text.trim_start_matches('p').parse().unwrap();
    out.push(Bytes::from(vec![b'.'; size]));
    out.buf().extend_from_slice(b"\r\n");
}

impl Peer for DuplexStream {
    fn poll_readable(&self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

/// A worker, its service, and what it is told.
struct Bench {
    worker: Rc<Worker>,
    service: Rc<Fake>,
}

impl Bench {
    fn new(change: impl FnOnce(&mut FrontConfig)) -> Self {
        let mut config = FrontConfig::new(Vec::new(), NonZeroUsize::MIN);
        change(&mut config);
        let (input, output) = (Budget::new(config.input_bytes_max), Budget::new(config.output_bytes_max));
        let counters = Arc::new(Counters::new(1, config.connections_max, input, output));
        Self { worker: Worker::new(Arc::new(config), counters, Arc::default(), 0), service: Rc::default() }
    }

    fn connect(&self, room: usize) -> (DuplexStream, JoinHandle<()>) {
        let (near, far) = duplex(room);
        let (worker, service) = (Rc::clone(&self.worker), Rc::new(Rc::clone(&self.service)));
        (far, spawn_local(worker.serve(near, service, false)))
    }

    /// Sends all, closes this side, and returns all that comes back.
    async fn exchange(&self, input: &[u8], chunk: usize) -> Vec<u8> {
        let (peer, session) = self.connect(64 << 10);
        let (mut reader, mut writer) = tokio::io::split(peer);
        let chunks: Vec<Vec<u8>> = input.chunks(chunk).map(<[u8]>::to_vec).collect();
        let sender = spawn_local(async move {
            for chunk in chunks {
                if writer.write_all(&chunk).await.is_err() {
                    break;
                }
                yield_now().await;
            }
            let _ = writer.shutdown().await;
        });
        let mut replies = Vec::new();
        let _ = reader.read_to_end(&mut replies).await;
        sender.await.unwrap();
        session.await.unwrap();
        replies
    }

    async fn settle(&self) {
        for _ in 0..TURNS_UNTIL_SETTLED {
            yield_now().await;
        }
    }

    async fn sweep(&self, secs: u64) {
        self.worker.sweep(Duration::from_secs(secs));
        self.settle().await;
    }

    fn stats(&self) -> crate::FrontStats {
        crate::StatsHandle(Arc::clone(&self.worker.counters)).stats()
    }
}

fn run(test: impl AsyncFnOnce()) {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).unwrap();
    runtime.block_on(test());
}

#[test]
fn pipelined_requests_are_answered_in_order_and_in_batches() {
    run(async || {
        let bench = Bench::new(|_| {});
        let input: Vec<u8> = (1..=150).flat_map(|size| format!("get {size}\r\n").into_bytes()).collect();
        let replies = bench.exchange(&input, input.len()).await;
        let expected: Vec<u8> =
            (1..=150).flat_map(|n| [&vec![b'.'; n], &b"\r\nEND\r\n"[..]].concat()).collect();
        assert!(replies == expected);
        assert_eq!(*bench.service.batches.borrow(), [64, 64, 22]);
        assert_eq!((bench.stats().requests, bench.stats().batches), (150, 3));
    });
}

// All that one read brought was answered in one go: a pipeline of `stats` kept the others of its thread waiting for
// 60 ms.
#[test]
fn deep_pipeline_lets_others_go_first() {
    run(async || {
        let bench = Bench::new(|_| {});
        let (mut deep, _deep_session) = bench.connect(1 << 20);
        let (mut other, _other_session) = bench.connect(1024);
        bench.settle().await;
        deep.write_all(&b"version\r\n".repeat(1800)).await.unwrap();
        other.write_all(b"get 1\r\n").await.unwrap();
        deep.read_exact(&mut [0; 1800 * 4]).await.unwrap();
        let batches = bench.service.batches.borrow();
        let before = batches.iter().take_while(|requests| **requests != 1).count();
        assert!(before <= TURNS_MAX as usize, "after {before} of {batches:?}");
        assert_eq!(bench.stats().requests, 1801);
    });
}

#[test]
fn any_chunking_gives_the_same_replies() {
    let large = [b"set k 0 0 40000\r\n", &[b'v'; 40_000][..], b"\r\n"].concat();
    let too_large = [b"set k 0 0 60000\r\n", &[b'v'; 60_000][..], b"\r\n"].concat();
    let input = [
        b"get 5\r\nnonsense\r\nset a 0 0 2\r\nhi\r\n",
        &large[..],
        b"get 20000 3\r\n",
        &too_large,
        b"version\r\n",
    ];
    let input = input.concat();
    let expected = [
        b".....\r\nEND\r\nERROR\r\nSTORED 2\r\nSTORED 40000\r\n",
        &[b'.'; 20_000][..],
        b"\r\n...\r\nEND\r\nSERVER_ERROR object too large for cache\r\nOK\r\n",
    ]
    .concat();
    for chunk in [1, 2, 7, 100, 4096, 16 << 10, 50_000, input.len()] {
        run(async || {
            let bench = Bench::new(|config| config.limits.value_bytes_max = 50_000);
            let replies = bench.exchange(&input, chunk).await;
            assert!(replies == expected, "chunk {chunk}: {}", String::from_utf8_lossy(&replies));
            assert_eq!((bench.stats().input_bytes, bench.stats().refused_requests), (0, 1));
        });
    }
}

#[test]
fn quit_answers_what_came_before_and_nothing_after() {
    run(async || {
        let bench = Bench::new(|_| {});
        assert_eq!(bench.exchange(b"version\r\nquit\r\nversion\r\n", 100).await, b"OK\r\n");
    });
}

#[test]
fn half_closed_peer_gets_its_answers_and_half_a_request_gets_none() {
    run(async || {
        let bench = Bench::new(|_| {});
        assert_eq!(bench.exchange(b"version\r\nset k 0 0 10\r\nabc", 100).await, b"OK\r\n");
    });
}

#[test]
fn slow_reader_holds_one_full_buffer_and_is_closed_when_it_stalls() {
    run(async || {
        let bench = Bench::new(|_| {});
        let (mut peer, session) = bench.connect(1024);
        for _ in 0..50 {
            peer.write_all(b"get 10000\r\n").await.unwrap();
        }
        bench.settle().await;
        assert_eq!(bench.worker.phases(), [Phase::Writing]);
        let held = bench.stats().output_bytes;
        // The reply, room for one more item, what was read and the batch.
        assert!((1..OUTPUT_FULL_BYTES as u64 + 60_000).contains(&held), "{held}");
        bench.sweep(30).await;
        assert!(!session.is_finished());
        bench.sweep(31).await;
        assert!(session.is_finished());
        assert_eq!((bench.stats().output_bytes, bench.stats().stalled_connections), (0, 1));
    });
}

#[test]
fn reader_that_takes_a_little_is_not_stalled() {
    run(async || {
        let bench = Bench::new(|_| {});
        let (mut peer, session) = bench.connect(1024);
        peer.write_all(b"get 50000\r\n").await.unwrap();
        bench.settle().await;
        for secs in [20, 40, 60] {
            bench.sweep(secs).await;
            peer.read_exact(&mut [0; 2000]).await.unwrap();
            bench.settle().await;
        }
        assert!(!session.is_finished());
    });
}

#[test]
fn replies_beyond_the_output_budget_close_the_connection() {
    run(async || {
        let bench = Bench::new(|config| config.output_bytes_max = 30_000);
        let (mut peer, session) = bench.connect(1024);
        peer.write_all(b"get 50000\r\n").await.unwrap();
        bench.settle().await;
        assert!(session.is_finished());
        assert_eq!((bench.stats().output_bytes, bench.stats().output_exhausted), (0, 1));
    });
}

#[test]
fn value_beyond_the_input_budget_is_refused_and_swallowed() {
    for chunk in [1, 999, 16 << 10, 200_000] {
        run(async || {
            let bench = Bench::new(|config| config.input_bytes_max = 50_000);
            let set = [b"set k 0 0 100000\r\n", &[b'v'; 100_000][..], b"\r\n"].concat();
            let fits = [b"set k 0 0 30000\r\n", &[b'v'; 30_000][..], b"\r\nversion\r\n"].concat();
            let replies = bench.exchange(&[set, fits].concat(), chunk).await;
            let expected = "SERVER_ERROR out of memory reading request\r\nSTORED 30000\r\nOK\r\n";
            assert_eq!(String::from_utf8(replies).unwrap(), expected, "chunk {chunk}");
            assert_eq!((bench.stats().input_bytes, bench.stats().input_exhausted), (0, 1));
        });
    }
}

// Whoever came next was refused: eight peers that dripped half-sent sets of 1 MB locked everybody else out.
#[test]
fn peers_that_drip_are_closed_when_others_need_their_room() {
    run(async || {
        let bench = Bench::new(|config| config.input_bytes_max = 350_000);
        let mut drips = Vec::new();
        for second in 0..3 {
            bench.sweep(second).await;
            let (mut peer, session) = bench.connect(1 << 20);
            peer.write_all(b"set k 0 0 100000\r\nvv").await.unwrap();
            bench.settle().await;
            drips.push((peer, session));
        }
        let set = [b"set k 0 0 100000\r\n", &[b'v'; 100_000][..], b"\r\n"].concat();
        let refused = b"SERVER_ERROR out of memory reading request\r\n";
        assert_eq!(bench.exchange(&set, 20_000).await, refused, "nobody has held on for long");
        for second in 3..6 {
            for (peer, _) in &mut drips {
                peer.write_all(b"v").await.unwrap();
            }
            bench.sweep(second).await;
        }
        assert_eq!(bench.exchange(&set, 20_000).await, b"STORED 100000\r\n");
        let closed: Vec<bool> = drips.iter().map(|(_, session)| session.is_finished()).collect();
        assert_eq!(closed, [true, false, false], "the one that held on for longest, and no other");
        assert_eq!((bench.stats().stalled_connections, bench.stats().input_bytes), (1, 200_040));
    });
}

#[test]
fn reader_that_waits_for_longest_is_closed_when_another_needs_its_room() {
    run(async || {
        let bench = Bench::new(|config| config.output_bytes_max = 120_000);
        let (mut old, old_session) = bench.connect(1024);
        old.write_all(b"get 50000\r\n").await.unwrap();
        bench.settle().await;
        for second in 1..4 {
            bench.sweep(second).await;
            // A little is progress enough for the stall limit, not for this.
            old.read_exact(&mut [0; 10]).await.unwrap();
        }
        let (mut newer, newer_session) = bench.connect(1024);
        newer.write_all(b"get 50000\r\n").await.unwrap();
        bench.settle().await;
        assert!(!old_session.is_finished() && !newer_session.is_finished(), "there is room for both");
        let (mut newest, newest_session) = bench.connect(1024);
        newest.write_all(b"get 50000\r\n").await.unwrap();
        bench.settle().await;
        let closed = [&old_session, &newer_session, &newest_session].map(JoinHandle::is_finished);
        assert_eq!(closed, [true, false, false]);
        newest.read_exact(&mut [0; 50_000]).await.unwrap();
    });
}

#[test]
fn blocked_reader_gives_back_what_it_does_not_need() {
    run(async || {
        let bench = Bench::new(|_| {});
        let (mut peer, _session) = bench.connect(1024);
        peer.write_all(b"get 5000\r\nget 1").await.unwrap();
        bench.settle().await;
        assert_eq!((bench.worker.phases(), bench.worker.pool.kits()), (vec![Phase::Writing], 1));
        let held = bench.stats().output_bytes;
        assert!((5000..6000).contains(&held), "{held}");
        peer.write_all(b"0\r\n").await.unwrap();
        let expected = [&[b'.'; 5000][..], b"\r\nEND\r\n..........\r\nEND\r\n"].concat();
        let mut replies = vec![0; expected.len()];
        peer.read_exact(&mut replies).await.unwrap();
        assert!(replies == expected);
        bench.settle().await;
        assert_eq!((bench.worker.phases(), bench.stats().output_bytes), (vec![Phase::Idle], 0));
    });
}

// Flushes within a batch were no turns: a reply of many megabytes to a fast reader kept all others waiting.
#[test]
fn long_reply_lets_others_go_first() {
    run(async || {
        let bench = Bench::new(|_| {});
        let (mut long, _long_session) = bench.connect(64 << 20);
        let (mut other, _other_session) = bench.connect(1024);
        bench.settle().await;
        long.write_all(&b"get 70000\r\n".repeat(60)).await.unwrap();
        other.write_all(b"get 1\r\n").await.unwrap();
        other.read_exact(&mut [0; 8]).await.unwrap();
        assert!(bench.service.flushes.get() <= 2, "{} flushes", bench.service.flushes.get());
        long.read_exact(&mut vec![0; 60 * 70_007]).await.unwrap();
    });
}

#[test]
fn large_request_in_pieces_is_charged_until_it_is_whole() {
    run(async || {
        let bench = Bench::new(|_| {});
        let (mut peer, _session) = bench.connect(1 << 20);
        peer.write_all(b"set k 0 0 500000\r\nvv").await.unwrap();
        bench.settle().await;
        assert_eq!((bench.stats().input_bytes, bench.worker.phases()), (500_020, vec![Phase::Partial]));
        peer.write_all(&[b'v'; 499_998]).await.unwrap();
        peer.write_all(b"\r\n").await.unwrap();
        peer.read_exact(&mut [0; 15]).await.unwrap();
        bench.settle().await;
        assert_eq!((bench.stats().input_bytes, bench.worker.phases()), (0, vec![Phase::Idle]));
    });
}

#[test]
fn stuck_request_is_closed_and_idle_connection_is_not() {
    run(async || {
        let bench = Bench::new(|_| {});
        let (mut stuck, stuck_session) = bench.connect(1024);
        let (_idle, idle_session) = bench.connect(1024);
        stuck.write_all(b"get 1").await.unwrap();
        bench.settle().await;
        assert_eq!(bench.worker.phases(), [Phase::Partial, Phase::Idle]);
        bench.sweep(61).await;
        assert!(stuck_session.is_finished());
        bench.sweep(1_000_000).await;
        assert!(!idle_session.is_finished());
        assert_eq!((bench.stats().stalled_connections, bench.stats().idle_connections), (1, 0));
    });
}

#[test]
fn idle_timeout_closes_idle_connections_only() {
    run(async || {
        let bench = Bench::new(|config| config.idle_timeout = Some(Duration::from_secs(10)));
        let (_idle, idle_session) = bench.connect(1024);
        bench.settle().await;
        let (mut busy, busy_session) = bench.connect(1024);
        bench.sweep(8).await;
        busy.write_all(b"version\r\n").await.unwrap();
        bench.settle().await;
        bench.sweep(11).await;
        assert!(idle_session.is_finished());
        assert!(!busy_session.is_finished());
        assert_eq!(bench.stats().idle_connections, 1);
    });
}

#[test]
fn idle_connections_own_no_buffers() {
    run(async || {
        let bench = Bench::new(|_| {});
        let mut peers = Vec::new();
        for _ in 0..200 {
            let (mut peer, session) = bench.connect(1024);
            peer.write_all(b"version\r\n").await.unwrap();
            peer.read_exact(&mut [0; 4]).await.unwrap();
            peers.push((peer, session));
        }
        bench.settle().await;
        assert_eq!(bench.worker.phases(), [Phase::Idle; 200]);
        assert_eq!(bench.worker.pool.kits(), 1, "one kit served them all and is at home");
    });
}

#[test]
fn future_of_an_idle_connection_is_small() {
    let bench = Bench::new(|_| {});
    let (near, _far) = duplex(1024);
    let future = Rc::clone(&bench.worker).serve(near, Rc::new(Rc::clone(&bench.service)), false);
    let bytes = size_of_val(&future);
    assert!(bytes <= IDLE_FUTURE_BYTES_MAX, "{bytes} bytes");
}

#[test]
fn draining_ends_idle_connections_at_once_and_answers_what_came() {
    run(async || {
        let bench = Bench::new(|_| {});
        let (_idle, idle_session) = bench.connect(1024);
        let (mut busy, busy_session) = bench.connect(1024);
        bench.settle().await;
        busy.write_all(b"version\r\n").await.unwrap();
        bench.worker.drain();
        let mut replies = Vec::new();
        busy.read_to_end(&mut replies).await.unwrap();
        assert_eq!(replies, b"OK\r\n");
        bench.settle().await;
        assert!(idle_session.is_finished() && busy_session.is_finished());
    });
}

#[test]
fn garbage_without_a_line_end_is_closed() {
    run(async || {
        let bench = Bench::new(|_| {});
        assert_eq!(bench.exchange(&[b'x'; 100_000], 5000).await, b"");
    });
}

#[test]
fn large_values_are_written_whole_whatever_the_socket_takes() {
    run(async || {
        let bench = Bench::new(|_| {});
        let input = format!("get {} {} 10\r\n", 5 * PINNED_BYTES_MIN, PINNED_BYTES_MIN);
        let replies = bench.exchange(input.as_bytes(), 3).await;
        assert_eq!(replies.len(), 6 * PINNED_BYTES_MIN + 10 + 3 * 2 + 5);
        assert!(replies.ends_with(b"\r\n..........\r\nEND\r\n"));
    });
}
