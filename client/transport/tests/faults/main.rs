//! What a connection does when its peer, or its caller, does the wrong thing.

mod arrival;
mod log;
mod peer;

use std::time::Duration;

use evanesce_transport::{Connection, ConnectionOptions, TransportError, Unsupported, Violation};
use evanesce_wire::MetaFlagsBuf;
use evanesce_wire::request::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::Instant;

use peer::{PATIENCE, echo, eventually, get, listen, mg, ms, quick, read_line, value, welcome};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_calls_each_get_their_own_value() {
    let connection = Connection::spawn(echo().await, ConnectionOptions::default());
    let mut tasks = JoinSet::new();
    for task in 0..50_u64 {
        let connection = connection.clone();
        tasks.spawn(async move {
            for call in 0..100 {
                let key = format!("key-{task}-{call}");
                let reply = get(&connection, &key, task * 100 + call, PATIENCE).await.expect("it answers");
                assert_eq!(value(reply), key);
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("no task panics");
    }
    assert_eq!(connection.outstanding(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousand_cancelled_calls_leave_others_their_values() {
    let connection = Connection::spawn(echo().await, ConnectionOptions::default());
    let mut tasks = JoinSet::new();
    for call in 0..1000_u64 {
        let (cancelled, kept) = (connection.clone(), connection.clone());
        tasks.spawn(async move {
            let call_cancelled = get(&cancelled, "cancelled", call * 2, PATIENCE);
            tokio::select! {
                biased;
                _ = call_cancelled => {}
                () = tokio::task::yield_now() => {}
            }
            let key = format!("kept-{call}");
            let reply = get(&kept, &key, call * 2 + 1, PATIENCE).await.expect("it answers");
            assert_eq!(value(reply), key);
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("no task panics");
    }
    eventually("every reply is read", || connection.outstanding() == 0).await;
}

#[tokio::test]
async fn batch_is_answered_in_its_order() {
    let connection = Connection::spawn(echo().await, ConnectionOptions::default());
    let keys: Vec<String> = (0..300).map(|index| format!("key-{index}")).collect();
    let flags: Vec<_> =
        (0..300_u64).map(|opaque| MetaFlagsBuf::new().flag(b'v').number(b'O', opaque)).collect();
    let requests: Vec<_> = keys.iter().zip(&flags).map(|(key, flags)| mg(key, flags)).collect();
    let replies = connection.call_batch(&requests, Instant::now() + PATIENCE).await;
    let values: Vec<_> = replies.into_iter().map(|reply| value(reply.expect("it answers"))).collect();
    assert_eq!(values, keys);
}

#[tokio::test]
async fn wrong_opaque_closes_the_connection_and_fails_all_in_flight() {
    let (listener, address) = listen().await;
    let connection = Connection::spawn(address, quick());
    let peer = tokio::spawn(async move {
        let mut stream = welcome(&listener).await;
        read_line(&mut stream).await;
        read_line(&mut stream).await;
        stream.write_all(b"VA 5 O999\r\nwrong\r\n").await.expect("the client reads");
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.expect("the client closes");
        listener
    });
    let (one, two) = tokio::join!(get(&connection, "one", 1, PATIENCE), get(&connection, "two", 2, PATIENCE));
    let expected = TransportError::Protocol { address, violation: Violation::WrongOpaque };
    assert_eq!((one, two), (Err(expected), Err(expected)));
    assert!(expected.maybe_applied());
    peer.await.expect("the script ran");
}

#[tokio::test]
async fn reply_to_no_request_closes_the_connection() {
    let (listener, address) = listen().await;
    let _connection = Connection::spawn(address, quick());
    let mut stream = welcome(&listener).await;
    stream.write_all(b"HD\r\n").await.expect("the client reads");
    assert_eq!(stream.read(&mut [0]).await.expect("the client closes"), 0);
}

#[tokio::test]
async fn peer_that_closes_in_mid_reply_fails_the_call_and_is_connected_to_again() {
    let (listener, address) = listen().await;
    let connection = Connection::spawn(address, quick());
    let script = async {
        let mut stream = welcome(&listener).await;
        read_line(&mut stream).await;
        stream.write_all(b"VA 10 O1\r\nhalf").await.expect("the client reads");
        drop(stream);
        welcome(&listener).await
    };
    let (outcome, mut stream) = tokio::join!(get(&connection, "k", 1, PATIENCE), script);
    assert_eq!(outcome, Err(TransportError::Closed { address, sent: true }));
    eventually("it is up again", || connection.is_up()).await;
    let script = async {
        read_line(&mut stream).await;
        stream.write_all(b"VA 4 O2\r\ngood\r\n").await.expect("the client reads");
    };
    let (outcome, ()) = tokio::join!(get(&connection, "k", 2, PATIENCE), script);
    assert_eq!(value(outcome.expect("it answers")), "good");
}

#[tokio::test]
async fn silent_peer_is_left_after_the_stall_timeout() {
    let (listener, address) = listen().await;
    let connection = Connection::spawn(address, quick());
    let mut stream = welcome(&listener).await;
    let outcome = get(&connection, "k", 1, PATIENCE).await;
    assert_eq!(outcome, Err(TransportError::Closed { address, sent: true }));
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.expect("the client closes");
}

/// Each part comes well within the stall timeout, all of them take longer: the peer is slow, and answers.
#[tokio::test]
async fn reply_that_comes_in_large_parts_is_no_stall() {
    const PARTS: usize = 6;
    const PART_BYTES: usize = 256 << 10;
    let (listener, address) = listen().await;
    let stall_timeout = Duration::from_millis(400);
    let connection = Connection::spawn(address, ConnectionOptions { stall_timeout, ..quick() });
    let mut stream = welcome(&listener).await;
    let script = async {
        read_line(&mut stream).await;
        let header = format!("VA {} O1\r\n", PARTS * PART_BYTES);
        stream.write_all(header.as_bytes()).await.expect("the client reads");
        for _ in 0..PARTS {
            stream.write_all(&vec![b'v'; PART_BYTES]).await.expect("the client reads");
            tokio::time::sleep(stall_timeout / 3).await;
        }
        stream.write_all(b"\r\n").await.expect("the client reads");
    };
    let (outcome, ()) = tokio::join!(get(&connection, "k", 1, PATIENCE), script);
    assert_eq!(value(outcome.expect("it goes on answering")).len(), PARTS * PART_BYTES);
}

#[tokio::test]
async fn idle_connection_outlives_the_stall_timeout() {
    let (listener, address) = listen().await;
    let connection = Connection::spawn(address, quick());
    let mut stream = welcome(&listener).await;
    eventually("it is up", || connection.is_up()).await;
    let idle = tokio::time::timeout(Duration::from_millis(300), stream.read_u8()).await;
    assert!(idle.is_err(), "the client closed an idle connection or sent something");
    let script = async {
        read_line(&mut stream).await;
        stream.write_all(b"EN O1\r\n").await.expect("the client reads");
    };
    let (outcome, ()) = tokio::join!(get(&connection, "k", 1, PATIENCE), script);
    assert!(outcome.is_ok());
    let outcome = get(&connection, "k", 2, PATIENCE).await;
    assert_eq!(
        outcome,
        Err(TransportError::Closed { address, sent: true }),
        "the stall is seen after idling"
    );
}

#[tokio::test]
async fn deadline_passes_and_the_late_reply_is_thrown_away() {
    let (listener, address) = listen().await;
    let connection = Connection::spawn(address, ConnectionOptions::default());
    let mut stream = welcome(&listener).await;
    eventually("it is up", || connection.is_up()).await;
    let outcome = get(&connection, "late", 1, Duration::from_millis(10)).await;
    assert_eq!(outcome, Err(TransportError::Timeout { address, sent: true }));
    let script = async {
        read_line(&mut stream).await;
        read_line(&mut stream).await;
        stream.write_all(b"VA 4 O1\r\nlate\r\nVA 4 O2\r\ngood\r\n").await.expect("the client reads");
    };
    let (outcome, ()) = tokio::join!(get(&connection, "k", 2, PATIENCE), script);
    assert_eq!(value(outcome.expect("it answers")), "good");
}

#[tokio::test]
async fn node_away_fails_at_once_and_is_used_as_soon_as_it_is_back() {
    let (listener, address) = listen().await;
    drop(listener);
    let connection = Connection::spawn(address, quick());
    let first = get(&connection, "k", 1, PATIENCE).await;
    assert!(matches!(first, Err(TransportError::Unreachable { .. })), "{first:?}");
    let begun = Instant::now();
    let second = get(&connection, "k", 2, PATIENCE).await;
    assert!(matches!(second, Err(TransportError::Unreachable { .. })), "{second:?}");
    assert!(begun.elapsed() < Duration::from_secs(1));
    let listener = tokio::net::TcpListener::bind(address).await.expect("the port is still free");
    let _stream = welcome(&listener).await;
    eventually("it is up", || connection.is_up()).await;
}

#[tokio::test]
async fn call_given_up_before_the_first_connection_is_never_sent() {
    let (listener, address) = listen().await;
    // Nothing has run yet on this runtime: the connection still connects.
    let connection = Connection::spawn(address, ConnectionOptions::default());
    tokio::select! {
        biased;
        _ = get(&connection, "given-up", 1, PATIENCE) => panic!("nobody has answered"),
        () = std::future::ready(()) => {}
    }
    let script = async {
        let mut stream = welcome(&listener).await;
        let line = read_line(&mut stream).await;
        stream.write_all(b"EN O2\r\n").await.expect("the client reads");
        line
    };
    let (outcome, line) = tokio::join!(get(&connection, "wanted", 2, PATIENCE), script);
    assert!(outcome.is_ok());
    assert_eq!(line, "mg wanted v O2\r\n");
}

#[tokio::test]
async fn full_queue_refuses_and_the_connection_survives() {
    let (listener, address) = listen().await;
    let connection = Connection::spawn(address, ConnectionOptions { queue_max: 2, ..quick() });
    // Queued, since the connection still connects.
    let (one, two, three) = tokio::join!(
        get(&connection, "one", 1, Duration::ZERO),
        get(&connection, "two", 2, Duration::ZERO),
        get(&connection, "three", 3, Duration::ZERO),
    );
    assert!(matches!((one, two), (Err(TransportError::Timeout { .. }), Err(TransportError::Timeout { .. }))));
    assert_eq!(three, Err(TransportError::QueueFull { address }));
    welcome(&listener).await;
}

#[tokio::test]
async fn requests_beyond_in_flight_wait_and_are_sent_in_the_end() {
    let options = ConnectionOptions { in_flight_max: 2, ..ConnectionOptions::default() };
    let connection = Connection::spawn(echo().await, options);
    let mut tasks = JoinSet::new();
    for call in 0..200_u64 {
        let connection = connection.clone();
        tasks.spawn(async move {
            let key = format!("key-{call}");
            value(get(&connection, &key, call, PATIENCE).await.expect("it answers")) == key
        });
    }
    while let Some(right) = tasks.join_next().await {
        assert!(right.expect("no task panics"));
    }
}

#[tokio::test]
async fn oversized_reply_closes_the_connection() {
    let (listener, address) = listen().await;
    let connection = Connection::spawn(address, ConnectionOptions { reply_bytes_max: 1 << 20, ..quick() });
    let script = async {
        let mut stream = welcome(&listener).await;
        read_line(&mut stream).await;
        stream.write_all(b"VA 9000000 O1\r\nxx").await.expect("the client reads");
        stream
    };
    let (outcome, _stream) = tokio::join!(get(&connection, "k", 1, PATIENCE), script);
    assert_eq!(outcome, Err(TransportError::Protocol { address, violation: Violation::TooLarge }));
}

/// What was seen in review: a limit below the size of one read, and times beyond the clock's end, made the driver
/// panic, and every later call found the connection closed.
#[tokio::test]
async fn smallest_and_largest_options_are_served() {
    let options = ConnectionOptions {
        reply_bytes_max: 1000,
        connect_timeout: Duration::MAX,
        stall_timeout: Duration::MAX,
        ..ConnectionOptions::default()
    };
    let connection = Connection::spawn(echo().await, options);
    for call in 0..3 {
        assert_eq!(value(get(&connection, "k", call, PATIENCE).await.expect("it answers")), "k");
    }
}

#[tokio::test]
async fn requests_without_replies_are_refused() {
    let connection = Connection::spawn(echo().await, ConnectionOptions::default());
    let deadline = Instant::now() + PATIENCE;
    let refused = TransportError::Unsupported { reason: Unsupported::NoReply };
    assert_eq!(connection.call(&Request::Quit, deadline).await, Err(refused));
    let flags = MetaFlagsBuf::new().flag(b'q');
    assert_eq!(connection.call(&mg("k", &flags), deadline).await, Err(refused));
}

#[tokio::test]
async fn last_handle_gone_closes_the_connection() {
    let (listener, address) = listen().await;
    let connection = Connection::spawn(address, quick());
    let mut stream = welcome(&listener).await;
    let clone = connection.clone();
    drop(connection);
    let script = async {
        read_line(&mut stream).await;
        stream.write_all(b"EN O1\r\n").await.expect("the client reads");
    };
    let (outcome, ()) = tokio::join!(get(&clone, "k", 1, PATIENCE), script);
    assert!(outcome.is_ok());
    drop(clone);
    assert_eq!(stream.read(&mut [0]).await.expect("the client closes"), 0);
}

/// What was seen in review: a request queued while the socket took no more was sent only when something else
/// woke the session. Now it looks into the queue again once the socket has taken what it held.
#[tokio::test]
async fn request_queued_behind_a_blocked_write_is_sent() {
    let (listener, address) = listen().await;
    // No timer of the session comes to help.
    let options = ConnectionOptions { stall_timeout: PATIENCE * 10, ..ConnectionOptions::default() };
    let connection = Connection::spawn(address, options);
    let mut stream = welcome(&listener).await;
    eventually("it is up", || connection.is_up()).await;
    // More than the kernel's buffers of both ends hold.
    let large = vec![b'x'; 16 << 20];
    let flags = MetaFlagsBuf::new().number(b'O', 1);
    let deadline = Instant::now() + PATIENCE;
    let large = connection.start_call(&ms("large", &flags, &large), deadline);
    let mut large = std::pin::pin!(large);
    // The session runs, and blocks on the socket.
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut large).await.is_err());
    let script = async {
        let mut seen = 0;
        let mut input = vec![0; 1 << 20];
        while !input[..seen].ends_with(b"mg small v O2\r\n") {
            seen = stream.read(&mut input).await.expect("the client sends");
        }
        stream.write_all(b"HD O1\r\nEN O2\r\n").await.expect("the client reads");
    };
    let (large, small, ()) = tokio::join!(large, get(&connection, "small", 2, PATIENCE), script);
    assert!(large.is_ok() && small.is_ok(), "{large:?} {small:?}");
}

#[tokio::test]
async fn large_values_pass_both_ways_in_pieces() {
    let (listener, address) = listen().await;
    let connection = Connection::spawn(address, ConnectionOptions::default());
    let large = "x".repeat(3 << 20);
    let script = async {
        let mut stream = welcome(&listener).await;
        read_line(&mut stream).await;
        let reply = format!("VA {} O1\r\n{large}\r\n", large.len());
        stream.write_all(reply.as_bytes()).await.expect("the client reads");
    };
    let (outcome, ()) = tokio::join!(get(&connection, "k", 1, PATIENCE), script);
    assert_eq!(value(outcome.expect("it answers")).len(), large.len());
}
