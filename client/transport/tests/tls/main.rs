//! TLS with nodes: who is trusted, who is not, and what is told of it.

mod authority;

use std::sync::Arc;
use std::time::Duration;

use authority::{Authority, Identity};
use evanesce_transport::{
    Cause, Connection, ConnectionOptions, ConnectionState, Credentials, InvalidTls, Stage, TlsOptions,
};
use evanesce_wire::reply::{MetaReply, Reply};
use evanesce_wire::request::{MetaGet, MetaKey, MetaSet, Request, SetMode};
use evanesce_wire::{MetaFlagsBuf, MetaStatus};
use rustls::ServerConfig;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Longer than anything here takes; a test that reaches it has failed.
const PATIENCE: Duration = Duration::from_secs(10);

type Peer = BufReader<TlsStream<TcpStream>>;

fn with(tls: TlsOptions) -> ConnectionOptions {
    ConnectionOptions {
        tls: Some(tls),
        connect_timeout: PATIENCE,
        backoff_min: Duration::from_millis(2),
        backoff_max: Duration::from_millis(10),
        ..ConnectionOptions::default()
    }
}

async fn listen() -> (TcpListener, Connecting) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
    let address = listener.local_addr().expect("it is bound");
    (listener, Connecting(address))
}

struct Connecting(std::net::SocketAddr);

impl Connecting {
    fn with(&self, tls: TlsOptions) -> Connection {
        Connection::spawn(self.0, with(tls))
    }
}

/// Takes the next connection into TLS; `None` when it did not come to that.
async fn accept(listener: &TcpListener, config: &Arc<ServerConfig>) -> Option<Peer> {
    let (stream, _) = listener.accept().await.expect("the client connects");
    TlsAcceptor::from(Arc::clone(config)).accept(stream).await.ok().map(BufReader::new)
}

async fn read_line(peer: &mut Peer) -> String {
    let mut line = String::new();
    peer.read_line(&mut line).await.expect("the client sends");
    line
}

async fn say(peer: &mut Peer, bytes: &[u8]) {
    peer.write_all(bytes).await.expect("the client reads");
    peer.flush().await.expect("the client reads");
}

async fn welcome(listener: &TcpListener, config: &Arc<ServerConfig>) -> Peer {
    let mut peer = accept(listener, config).await.expect("it is trusted");
    assert_eq!(read_line(&mut peer).await, "mn V\r\n");
    say(&mut peer, b"MN V K5\r\n").await;
    peer
}

fn cause(connection: &Connection) -> Cause {
    let ConnectionState::Down { cause, .. } = connection.state() else {
        panic!("{connection:?} is not down")
    };
    cause
}

/// What a client with these options ends with at a node that shows and asks for these.
async fn outcome(tls: TlsOptions, shown: &Identity, asked: Option<&Authority>) -> Connection {
    let (listener, node) = listen().await;
    let config = shown.server(asked);
    let connection = node.with(tls);
    let script = async {
        let mut held = Vec::new();
        loop {
            let Some(mut peer) = accept(&listener, &config).await else { continue };
            if peer.read_line(&mut String::new()).await.is_ok() {
                say(&mut peer, b"MN\r\n").await;
            }
            held.push(peer);
        }
    };
    tokio::select! {
        () = script => {}
        () = connection.settled() => {}
    }
    connection
}

async fn call(connection: &Connection, request: &Request<'_>) -> MetaReply {
    match connection.call(request, Instant::now() + PATIENCE).await.expect("it answers") {
        Reply::Meta(meta) => meta,
        other => panic!("no meta reply: {other:?}"),
    }
}

async fn get(connection: &Connection, key: &str, opaque: u64) -> MetaReply {
    let flags = MetaFlagsBuf::new().flag(b'v').number(b'O', opaque);
    let key = MetaKey { bytes: key.as_bytes().into(), base64: false };
    let get = MetaGet {
        key,
        flags: flags.as_flags(),
        value: true,
        quiet: false,
        touch: None,
        vivify: None,
        recache_below: None,
        compare: None,
        cas_override: None,
        counts_as_access: true,
        promise: None,
        insists: false,
    };
    call(connection, &Request::MetaGet(get)).await
}

async fn set(connection: &Connection, value: &[u8]) -> MetaReply {
    let flags = MetaFlagsBuf::new().number(b'O', 1);
    let set = MetaSet {
        key: MetaKey { bytes: b"k".into(), base64: false },
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
    };
    call(connection, &Request::MetaSet(set)).await
}

#[tokio::test]
async fn node_of_a_trusted_authority_is_greeted_and_asked() {
    let authority = Authority::new();
    let (listener, node) = listen().await;
    let config = authority.sign("127.0.0.1").server(None);
    let connection = node.with(authority.trusted());
    let script = async {
        let mut peer = welcome(&listener, &config).await;
        assert_eq!(read_line(&mut peer).await, "mg k v O1\r\n");
        say(&mut peer, b"VA 4 O1\r\ngood\r\n").await;
        peer
    };
    let (reply, mut peer) = tokio::join!(get(&connection, "k", 1), script);
    assert_eq!(reply.value.expect("a hit"), "good");
    assert!(connection.speaks_versions());
    drop(connection);
    // It says farewell: without that, this would be an error.
    assert_eq!(peer.read(&mut [0]).await.expect("a decent end"), 0);
}

/// More than TLS keeps, and than the kernel's buffers of both ends hold.
#[tokio::test]
async fn large_values_pass_both_ways_through_a_peer_that_pauses() {
    const BYTES: usize = 12 << 20;
    let authority = Authority::new();
    let (listener, node) = listen().await;
    let config = authority.sign("127.0.0.1").server(None);
    let connection = node.with(authority.trusted());
    let large = vec![b'x'; BYTES];
    let script = async {
        let mut peer = welcome(&listener, &config).await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(read_line(&mut peer).await, format!("ms k {BYTES} O1\r\n"));
        let mut value = vec![0; BYTES + 2];
        peer.read_exact(&mut value).await.expect("the client sends");
        assert!(value[..BYTES] == large[..]);
        say(&mut peer, b"HD O1\r\n").await;
        read_line(&mut peer).await;
        value.truncate(BYTES);
        say(&mut peer, &[format!("VA {BYTES} O2\r\n").as_bytes(), &value, b"\r\n"].concat()).await;
    };
    let calls = async {
        assert_eq!(set(&connection, &large).await.status, MetaStatus::Done);
        assert!(get(&connection, "k", 2).await.value.expect("a hit") == large[..]);
    };
    tokio::join!(calls, script);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_calls_each_get_their_own_value() {
    let authority = Authority::new();
    let (listener, node) = listen().await;
    let config = authority.sign("127.0.0.1").server(None);
    let connection = node.with(authority.trusted());
    tokio::spawn(async move {
        let mut peer = welcome(&listener, &config).await;
        loop {
            let line = read_line(&mut peer).await;
            let words: Vec<_> = line.split_whitespace().collect();
            let [_, key, _, opaque] = words[..] else { return };
            say(&mut peer, format!("VA {} {opaque}\r\n{key}\r\n", key.len()).as_bytes()).await;
        }
    });
    let mut tasks = JoinSet::new();
    for task in 0..20_u64 {
        let connection = connection.clone();
        tasks.spawn(async move {
            for call in 0..50 {
                let key = format!("key-{task}-{call}");
                assert_eq!(get(&connection, &key, task * 50 + call).await.value.expect("a hit"), key);
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("no task panics");
    }
}

#[tokio::test]
async fn certificates_of_nodes_that_are_not_accepted_are_told_so() {
    let (authority, foreign) = (Authority::new(), Authority::new());
    let named = authority.trusted().server_name("cache.internal").expect("a name");
    for (tls, shown, detail) in [
        // Both authorities have one name.
        (authority.trusted(), foreign.sign("127.0.0.1"), "BadSignature"),
        (authority.trusted(), authority.sign("cache.internal"), "not valid for name"),
        (authority.trusted(), authority.sign_expired("127.0.0.1"), "expired"),
        (named.clone(), authority.sign("127.0.0.1"), "not valid for name"),
        (TlsOptions::new(), authority.sign("127.0.0.1"), "UnknownIssuer"),
    ] {
        let connection = outcome(tls, &shown, None).await;
        assert_eq!(cause(&connection), Cause::CertificateNotAccepted);
        let failure = connection.failure().expect("it is down");
        assert!(failure.detail.contains(detail), "{failure}");
    }
    let connection = outcome(named, &authority.sign("cache.internal"), None).await;
    assert_eq!(connection.state(), ConnectionState::Up);
}

#[tokio::test]
async fn node_that_wants_a_certificate_gets_ours_or_refuses() {
    let (authority, foreign) = (Authority::new(), Authority::new());
    let node = authority.sign("127.0.0.1");
    let ours = authority.trusted_with(&authority.sign("client"));
    assert_eq!(outcome(ours, &node, Some(&authority)).await.state(), ConnectionState::Up);
    for tls in [
        authority.trusted(),
        authority.trusted_with(&foreign.sign("client")),
        authority.trusted_with(&authority.sign_expired("client")),
    ] {
        let connection = outcome(tls, &node, Some(&authority)).await;
        assert_eq!(cause(&connection), Cause::CertificateRefused, "{}", connection.failure().expect("down"));
    }
}

#[tokio::test]
async fn node_without_tls_is_told_so() {
    let (listener, node) = listen().await;
    let connection = node.with(Authority::new().trusted());
    let script = async {
        let (mut stream, _) = listener.accept().await.expect("the client connects");
        stream.write_all(b"ERROR\r\n").await.expect("the client reads");
        stream
    };
    tokio::join!(script, connection.settled());
    assert_eq!(cause(&connection), Cause::Tls);
}

#[tokio::test]
async fn node_that_never_shakes_hands_is_left_after_the_time_to_connect() {
    let (_listener, node) = listen().await;
    let options = with(Authority::new().trusted());
    let options = ConnectionOptions { connect_timeout: Duration::from_millis(30), ..options };
    let connection = Connection::spawn(node.0, options);
    connection.settled().await;
    assert_eq!(cause(&connection), Cause::TimedOut(Stage::Tls));
}

#[tokio::test]
async fn password_is_sent_inside_of_tls() {
    let authority = Authority::new();
    let (listener, node) = listen().await;
    let config = authority.sign("127.0.0.1").server(None);
    let credentials = Credentials::new("ann", "secret").expect("good ones");
    let options = ConnectionOptions { credentials: Some(credentials), ..with(authority.trusted()) };
    let connection = Connection::spawn(node.0, options);
    let script = async {
        let mut peer = accept(&listener, &config).await.expect("it is trusted");
        assert_eq!(read_line(&mut peer).await, "set auth 0 -1 10\r\n");
        assert_eq!(read_line(&mut peer).await, "ann secret\r\n");
        say(&mut peer, b"STORED\r\n").await;
        assert_eq!(read_line(&mut peer).await, "mn V\r\n");
        say(&mut peer, b"MN\r\n").await;
        peer
    };
    tokio::join!(script, connection.settled());
    assert!(connection.is_up());
}

#[test]
fn options_that_cannot_be_used_are_told() {
    let authority = Authority::new();
    let identity = authority.sign("client");
    let (cert, key) = (identity.cert_pem(), identity.key_pem());
    let told = |tls: Result<TlsOptions, InvalidTls>| tls.expect_err("it is refused");
    assert_eq!(told(TlsOptions::new().root_pem(b"nothing")), InvalidTls::NoCertificate);
    assert_eq!(told(TlsOptions::new().identity_pem(&cert, b"nothing")), InvalidTls::NoKey);
    let stranger = authority.sign("other").key_pem();
    assert!(matches!(told(TlsOptions::new().identity_pem(&cert, &stranger)), InvalidTls::Identity(_)));
    assert_eq!(told(TlsOptions::new().server_name("no name")), InvalidTls::ServerName);
    let tls = TlsOptions::new().identity_pem(&cert, &key).expect("they belong together");
    assert_eq!(format!("{tls:?}"), "TlsOptions { roots: 0, identity: true, server_name: None }");
}
