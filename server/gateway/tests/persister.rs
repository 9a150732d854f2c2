//! A gateway whose namespaces have a backing store, spoken to over a socket: bytes in, bytes out.

use std::net::SocketAddr;
use std::time::Duration;

use evanesce_discovery::{Discovery, DiscoveryConfig, RunningDiscovery};
use evanesce_gateway::{Gateway, GatewayConfig, RunningGateway};
use evanesce_node::{Node, NodeConfig, RunningNode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest that any step may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

struct Cluster {
    discovery: RunningDiscovery,
    node: RunningNode,
    gateway: RunningGateway,
    directory: tempfile::TempDir,
}

impl Cluster {
    /// A node, and a gateway with this file of namespaces; `DIR` in it is a directory of the test's own.
    async fn start(persister: &str) -> Self {
        let loopback: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        let config =
            DiscoveryConfig { listen_grpc: loopback, listen_http: None, ..DiscoveryConfig::default() };
        let discovery = Discovery::start(config).expect("a discovery");
        let discoveries = vec![discovery.grpc_addr().to_string()];
        let config =
            NodeConfig { name: "a1".to_owned(), discoveries: discoveries.clone(), ..NodeConfig::default() };
        let node = Node::start(config).await.expect("a node");
        node.ready().await;
        let directory = tempfile::tempdir().expect("a directory");
        let config = GatewayConfig {
            discoveries,
            zone: "default".to_owned(),
            node_timeout: Some(PATIENCE),
            persister: Some(directory.path().join("persister.toml")),
            ..GatewayConfig::default()
        };
        write(&directory, persister);
        let gateway = Gateway::start(config).await.expect("a gateway");
        Self { discovery, node, gateway, directory }
    }

    async fn ask(&self, input: &str) -> String {
        talk(self.gateway.memcached_addr(), input).await
    }

    /// What the node has, whatever the gateway would load.
    async fn node(&self, input: &str) -> String {
        talk(self.node.memcached_addr(), input).await
    }

    async fn end(self) {
        self.gateway.drain(PATIENCE).await;
        self.node.drain(Duration::from_secs(5)).await;
        self.discovery.drain(Duration::from_secs(5)).await;
    }
}

fn write(directory: &tempfile::TempDir, persister: &str) {
    let text = persister.replace("DIR", &directory.path().display().to_string());
    // Whole, by rename, as an operator should: a gateway may be reading it.
    let new = directory.path().join("new.toml");
    std::fs::write(&new, text).expect("it can be written");
    std::fs::rename(new, directory.path().join("persister.toml")).expect("it can be renamed");
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

const STORES: &str = "
log_dir = 'DIR/log'
[stores.main]
kind = 'embedded'
path = 'DIR/main'
sync = false
[namespaces.t]
store = 'main'
mode = 'write-through'
[namespaces.b]
store = 'main'
mode = 'write-behind'
flush = '50ms'
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_finds_what_only_the_store_has_and_leaves_it_there() {
    let cluster = Cluster::start(STORES).await;
    for namespace in ["t", "b"] {
        let talk = async |input: &str| cluster.ask(&input.replace("K", &format!("{namespace}:k"))).await;
        assert_eq!(talk("set K 7 0 2\r\n41\r\n").await, "STORED\r\n");
        let evict = format!("delete {namespace}:k\r\n");
        for (input, expected) in [
            ("get K\r\n", "VALUE K 7 2\r\n41\r\nEND\r\n"),
            ("incr K 1\r\n", "42\r\n"),
            ("add K 0 0 1\r\nx\r\n", "NOT_STORED\r\n"),
            ("append K 0 0 1\r\n0\r\n", "STORED\r\n"),
            ("get K\r\n", "VALUE K 7 3\r\n420\r\nEND\r\n"),
            ("touch K 100\r\n", "TOUCHED\r\n"),
            ("prepend K 0 0 1\r\n1\r\n", "STORED\r\n"),
            ("decr K 1000\r\n", "420\r\n"),
            ("replace K 3 0 1\r\nr\r\n", "STORED\r\n"),
            ("incr K 1\r\n", "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"),
            ("mg K v f s\r\n", "VA 1 f3 s1\r\nr\r\n"),
            // The home zone keeps nothing of a load that is older than its delete: no token, and a hit all the same.
            ("mg K v f s c h\r\n", "VA 1 f3 s1 c0 h0\r\nr\r\n"),
            ("cas K 0 0 1 1\r\nz\r\n", "EXISTS\r\n"),
        ] {
            // The node loses it; store or log have it.
            cluster.node(&evict).await;
            let expected = expected.replace('K', &format!("{namespace}:k"));
            assert_eq!(talk(input).await, expected, "{namespace} {input}");
        }
        let gets = talk("gets K\r\n").await;
        let token = gets.lines().next().and_then(|line| line.split(' ').nth(4)).expect("a token").to_owned();
        assert_eq!(talk(&format!("cas K 9 0 3 {token}\r\nnew\r\n")).await, "STORED\r\n");
        assert_eq!(talk("delete K\r\n").await, "DELETED\r\n");
        assert_eq!(talk("get K\r\ngets K\r\nincr K 1\r\n").await, "END\r\nEND\r\nNOT_FOUND\r\n");
        assert_eq!(talk("touch K 1\r\nreplace K 0 0 1\r\nx\r\n").await, "NOT_FOUND\r\nNOT_STORED\r\n");
        assert_eq!(talk("add K 0 0 1\r\na\r\n").await, "STORED\r\n", "that it is absent was remembered");
        assert_eq!(talk("ma K2 N0 J5 v\r\n").await, "VA 1\r\n5\r\n");
    }
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stats_tell_of_namespaces_and_stores_and_keys_of_others_go_to_the_cluster_alone() {
    let cluster = Cluster::start(STORES).await;
    assert_eq!(cluster.ask("set plain 0 0 1\r\np\r\nset t:1 0 0 1\r\nt\r\n").await, "STORED\r\nSTORED\r\n");
    cluster.node("delete t:1\r\ndelete plain\r\n").await;
    assert_eq!(cluster.ask("get t:1 plain\r\n").await, "VALUE t:1 0 1\r\nt\r\nEND\r\n");
    cluster.ask("set b:1 0 0 1\r\nb\r\nset t:2 3 0 1\r\n2\r\nset q 0 0 1\r\nq\r\n").await;
    assert_eq!(
        cluster.ask("get t:2 b:0 q b:1 t:1 t:9 t:2\r\n").await,
        "VALUE t:2 3 1\r\n2\r\nVALUE q 0 1\r\nq\r\nVALUE b:1 0 1\r\nb\r\nVALUE t:1 0 1\r\nt\r\nVALUE t:2 3 1\r\n2\r\nEND\r\n",
        "in the order asked, whosever they are"
    );
    let stats = cluster.ask("stats persister\r\n").await;
    for line in
        ["STAT t:mode write-through", "STAT t:loads 3", "STAT t:writes 2", "STAT store:main:breaker closed"]
    {
        assert!(stats.contains(&format!("{line}\r\n")), "{line} is not in {stats}");
    }
    assert!(stats.contains("STAT b:log_waiting 0\r\n") && stats.ends_with("END\r\n"), "{stats}");
    cluster.end().await;
}

/// What was seen: keys of a namespace whose mode is none went to the store of `default`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn namespace_without_a_store_stays_without_one_beside_a_default_that_has_one() {
    let default =
        "[namespaces.default]\nstore = 'main'\nmode = 'write-through'\n[namespaces.n]\nmode = 'none'\n";
    let cluster = Cluster::start(&format!("{STORES}{default}")).await;
    assert_eq!(cluster.ask("set n:1 0 0 1\r\nn\r\nset x 0 0 1\r\nx\r\n").await, "STORED\r\nSTORED\r\n");
    cluster.node("delete n:1\r\ndelete x\r\n").await;
    assert_eq!(cluster.ask("get n:1 x\r\n").await, "VALUE x 0 1\r\nx\r\nEND\r\n");
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn file_that_is_read_again_is_in_force_and_a_wrong_one_changes_nothing() {
    let cluster = Cluster::start(STORES).await;
    write(&cluster.directory, "[namespaces.t]\nmode = 'sideways'\n");
    cluster.gateway.reload();
    write(&cluster.directory, &STORES.replace("write-through", "read-through"));
    let changed = async {
        while !cluster.ask("stats persister\r\n").await.contains("STAT t:mode read-through\r\n") {
            assert!(cluster.ask("stats persister\r\n").await.contains("STAT b:mode write-behind\r\n"));
            cluster.gateway.reload();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, changed).await.expect("it is in force");
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn file_with_faults_is_no_start_and_all_of_them_are_told() {
    let directory = tempfile::tempdir().expect("a directory");
    write(&directory, "[namespaces.a]\nmode = 'x'\n[stores.s]\nkind = 'y'\n");
    let told = evanesce_gateway::read_persister_file(&directory.path().join("persister.toml")).await;
    let told = told.expect_err("it is wrong").to_string();
    assert!(told.contains("[namespaces.a] mode") && told.contains("[stores.s] kind \"y\""), "{told}");
    let none = evanesce_gateway::read_persister_file(&directory.path().join("none.toml")).await;
    assert!(none.expect_err("it is not there").to_string().contains("see the option persister"));
}
