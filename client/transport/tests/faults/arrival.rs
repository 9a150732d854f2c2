//! What comes before the first request: passwords and greetings, good and bad.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use evanesce_transport::{
    Cause, Connection, ConnectionOptions, ConnectionState, Credentials, Greeting, Stage, TransportError,
    Violation,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::peer::{PATIENCE, eventually, get, listen, quick, read_line, value, welcome_with};

/// Asks `ann` in, with a password.
fn with_password() -> ConnectionOptions {
    ConnectionOptions { credentials: Some(Credentials::new("ann", "secret").expect("good ones")), ..quick() }
}

/// Answers a password of the next connection so.
async fn asked_for_password(listener: &TcpListener, answer: &str) -> tokio::net::TcpStream {
    let (mut stream, _) = listener.accept().await.expect("the client connects");
    assert_eq!(read_line(&mut stream).await, "set auth 0 -1 10\r\n");
    assert_eq!(read_line(&mut stream).await, "ann secret\r\n");
    stream.write_all(answer.as_bytes()).await.expect("the client reads");
    stream
}

/// What the first attempt ends with when the greeting is answered so.
async fn greeted_with(answer: &str) -> (Connection, ConnectionState) {
    let (listener, address) = listen().await;
    let connection = Connection::spawn(address, quick());
    let settled = connection.settled();
    let (_stream, ()) = tokio::join!(welcome_with(&listener, answer), settled);
    let state = connection.state();
    (connection, state)
}

fn cause(state: ConnectionState) -> Cause {
    let ConnectionState::Down { cause, .. } = state else { panic!("it is not down: {state:?}") };
    cause
}

#[tokio::test]
async fn greeting_tells_whether_versions_are_kept() {
    for (answer, versions, clock_ms) in [
        ("MN V K1700000000000\r\n", true, Some(1_700_000_000_000)),
        ("MN V\r\n", true, None),
        ("MN\r\n", false, None),
        ("MN K5\r\n", false, None),
        ("ERROR\r\n", false, None),
        ("CLIENT_ERROR invalid flag\r\n", false, None),
    ] {
        let (connection, state) = greeted_with(answer).await;
        assert_eq!(state, ConnectionState::Up, "{answer:?}");
        assert_eq!(
            connection.greeting(),
            Some(Greeting { versions, clock_ms, settles_until: None }),
            "{answer:?}"
        );
        assert_eq!(connection.speaks_versions(), versions, "{answer:?}");
        assert_eq!(connection.failure(), None);
    }
}

#[tokio::test]
async fn wrong_answers_to_the_greeting_are_told_apart() {
    for (answer, expected, detail) in [
        ("HTTP/1.1 400 Bad Request\r\n", Cause::Violation(Violation::Unreadable), "HTTP/1.1"),
        ("HD\r\n", Cause::Violation(Violation::Unreadable), "Done"),
        ("MN\r\nMN\r\n", Cause::Violation(Violation::Unasked), ""),
        ("CLIENT_ERROR this port speaks TLS only\r\n", Cause::TlsMissing, "TLS only"),
        ("CLIENT_ERROR unauthenticated\r\n", Cause::PasswordMissing, "unauthenticated"),
        ("ERROR Too many open connections\r\n", Cause::Refused, "Too many open connections"),
    ] {
        let (connection, state) = greeted_with(answer).await;
        assert_eq!(cause(state), expected, "{answer:?}");
        let failure = connection.failure().expect("it is down");
        assert_eq!(failure.cause, expected);
        assert!(failure.detail.contains(detail), "{failure}");
        assert_eq!((connection.greeting(), connection.speaks_versions()), (None, false));
        let refused = get(&connection, "k", 1, PATIENCE).await;
        let address = connection.address();
        assert_eq!(refused, Err(TransportError::Unreachable { address, cause: expected }));
    }
}

#[tokio::test]
async fn greeting_without_an_end_is_no_greeting() {
    let (_, state) = greeted_with(&"x".repeat(10_000)).await;
    assert_eq!(cause(state), Cause::Violation(Violation::Unreadable));
}

#[tokio::test]
async fn greeting_may_come_in_pieces() {
    let (listener, address) = listen().await;
    let connection = Connection::spawn(address, quick());
    let script = async {
        let mut stream = welcome_with(&listener, "M").await;
        stream.set_nodelay(true).expect("it is a socket");
        for piece in ["N", " V", " K", "12\r", "\n"] {
            tokio::task::yield_now().await;
            stream.write_all(piece.as_bytes()).await.expect("the client reads");
        }
        stream
    };
    let (_stream, ()) = tokio::join!(script, connection.settled());
    assert_eq!(
        connection.greeting(),
        Some(Greeting { versions: true, clock_ms: Some(12), settles_until: None })
    );
}

#[tokio::test]
async fn node_that_takes_connections_and_says_nothing_is_down_after_the_time_to_connect() {
    let (_listener, address) = listen().await;
    let options = ConnectionOptions { connect_timeout: Duration::from_millis(30), ..quick() };
    let connection = Connection::spawn(address, options);
    let outcome = get(&connection, "k", 1, PATIENCE).await;
    let cause = Cause::TimedOut(Stage::Greeting);
    assert_eq!(outcome, Err(TransportError::Unreachable { address, cause }));
    assert!(!outcome.expect_err("it is down").maybe_applied());
}

#[tokio::test]
async fn node_that_closes_at_once_is_told_so() {
    let (listener, address) = listen().await;
    let connection = Connection::spawn(address, quick());
    let script = async {
        let (mut stream, _) = listener.accept().await.expect("the client connects");
        read_line(&mut stream).await;
    };
    tokio::join!(script, connection.settled());
    assert_eq!(cause(connection.state()), Cause::Closed(Stage::Greeting));
}

#[tokio::test]
async fn password_goes_first_and_then_the_greeting() {
    let (listener, address) = listen().await;
    let connection = Connection::spawn(address, with_password());
    let script = async {
        let mut stream = asked_for_password(&listener, "STORED\r\n").await;
        assert_eq!(read_line(&mut stream).await, "mn V\r\n");
        stream.write_all(b"MN V K1\r\n").await.expect("the client reads");
        assert_eq!(read_line(&mut stream).await, "mg k v O1\r\n");
        stream.write_all(b"VA 4 O1\r\ngood\r\n").await.expect("the client reads");
    };
    let (outcome, ()) = tokio::join!(get(&connection, "k", 1, PATIENCE), script);
    assert_eq!(value(outcome.expect("it answers")), "good");
}

#[tokio::test]
async fn refused_password_is_told_and_tried_again() {
    let (listener, address) = listen().await;
    let connection = Connection::spawn(address, with_password());
    let refused = asked_for_password(&listener, "CLIENT_ERROR authentication failure\r\n");
    let (mut stream, ()) = tokio::join!(refused, connection.settled());
    assert_eq!(cause(connection.state()), Cause::PasswordRefused);
    assert_eq!(&*connection.failure().expect("it is down").detail, "authentication failure");
    assert_eq!(stream.read(&mut [0]).await.expect("the client closes"), 0);
    // Somebody mended the node's users.
    let mut stream = asked_for_password(&listener, "STORED\r\n").await;
    read_line(&mut stream).await;
    stream.write_all(b"MN\r\n").await.expect("the client reads");
    eventually("it is up", || connection.is_up()).await;
}

#[tokio::test]
async fn other_answers_to_a_password_are_no_wrong_password() {
    for (answer, expected) in [
        ("CLIENT_ERROR this port speaks TLS only\r\n", Cause::TlsMissing),
        ("SERVER_ERROR out of memory storing object\r\n", Cause::Refused),
        ("ERROR\r\n", Cause::Refused),
        ("NOT_STORED\r\n", Cause::Violation(Violation::Unreadable)),
        ("STORED\r\nMN\r\n", Cause::Violation(Violation::Unasked)),
    ] {
        let (listener, address) = listen().await;
        let connection = Connection::spawn(address, with_password());
        let (_stream, ()) = tokio::join!(asked_for_password(&listener, answer), connection.settled());
        assert_eq!(cause(connection.state()), expected, "{answer:?}");
    }
}

#[tokio::test]
async fn next_connection_may_be_to_another_kind_of_server() {
    let (listener, address) = listen().await;
    let connection = Connection::spawn(address, quick());
    let stream = welcome_with(&listener, "MN V K7\r\n").await;
    eventually("it is up", || connection.is_up()).await;
    assert!(connection.speaks_versions());
    drop(stream);
    eventually("it is lost", || !connection.is_up()).await;
    assert!(!connection.speaks_versions());
    let _stream = welcome_with(&listener, "MN\r\n").await;
    eventually("it is up again", || connection.is_up()).await;
    assert!(!connection.speaks_versions());
    assert_eq!(
        connection.greeting(),
        Some(Greeting { versions: false, clock_ms: None, settles_until: None })
    );
}

#[tokio::test]
async fn all_who_wait_for_the_first_attempt_learn_of_its_end() {
    let (listener, address) = listen().await;
    let connection = Connection::spawn(address, quick());
    let waiting: Vec<_> = (0..10).map(|_| tokio::spawn(connection.settled())).collect();
    {
        // One that was polled, and given up.
        let mut given_up = pin!(connection.settled());
        assert!(given_up.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    tokio::task::yield_now().await;
    assert_eq!(connection.state(), ConnectionState::Connecting);
    let _stream = welcome_with(&listener, "MN\r\n").await;
    for one in waiting {
        tokio::time::timeout(PATIENCE, one).await.expect("it is told").expect("no task panics");
    }
    // And those who come later.
    connection.settled().await;
}

#[tokio::test]
async fn last_handle_gone_ends_the_wait_for_the_first_attempt() {
    let (_listener, address) = listen().await;
    let connection = Connection::spawn(address, quick());
    let settled = connection.settled();
    drop(connection);
    tokio::time::timeout(PATIENCE, settled).await.expect("it is told");
}

/// What was seen in review: a runtime that ended before the connection's task took its first step left callers without
/// an answer.
#[test]
fn runtime_that_ends_at_once_leaves_nobody_waiting() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("threads");
    let connection = {
        let _inside = runtime.enter();
        Connection::spawn("127.0.0.1:1".parse().expect("an address"), quick())
    };
    drop(runtime);
    assert_eq!(cause(connection.state()), Cause::Io(std::io::ErrorKind::ConnectionAborted));
}
