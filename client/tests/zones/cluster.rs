//! A cluster of real nodes in this process, one zone after the other, and what tests do to it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use evanesce_client::{Client, ClientBuilder, ConnectionOptions, StaticNodes};
use evanesce_node::{Node, NodeConfig, RunningNode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::Instant;

/// Longer than anything here takes on a machine that has other work; a test that reaches it has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A node of this process that answers nothing for so long is frozen, and not only waiting for a core.
const STALL: Duration = Duration::from_secs(5);

/// Nodes by zone and name.
pub(crate) struct Cluster {
    nodes: BTreeMap<(String, String), RunningNode>,
    addresses: BTreeMap<(String, String), SocketAddr>,
}

impl Cluster {
    /// Two nodes in each of the zones.
    pub(crate) async fn start(zones: &[&str]) -> Self {
        let mut cluster = Self { nodes: BTreeMap::new(), addresses: BTreeMap::new() };
        for zone in zones {
            for name in ["n1", "n2"] {
                cluster.start_node(zone, name, "127.0.0.1:0".parse().expect("an address")).await;
            }
        }
        cluster
    }

    /// Adds a node.
    pub(crate) async fn add_node(&mut self, zone: &str, name: &str) {
        self.start_node(zone, name, "127.0.0.1:0".parse().expect("an address")).await;
    }

    /// Stops a node; its address stays in the list.
    pub(crate) async fn kill_node(&mut self, zone: &str, name: &str) {
        let node = self.nodes.remove(&(zone.to_owned(), name.to_owned())).expect("it runs");
        node.drain(Duration::ZERO).await;
    }

    /// Starts a node again, empty, where it was.
    pub(crate) async fn start_node_again(&mut self, zone: &str, name: &str) {
        let address = self.addresses[&(zone.to_owned(), name.to_owned())];
        self.start_node(zone, name, address).await;
    }

    async fn start_node(&mut self, zone: &str, name: &str, listen: SocketAddr) {
        let config = NodeConfig {
            zone: zone.to_owned(),
            name: name.to_owned(),
            listen: vec![listen.into()],
            threads: 1.try_into().expect("one is not zero"),
            ..NodeConfig::default()
        };
        let node = Node::start(config).await.expect("the node starts");
        let place = (zone.to_owned(), name.to_owned());
        self.addresses.insert(place.clone(), node.memcached_addr());
        self.nodes.insert(place, node);
    }

    /// Stops the nodes of a zone; their addresses stay in the list.
    pub(crate) async fn kill(&mut self, zone: &str) {
        let gone: Vec<_> = self.nodes.keys().filter(|place| place.0 == zone).cloned().collect();
        for place in gone {
            let node = self.nodes.remove(&place).expect("it was just listed");
            node.drain(Duration::ZERO).await;
        }
    }

    /// Starts the nodes of a zone again, empty, where they were.
    pub(crate) async fn start_again(&mut self, zone: &str) {
        let places: Vec<_> =
            self.addresses.clone().into_iter().filter(|(place, _)| place.0 == zone).collect();
        for ((zone, name), address) in places {
            self.start_node(&zone, &name, address).await;
        }
    }

    /// Adds a zone whose nodes greet and answer nothing more.
    pub(crate) async fn add_frozen(&mut self, zone: &str) {
        for name in ["n1", "n2"] {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
            let address = listener.local_addr().expect("it is bound");
            self.addresses.insert((zone.to_owned(), name.to_owned()), address);
            tokio::spawn(greet_all(listener));
        }
    }

    /// Puts something before the node of this name that forwards its replies so much later.
    pub(crate) async fn with_distance(&mut self, zone: &str, name: &str, delay: Duration) {
        self.with_something_before(zone, name, Way { delay, ..Way::default() }).await;
    }

    /// Puts something before the node of this name that stops forwarding its replies on demand.
    pub(crate) async fn with_brake(&mut self, zone: &str, name: &str) -> watch::Sender<bool> {
        let (brake, stopped) = watch::channel(false);
        self.with_something_before(zone, name, Way { stopped, ..Way::default() }).await;
        brake
    }

    /// Puts something before the node of this name that counts the parts in which requests come.
    pub(crate) async fn with_counter(&mut self, zone: &str, name: &str) -> Arc<AtomicUsize> {
        let requests = Arc::default();
        self.with_something_before(zone, name, Way { requests: Arc::clone(&requests), ..Way::default() })
            .await;
        requests
    }

    async fn with_something_before(&mut self, zone: &str, name: &str, way: Way) {
        let place = (zone.to_owned(), name.to_owned());
        let node = self.addresses[&place];
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
        self.addresses.insert(place, listener.local_addr().expect("it is bound"));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(node).await.expect("the node listens");
                let (client_reader, client_writer) = client.into_split();
                let (server_reader, server_writer) = server.into_split();
                let there = Way { parts: Arc::clone(&way.requests), ..Way::default() };
                tokio::spawn(forward(client_reader, server_writer, there));
                tokio::spawn(forward(server_reader, client_writer, way.clone()));
            }
        });
    }

    /// The list of all zones.
    pub(crate) fn all(&self) -> StaticNodes {
        self.list(|_| true)
    }

    /// The list of one zone.
    pub(crate) fn only(&self, zone: &str) -> StaticNodes {
        self.list(|place| place == zone)
    }

    fn list(&self, wanted: impl Fn(&str) -> bool) -> StaticNodes {
        let nodes = self.addresses.iter().filter(|(place, _)| wanted(&place.0));
        nodes.fold(StaticNodes::new(), |list, ((zone, name), address)| list.node(zone, name, *address))
    }

    /// A client of all zones that runs in `zone`.
    pub(crate) async fn client(&self, zone: &str) -> Client {
        self.builder(zone).connect().await.expect("a list needs no discovery")
    }

    /// The same, to be changed. Patient, since these machines are slow; tests of deadlines set their own.
    pub(crate) fn builder(&self, zone: &str) -> ClientBuilder {
        patient(self.all()).zone(zone)
    }

    /// Where a node is.
    pub(crate) fn address(&self, zone: &str, name: &str) -> SocketAddr {
        self.addresses[&(zone.to_owned(), name.to_owned())]
    }

    /// A client that sees one node only.
    pub(crate) async fn inside_node(&self, zone: &str, name: &str) -> Client {
        let nodes = StaticNodes::new().node(zone, name, self.address(zone, name));
        patient(nodes).zone(zone).connect().await.expect("a list needs no discovery")
    }

    /// A client in zone b that finds nobody at the addresses of one zone.
    pub(crate) async fn without(&self, zone: &str) -> Client {
        let nodes = self.addresses.iter();
        let list = nodes.fold(StaticNodes::new(), |list, ((of, name), address)| {
            // Nothing listens on the first port of all.
            let address = if of == zone { SocketAddr::new(address.ip(), 1) } else { *address };
            list.node(of, name, address)
        });
        patient(list).zone("b").connect().await.expect("a list needs no discovery")
    }

    /// A client that sees one zone only.
    pub(crate) async fn inside(&self, zone: &str) -> Client {
        patient(self.only(zone)).zone(zone).connect().await.expect("a list needs no discovery")
    }
}

/// Answers the greeting of every connection, and nothing after it.
async fn greet_all(listener: TcpListener) {
    let mut frozen = Vec::new();
    while let Ok((mut stream, _)) = listener.accept().await {
        while stream.read_u8().await.is_ok_and(|byte| byte != b'\n') {}
        if stream.write_all(b"MN\r\n").await.is_ok() {
            frozen.push(stream);
        }
    }
}

/// How the replies of a node are forwarded.
#[derive(Clone)]
struct Way {
    /// Each part so much later.
    delay: Duration,
    /// None of them while this holds.
    stopped: watch::Receiver<bool>,
    /// The parts so far.
    parts: Arc<AtomicUsize>,
    /// The parts of requests so far.
    requests: Arc<AtomicUsize>,
}

impl Default for Way {
    fn default() -> Self {
        let stopped = watch::channel(false).1;
        Self { delay: Duration::ZERO, stopped, parts: Arc::default(), requests: Arc::default() }
    }
}

/// Forwards until the end.
async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut way: Way) {
    let mut bytes = [0; 16 << 10];
    while let Ok(read @ 1..) = from.read(&mut bytes).await {
        way.parts.fetch_add(1, Ordering::SeqCst);
        // A brake that is gone holds nothing any more.
        let _ = way.stopped.wait_for(|stopped| !stopped).await;
        tokio::time::sleep(way.delay).await;
        if to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}

pub(crate) fn patient(nodes: StaticNodes) -> ClientBuilder {
    let connection = ConnectionOptions {
        connect_timeout: PATIENCE,
        stall_timeout: STALL,
        backoff_min: Duration::from_millis(2),
        backoff_max: Duration::from_millis(10),
        ..ConnectionOptions::default()
    };
    Client::builder("HOME")
        .nodes(nodes)
        .connection(connection)
        .read_attempt_timeout(PATIENCE)
        .read_timeout(PATIENCE)
        .write_timeout(PATIENCE)
}

/// Tries until `attempt` gives something.
pub(crate) async fn eventually<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = attempt().await {
            return found;
        }
        assert!(Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
