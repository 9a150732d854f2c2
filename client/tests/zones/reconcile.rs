//! Nodes that mend each other, when nobody is left who knows what they missed.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use evanesce_client::Client;
use evanesce_discovery::RunningDiscovery;
use evanesce_node::{Node, NodeConfig, RunningNode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::cluster::eventually;
use crate::discovered::{any_port, discovery};
use crate::warm::number;

/// Often enough for a test to see many.
const EVERY: Duration = Duration::from_millis(100);

/// Never, as far as a test can tell.
const NEVER: Duration = Duration::from_secs(3600);

struct Scene {
    discovery: RunningDiscovery,
    every: Duration,
}

impl Scene {
    async fn node(&self, zone: &str, name: &str) -> RunningNode {
        self.node_with(zone, name, NodeConfig::default()).await
    }

    async fn node_with(&self, zone: &str, name: &str, config: NodeConfig) -> RunningNode {
        let config = NodeConfig {
            zone: zone.to_owned(),
            group: zone.to_owned(),
            name: name.to_owned(),
            grpc: Some(any_port()),
            discoveries: vec![self.discovery.grpc_addr().to_string()],
            threads: 1.try_into().expect("one is not zero"),
            reconcile_every: Some(self.every),
            ..config
        };
        let node = Node::start(config).await.expect("it starts");
        node.ready().await;
        node
    }
}

fn scene(every: Duration) -> Scene {
    Scene { discovery: discovery(), every }
}

/// The first version of so many milliseconds ago.
fn ago(ms: u64) -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later").as_millis() as u64;
    (since_1970 - ms - 1_735_689_600_000) << 22
}

/// Says something to a node, as a writer that reaches nobody else.
async fn talk(address: SocketAddr, input: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    stream.write_all(input.as_bytes()).await.expect("it reads");
    stream.write_all(b"quit\r\n").await.expect("it reads");
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.expect("it answers");
    reply
}

fn set(key: &str, value: &str, version: u64) -> String {
    format!("ms {key} {} V{version}\r\n{value}\r\n", value.len())
}

fn delete(key: &str, version: u64) -> String {
    format!("md {key} V{version}\r\n")
}

/// The value at a node, if it is there.
async fn value(address: SocketAddr, key: &str) -> Option<String> {
    let reply = talk(address, &format!("mg {key} v\r\n")).await;
    let value = reply.strip_prefix("VA ")?.lines().nth(1)?;
    Some(value.to_owned())
}

/// Waits until so many more whole rounds have begun and ended.
async fn rounds(address: SocketAddr, more: u64) {
    let before = number(address, "evanesce_divergence_rounds").await;
    eventually("it compares", async || {
        (number(address, "evanesce_divergence_rounds").await >= before + more).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_of_sibling_groups_converge_without_the_writer() {
    let scene = scene(EVERY);
    let mut nodes = Vec::new();
    for (zone, name) in [("a", "n1"), ("a", "n2"), ("b", "n1"), ("b", "n2"), ("c", "n1")] {
        nodes.push(scene.node(zone, name).await);
    }
    let [a1, a2, b1, b2, c] = [0, 1, 2, 3, 4].map(|at: usize| nodes[at].memcached_addr());
    let (old, new) = (ago(60_000), ago(30_000));
    let all: String = (0..300).map(|n| set(&format!("key{n}"), "old", old)).collect();
    for node in [a1, a2, b1, b2, c] {
        talk(node, &all).await;
    }
    rounds(c, 2).await;
    assert_eq!(number(c, "evanesce_divergence_differing_per_million").await, 0, "all are alike");
    // Some writes reach zone a alone, others zone c alone.
    let to_a: String = (0..100).map(|n| set(&format!("key{n}"), "new", new)).collect();
    let to_a = to_a + &(100..150).map(|n| delete(&format!("key{n}"), new)).collect::<String>();
    let to_c: String = (150..200).map(|n| set(&format!("key{n}"), "newer", new)).collect();
    let to_c = to_c + &(0..40).map(|n| set(&format!("fresh{n}"), "v", new)).collect::<String>();
    talk(a1, &to_a).await;
    talk(a2, &to_a).await;
    talk(c, &to_c).await;
    eventually("the difference is seen", async || {
        (number(c, "evanesce_divergence_differing").await > 0).then_some(())
    })
    .await;
    eventually("nothing differs any more", async || {
        for node in [a1, a2, b1, b2, c] {
            let differing = number(node, "evanesce_divergence_differing_per_million").await;
            if differing > 0 {
                return None;
            }
        }
        let taken =
            number(b1, "evanesce_divergence_taken").await + number(b2, "evanesce_divergence_taken").await;
        (taken >= 190).then_some(())
    })
    .await;
    for node in [a1, a2, b1, b2, c] {
        rounds(node, 2).await;
        assert_eq!(number(node, "evanesce_divergence_oldest_ms").await, 0);
    }
    // Each zone's nodes hold what its ring gives them; both were sent everything, so of two one may lack what is new.
    for (zone, nodes) in [("b", vec![b1, b2]), ("c", vec![c])] {
        for n in 0..200 {
            let mut values = Vec::new();
            for node in &nodes {
                values.push(value(*node, &format!("key{n}")).await);
            }
            let wanted = match n {
                0..100 => Some("new"),
                100..150 => None,
                _ => Some("newer"),
            };
            assert!(values.iter().any(|value| value.as_deref() == wanted), "{zone}, key{n}: {values:?}");
        }
    }
    for n in 0..40 {
        let key = format!("fresh{n}");
        let found = [value(b1, &key).await, value(b2, &key).await];
        assert_eq!(found.iter().flatten().count(), 1, "{key} is where it belongs");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_full_node_evicted_does_not_come_back() {
    let scene = scene(EVERY);
    let roomy = scene.node("a", "n1").await;
    let small = NodeConfig { memory_bytes: 4 << 20, item_bytes_max: 1 << 18, ..NodeConfig::default() };
    let full = scene.node_with("b", "n1", small).await;
    let (roomy, full) = (roomy, full);
    let value = "v".repeat(25_000);
    let all: String = (0..300).map(|n| set(&format!("key{n}"), &value, ago(60_000 - n))).collect();
    talk(full.memcached_addr(), &all).await;
    talk(roomy.memcached_addr(), &all).await;
    rounds(roomy.memcached_addr(), 2).await;
    let evictions = number(full.memcached_addr(), "evictions").await;
    assert!(evictions > 90, "{evictions}");
    rounds(full.memcached_addr(), 2).await;
    rounds(roomy.memcached_addr(), 2).await;
    let (full, roomy) = (full.memcached_addr(), roomy.memcached_addr());
    assert_eq!(number(full, "evanesce_divergence_taken").await, 0);
    assert_eq!(number(full, "evictions").await, evictions, "it is not filled with what it has just evicted");
    assert_eq!(number(roomy, "curr_items").await, 300, "nor does the other lose anything");
    assert_eq!(number(roomy, "evanesce_divergence_differing_per_million").await, 0);
    assert!(number(roomy, "evanesce_divergence_absent_per_million").await > 300_000);
}

/// A directory that goes with the test.
struct Files(PathBuf);

impl Files {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("evanesce-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The node that comes back has what it last had, a sibling that ran all the time knows what became of it since.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_that_was_away_comes_back_with_nothing_that_was_deleted() {
    let scene = scene(NEVER);
    let files = Files::new("reconcile");
    let kept = || NodeConfig {
        memory_file: Some(files.0.join("memory")),
        memory_bytes: 16 << 20,
        ..NodeConfig::default()
    };
    // Small, so that its tombstones overflow.
    let small = NodeConfig { memory_bytes: 8 << 20, item_bytes_max: 1 << 18, ..NodeConfig::default() };
    let away = scene.node_with("a", "n1", kept()).await;
    let ran = scene.node_with("b", "n1", small).await.memcached_addr_kept();
    let third = scene.node("c", "n1").await.memcached_addr_kept();
    let old = ago(3_600_000);
    let all: String = (0..400).map(|n| set(&format!("key{n}"), "old", old)).collect();
    for node in [away.memcached_addr(), ran.0, third.0] {
        talk(node, &all).await;
    }
    away.drain(Duration::from_secs(1)).await;
    let now = ago(0);
    let changes: String = (0..100).map(|n| set(&format!("key{n}"), "new", now)).collect();
    let changes = changes + &(100..200).map(|n| delete(&format!("key{n}"), now)).collect::<String>();
    let changes = changes + &(0..50).map(|n| set(&format!("fresh{n}"), "v", now)).collect::<String>();
    talk(ran.0, &changes).await;
    talk(third.0, &changes).await;
    // Of the deletes so far nobody remembers all any more.
    let many: String = (0..20_000).map(|n| delete(&format!("other{n}"), now + (n << 12))).collect();
    talk(ran.0, &many).await;
    talk(third.0, &many).await;
    // One that its sibling has evicted, say, and the third zone has not.
    talk(ran.0, "md key399\r\n").await;
    let back = scene.node_with("a", "n1", kept()).await;
    let back = back.memcached_addr_kept();
    eventually("it has made up for what it missed", async || {
        (number(back.0, "evanesce_divergence_rounds").await > 0).then_some(())
    })
    .await;
    for n in 0..399 {
        let wanted = match n {
            0..100 => Some("new"),
            100..200 => None,
            _ => Some("old"),
        };
        assert_eq!(value(back.0, &format!("key{n}")).await.as_deref(), wanted, "key{n}");
    }
    for n in 0..50 {
        assert_eq!(value(back.0, &format!("fresh{n}")).await.as_deref(), Some("v"), "fresh{n}");
    }
    assert!(
        number(back.0, "evanesce_divergence_dropped").await > 0,
        "some deletes were forgotten everywhere"
    );
    assert!(number(back.0, "evanesce_divergence_deleted").await > 0);
}

/// A node that runs on, and where.
struct Kept(SocketAddr, #[expect(dead_code, reason = "dropped, it would end")] RunningNode);

trait Keep {
    fn memcached_addr_kept(self) -> Kept;
}

impl Keep for RunningNode {
    fn memcached_addr_kept(self) -> Kept {
        Kept(self.memcached_addr(), self)
    }
}

/// Two zones; the second is where no client reaches it, though it lives.
async fn cut_off() -> (Scene, RunningNode, RunningNode, TcpListener) {
    let scene = scene(NEVER);
    let hole = TcpListener::bind(any_port()).await.expect("a port");
    let advertise_memcached = Some(hole.local_addr().expect("an address"));
    let near = scene.node("a", "n1").await;
    let cut_off = NodeConfig { advertise_memcached, ..NodeConfig::default() };
    let cut_off = scene.node_with("b", "n1", cut_off).await;
    (scene, near, cut_off, hole)
}

async fn client(scene: &Scene, repair_bytes_max: usize) -> Client {
    let builder = Client::builder("HOME").discovery([scene.discovery.grpc_addr().to_string()]).zone("a");
    let builder = builder.write_timeout(Duration::from_millis(100)).repair_queue_bytes(repair_bytes_max);
    let cache = builder.connect().await.expect("it finds the nodes");
    eventually("both zones are known", async || {
        let written = cache.set("known", "v").await.ok()?;
        (written.acked == 1 && cache.repairs_pending() > 0).then_some(())
    })
    .await;
    cache
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_that_ends_has_nodes_make_up_for_what_it_could_not_bring() {
    let (scene, near, cut_off, _hole) = cut_off().await;
    let (near, cut_off) = (near.memcached_addr_kept(), cut_off.memcached_addr_kept());
    let old = ago(60_000);
    for node in [near.0, cut_off.0] {
        talk(node, &(set("key", "old", old) + &set("gone", "old", old))).await;
    }
    let cache = client(&scene, 1 << 20).await;
    cache.set("key", "new").await.expect("one zone is well");
    cache.set("fresh", "v").await.expect("one zone is well");
    cache.delete("gone").await.expect("one zone is well");
    assert_eq!(value(cut_off.0, "key").await.as_deref(), Some("old"));
    let closed = cache.close_within(Duration::from_secs(2)).await;
    assert!(closed.missed() >= 3, "{closed}");
    eventually("it has asked its sibling", async || {
        let is = async |key| value(cut_off.0, key).await;
        (is("key").await? == "new" && is("fresh").await? == "v" && is("gone").await.is_none()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_whose_queue_runs_over_has_nodes_make_up_for_what_it_drops() {
    let (scene, near, cut_off, _hole) = cut_off().await;
    let (_near, cut_off) = (near.memcached_addr_kept(), cut_off.memcached_addr_kept());
    let cache = client(&scene, 4_000).await;
    for n in 0..50 {
        cache.set(format!("key{n}"), "v").await.expect("one zone is well");
    }
    eventually("it has asked its sibling", async || {
        for n in 0..30 {
            value(cut_off.0, &format!("key{n}")).await?;
        }
        Some(())
    })
    .await;
    assert!(cache.repairs_dropped()[0].count >= 30);
}
