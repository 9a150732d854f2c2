//! A gateway whose namespaces live in several clusters, spoken to over a socket.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use evanesce_discovery::{Discovery, DiscoveryConfig, RunningDiscovery};
use evanesce_gateway::{Gateway, GatewayConfig, RunningGateway};
use evanesce_node::{Node, NodeConfig, RunningNode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Longest that any step may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A cluster of one node.
struct Cluster {
    discovery: RunningDiscovery,
    node: RunningNode,
}

impl Cluster {
    async fn start(name: &str) -> Self {
        Self::start_at(name, loopback()).await
    }

    async fn start_at(name: &str, at: SocketAddr) -> Self {
        Self::start_behind(name, at, None).await
    }

    /// Its node is reached at this address, if one is given.
    async fn start_behind(name: &str, at: SocketAddr, node: Option<SocketAddr>) -> Self {
        let config = DiscoveryConfig { listen_grpc: at, listen_http: None, ..DiscoveryConfig::default() };
        let discovery = Discovery::start(config).expect("a discovery");
        let config = NodeConfig {
            cluster: name.to_owned(),
            name: "a1".to_owned(),
            discoveries: vec![discovery.grpc_addr().to_string()],
            advertise_memcached: node,
            ..NodeConfig::default()
        };
        let node = Node::start(config).await.expect("a node");
        node.ready().await;
        Self { discovery, node }
    }

    async fn node(&self, input: &str) -> String {
        talk(self.node.memcached_addr(), input).await
    }

    async fn end(self) {
        self.node.drain(Duration::from_secs(5)).await;
        self.discovery.drain(Duration::from_secs(5)).await;
    }
}

/// A gateway of the cluster `HOME`, with a file of namespaces.
struct World {
    home: Cluster,
    gateway: RunningGateway,
    directory: tempfile::TempDir,
}

impl World {
    async fn start(file: &str, patience: Duration) -> Self {
        let home = Cluster::start("HOME").await;
        let directory = tempfile::tempdir().expect("a directory");
        let world_file = directory.path().join("persister.toml");
        write(&world_file, file, &directory);
        let config = GatewayConfig {
            discoveries: vec![home.discovery.grpc_addr().to_string()],
            zone: "default".to_owned(),
            persister: Some(world_file),
            flush_command: true,
            connect_timeout: patience,
            ..GatewayConfig::default()
        };
        let gateway = Gateway::start(config).await.expect("a gateway");
        Self { home, gateway, directory }
    }

    async fn ask(&self, input: &str) -> String {
        talk(self.gateway.memcached_addr(), input).await
    }

    /// Puts another file in force.
    async fn reload(&self, file: &str, is_in_force: impl AsyncFn() -> bool) {
        write(&self.directory.path().join("persister.toml"), file, &self.directory);
        self.gateway.reload();
        eventually(is_in_force).await;
    }

    async fn end(self) {
        self.gateway.drain(PATIENCE).await;
        self.home.end().await;
    }
}

fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().expect("an address")
}

fn write(file: &PathBuf, text: &str, directory: &tempfile::TempDir) {
    let new = directory.path().join("new.toml");
    std::fs::write(&new, text.replace("DIR", &directory.path().display().to_string()))
        .expect("it is written");
    std::fs::rename(new, file).expect("it is renamed");
}

async fn eventually(holds: impl AsyncFn() -> bool) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("it holds in time");
}

/// Sends all of `input`, closes that direction, and returns all that came back.
async fn talk(addr: SocketAddr, input: &str) -> String {
    let exchange = async {
        let mut stream = TcpStream::connect(addr).await.expect("it listens");
        stream.write_all(input.as_bytes()).await.expect("it reads");
        stream.shutdown().await.expect("half a close");
        let mut replies = Vec::new();
        stream.read_to_end(&mut replies).await.expect("it answers");
        String::from_utf8_lossy(&replies).into_owned()
    };
    tokio::time::timeout(PATIENCE, exchange).await.expect("an answer in time")
}

/// Two namespaces in a cluster that is called `sessions` here, one of them over a store, and one that stays.
fn file_of(discovery: impl std::fmt::Display) -> String {
    format!(
        "log_dir = 'DIR/log'
        [stores.main]
        kind = 'embedded'
        path = 'DIR/main'
        sync = false
        [clusters.sessions]
        cluster = 'SESSIONS'
        discovery = ['{discovery}']
        [namespaces.session]
        cluster = 'sessions'
        mode = 'none'
        [namespaces.kept]
        cluster = 'sessions'
        store = 'main'
        mode = 'write-behind'
        flush = '50ms'
        [namespaces.user]
        store = 'main'
        mode = 'write-through'
        "
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_live_in_the_cluster_of_their_namespace_and_nowhere_else() {
    let sessions = Cluster::start("SESSIONS").await;
    let world = World::start(&file_of(sessions.discovery.grpc_addr()), PATIENCE).await;
    for (key, at, not_at) in [
        ("session:1", &sessions, &world.home),
        ("kept:1", &sessions, &world.home),
        ("user:1", &world.home, &sessions),
        ("other:1", &world.home, &sessions),
        ("plain", &world.home, &sessions),
    ] {
        let talk = async |input: &str| world.ask(&input.replace('K', key)).await;
        let get = format!("get {key}\r\n");
        for (input, expected) in [
            ("set K 7 100 1\r\n1\r\n", "STORED\r\n"),
            ("incr K 41\r\n", "42\r\n"),
            ("append K 0 0 1\r\n0\r\n", "STORED\r\n"),
            ("touch K 1000\r\n", "TOUCHED\r\n"),
            ("gat 1000 K\r\n", "VALUE K 7 3\r\n420\r\nEND\r\n"),
            ("mg K v f\r\n", "VA 3 f7\r\n420\r\n"),
            ("add K 0 0 1\r\nx\r\n", "NOT_STORED\r\n"),
        ] {
            let expected = expected.replace("VALUE K", &format!("VALUE {key}"));
            assert_eq!(talk(input).await, expected, "{key} {input}");
        }
        assert!(at.node(&get).await.contains("\r\n420\r\n"), "{key} is where its namespace lives");
        assert_eq!(not_at.node(&get).await, "END\r\n", "{key} is nowhere else");
        let home = talk("mg K v f c t\r\n").await;
        assert!(home.starts_with("VA 3 f7 c"), "{home}");
        let gets = talk("gets K\r\n").await;
        let token = gets.lines().next().and_then(|line| line.split(' ').nth(4)).expect("a token").to_owned();
        assert_eq!(talk(&format!("cas K 0 0 3 {token}\r\nnew\r\n")).await, "STORED\r\n");
        assert!(at.node(&get).await.contains("\r\nnew\r\n"));
        assert_eq!(talk("delete K\r\nget K\r\n").await, "DELETED\r\nEND\r\n");
        assert!(!at.node(&get).await.contains("new"));
    }
    let stats = world.ask("stats persister\r\n").await;
    for line in [
        "cluster:sessions:cluster SESSIONS",
        "cluster:sessions:is_reached 1",
        "session:cluster sessions",
        "kept:cluster sessions",
        "kept:mode write-behind",
    ] {
        assert!(stats.contains(&format!("STAT {line}\r\n")), "{line} is not in {stats}");
    }
    world.ask("set session:2 0 0 1\r\ns\r\nset plain 0 0 1\r\np\r\n").await;
    assert_eq!(
        world.ask("get plain session:2\r\n").await,
        "VALUE plain 0 1\r\np\r\nVALUE session:2 0 1\r\ns\r\nEND\r\n"
    );
    assert_eq!(world.ask("flush_all\r\n").await, "OK\r\n");
    assert_eq!(world.ask("get plain session:2\r\n").await, "END\r\n", "to a client it is one cache");
    world.end().await;
    sessions.end().await;
}

/// The start does not fail for a cluster that is away, and what is said of it is an error and no miss.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_that_is_not_reached_fails_its_own_keys_alone_and_is_served_once_it_is_there() {
    // Of a discovery that has ended: nobody has the port now.
    let gone = Cluster::start("SESSIONS").await;
    let at = gone.discovery.grpc_addr();
    gone.end().await;
    let world = World::start(&file_of(at), Duration::from_secs(1)).await;
    assert_eq!(world.ask("set user:1 0 0 1\r\nu\r\nset plain 0 0 1\r\np\r\n").await, "STORED\r\nSTORED\r\n");
    for input in
        ["get session:1\r\n", "get plain session:1\r\n", "set kept:1 0 0 1\r\nx\r\n", "mg session:1 v c\r\n"]
    {
        let told = world.ask(input).await;
        assert!(told.starts_with("SERVER_ERROR cluster SESSIONS is not reached yet: "), "{input} {told}");
        assert!(told.contains(&at.to_string()), "it says where it was looked for: {told}");
    }
    let told = world.ask("flush_all\r\n").await;
    assert!(told.starts_with("SERVER_ERROR cluster SESSIONS is not reached yet"), "{told}");
    assert!(world.ask("stats persister\r\n").await.contains("STAT cluster:sessions:is_reached 0\r\n"));
    let sessions = Cluster::start_at("SESSIONS", at).await;
    eventually(async || world.ask("set session:1 0 0 1\r\ns\r\n").await == "STORED\r\n").await;
    assert!(sessions.node("get session:1\r\n").await.contains("\r\ns\r\n"));
    assert_eq!(world.ask("set kept:1 0 0 1\r\nk\r\n").await, "STORED\r\n");
    assert!(sessions.node("get kept:1\r\n").await.contains("\r\nk\r\n"));
    world.end().await;
    sessions.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clusters_are_added_changed_and_taken_away_while_it_runs_and_those_out_of_use_are_closed() {
    let (first, second) = (Cluster::start("SESSIONS").await, Cluster::start("SESSIONS").await);
    // So long a reload waits for a cluster that is not there.
    let world = World::start("[namespaces.session]\nmode = 'none'\n", Duration::from_secs(5)).await;
    let holds = async |cluster: &Cluster| cluster.node("get session:1\r\n").await.starts_with("VALUE");
    world.ask("set session:1 0 0 1\r\nh\r\n").await;
    assert!(holds(&world.home).await);

    let in_use = async |cluster: &Cluster| {
        let stats = cluster.node("stats\r\n").await;
        let count = stats.lines().find_map(|line| line.strip_prefix("STAT curr_connections "));
        // Less that of this question.
        count.and_then(|count| count.trim().parse::<usize>().ok()).expect("it is told") > 1
    };
    let is_elsewhere =
        async || world.ask("stats persister\r\n").await.contains("STAT session:cluster sessions\r\n");
    world.reload(&file_of(first.discovery.grpc_addr()), is_elsewhere).await;
    assert_eq!(world.ask("set session:1 0 0 1\r\n1\r\n").await, "STORED\r\n");
    assert!(holds(&first).await && in_use(&first).await);

    // One that cannot be reached changes nothing.
    let lines = file_of("127.0.0.1:1");
    write(&world.directory.path().join("persister.toml"), &lines, &world.directory);
    world.gateway.reload();
    assert!(world.ask("get session:1\r\n").await.contains("\r\n1\r\n"));

    let moved = async || {
        world.ask("set session:1 0 0 1\r\n2\r\n").await;
        holds(&second).await
    };
    world.reload(&file_of(second.discovery.grpc_addr()), moved).await;
    eventually(async || !in_use(&first).await).await;
    assert!(world.ask("get session:1\r\n").await.contains("\r\n2\r\n"));

    world.reload("[namespaces.session]\nmode = 'none'\n", async || !is_elsewhere().await).await;
    eventually(async || !in_use(&second).await).await;
    assert!(world.ask("get session:1\r\n").await.contains("\r\nh\r\n"), "what the own cluster had");
    world.end().await;
    first.end().await;
    second.end().await;
}

/// Where no node is: it takes connections, and answers what a client asks first and nothing else.
async fn standing_still() -> SocketAddr {
    let listener = TcpListener::bind(loopback()).await.expect("loopback has ports");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut bytes = vec![0; 64 << 10];
                while let Ok(read @ 1..) = client.read(&mut bytes).await {
                    let is_first = String::from_utf8_lossy(&bytes[..read]).contains("mn ");
                    if is_first && client.write_all(b"MN\r\n").await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// What was seen: keys of a cluster that stood still had all places of those under way, and the keys of others were refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_that_stands_still_takes_no_places_of_another() {
    /// Connections that ask for many times the places of one cluster.
    const CROWD: usize = 120;
    let sessions = Cluster::start_behind("SESSIONS", loopback(), Some(standing_still().await)).await;
    let world = World::start(&file_of(sessions.discovery.grpc_addr()), PATIENCE).await;
    assert_eq!(world.ask("set plain 0 0 1\r\np\r\n").await, "STORED\r\n");
    let gateway = world.gateway.memcached_addr();
    let goes_on = Arc::new(AtomicBool::new(true));
    let crowd = (0..CROWD).map(|n| {
        let sets: String = (0..64).map(|key| format!("set session:{n}:{key} 0 0 1\r\ns\r\n")).collect();
        let goes_on = Arc::clone(&goes_on);
        tokio::spawn(async move {
            while goes_on.load(Ordering::Relaxed) {
                assert!(talk(gateway, &sets).await.contains("SERVER_ERROR "));
            }
        })
    });
    let crowd: Vec<_> = crowd.collect();
    let is_crowded = async || world.ask("set session:1 0 0 1\r\ns\r\n").await.contains("too much under way");
    eventually(is_crowded).await;
    for _ in 0..5 {
        assert_eq!(world.ask("get plain\r\n").await, "VALUE plain 0 1\r\np\r\nEND\r\n");
        assert_eq!(world.ask("set user:1 0 0 1\r\nu\r\n").await, "STORED\r\n");
    }
    goes_on.store(false, Ordering::Relaxed);
    for each in crowd {
        each.await.expect("it ends");
    }
    world.end().await;
    sessions.end().await;
}
