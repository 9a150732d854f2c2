//! Scripted peers: what a memcached server would not do, done on purpose.

use std::net::SocketAddr;
use std::time::Duration;

use evanesce_transport::{Connection, ConnectionOptions};
use evanesce_wire::limits::Limits;
use evanesce_wire::reply::{MetaReply, Reply};
use evanesce_wire::request::{MetaGet, MetaKey, MetaSet, Request, SetMode};
use evanesce_wire::{Decoded, MetaFlagsBuf, RequestDecoder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

/// Longer than anything here takes; a test that reaches it has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A listener on a port of the kernel's choice.
pub(crate) async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
    let address = listener.local_addr().expect("it is bound");
    (listener, address)
}

/// Answers every `mg` with its key as the value, on every connection.
pub(crate) async fn echo() -> SocketAddr {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

async fn serve(mut stream: TcpStream) {
    let mut input = Vec::new();
    while stream.read_buf(&mut input).await.is_ok_and(|read| read > 0) {
        let mut decoder = RequestDecoder::new(Limits::default());
        let mut output = Vec::new();
        let mut used = 0;
        while let Decoded::Request { request, consumed } = decoder.decode(&input[used..]) {
            answer(&request, &mut output);
            used += consumed;
        }
        input.drain(..used);
        if stream.write_all(&output).await.is_err() {
            return;
        }
    }
}

fn answer(request: &Request<'_>, output: &mut Vec<u8>) {
    if matches!(request, Request::MetaNoopVersions) {
        return output.extend_from_slice(b"MN\r\n");
    }
    let Request::MetaGet(get) = request else { panic!("only mg is asked here: {request:?}") };
    let key = &get.key.bytes;
    let opaque = get.flags.get(b'O').expect("every mg has an opaque");
    output.extend_from_slice(format!("VA {} O", key.len()).as_bytes());
    output.extend_from_slice(opaque);
    output.extend_from_slice(b"\r\n");
    output.extend_from_slice(key);
    output.extend_from_slice(b"\r\n");
}

/// Takes the next connection and answers its greeting, as a memcached server would.
pub(crate) async fn welcome(listener: &TcpListener) -> TcpStream {
    welcome_with(listener, "MN\r\n").await
}

/// Takes the next connection and answers its greeting so.
pub(crate) async fn welcome_with(listener: &TcpListener, answer: &str) -> TcpStream {
    let (mut stream, _) = listener.accept().await.expect("the client connects");
    assert_eq!(read_line(&mut stream).await, "mn V\r\n");
    stream.write_all(answer.as_bytes()).await.expect("the client reads");
    stream
}

/// Reads until a request line has come.
pub(crate) async fn read_line(stream: &mut TcpStream) -> String {
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        line.push(stream.read_u8().await.expect("the client sends"));
    }
    String::from_utf8(line).expect("requests here are text")
}

/// Asks for `key` with this opaque.
pub(crate) async fn get(
    connection: &Connection,
    key: &str,
    opaque: u64,
    timeout: Duration,
) -> Result<Reply, evanesce_transport::TransportError> {
    let flags = MetaFlagsBuf::new().flag(b'v').number(b'O', opaque);
    connection.call(&mg(key, &flags), Instant::now() + timeout).await
}

/// An `mg` with ready flags.
pub(crate) fn mg<'a>(key: &'a str, flags: &'a MetaFlagsBuf) -> Request<'a> {
    Request::MetaGet(MetaGet {
        key: MetaKey { bytes: key.as_bytes().into(), base64: false },
        flags: flags.as_flags(),
        value: true,
        quiet: flags.as_flags().has(b'q'),
        touch: None,
        vivify: None,
        recache_below: None,
        compare: None,
        cas_override: None,
        counts_as_access: true,
        promise: None,
        insists: false,
    })
}

/// An `ms` with ready flags.
pub(crate) fn ms<'a>(key: &'a str, flags: &'a MetaFlagsBuf, value: &'a [u8]) -> Request<'a> {
    Request::MetaSet(MetaSet {
        key: MetaKey { bytes: key.as_bytes().into(), base64: false },
        flags: flags.as_flags(),
        mode: SetMode::Set,
        client_flags: 0,
        exptime: None,
        compare: None,
        cas_override: None,
        invalidate: false,
        vivify: None,
        version: None,
        decides: None,
        repair: false,
        quiet: false,
        value,
    })
}

/// The value of a `VA`.
pub(crate) fn value(reply: Reply) -> String {
    match reply {
        Reply::Meta(MetaReply { value: Some(value), .. }) => String::from_utf8_lossy(&value).into_owned(),
        other => panic!("no value: {other:?}"),
    }
}

/// Options that make the slow things quick.
pub(crate) fn quick() -> ConnectionOptions {
    ConnectionOptions {
        stall_timeout: Duration::from_millis(80),
        backoff_min: Duration::from_millis(2),
        backoff_max: Duration::from_millis(10),
        ..ConnectionOptions::default()
    }
}

/// Waits until `condition` holds.
pub(crate) async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
