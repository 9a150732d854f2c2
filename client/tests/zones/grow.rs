//! A group that grows and shrinks by an operator's changes, with discovery and nodes, while it is used.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use evanesce_client::{Client, LatchPolicy, StaticNodes};
use evanesce_discovery::RunningDiscovery;
use evanesce_grpc::discovery::v1::discovery_client::DiscoveryClient;
use evanesce_grpc::discovery::v1::{
    AbortChangeRequest, ChangeGroupRequest, ChangeKind, GetChangesRequest, GetChangesResponse, Plan, Roster,
    Stage,
};
use evanesce_node::RunningNode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};
use tonic::transport::Channel;

use crate::cluster::PATIENCE;
use crate::discovered::{discovery, node};

/// Keys of a test.
const KEYS: usize = 3000;

/// How long a change may take on a machine under load: leases, and twice what nodes wait before they look again.
const CHANGE_MAX: Duration = Duration::from_secs(90);

/// Tries until `attempt` gives something; a change takes its time.
async fn eventually<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + CHANGE_MAX;
    loop {
        if let Some(found) = attempt().await {
            return found;
        }
        assert!(Instant::now() < deadline, "never happened: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// A zone of two nodes, and what an operator sees of it.
struct Zone {
    discovery: RunningDiscovery,
    operator: DiscoveryClient<Channel>,
    nodes: HashMap<&'static str, RunningNode>,
    cache: Client,
}

impl Zone {
    /// Two nodes with items, closed to newcomers.
    async fn start() -> Self {
        let discovery = discovery();
        let mut nodes = HashMap::new();
        for name in ["n1", "n2"] {
            nodes.insert(name, node("a", name, &discovery).await);
        }
        let address = discovery.grpc_addr();
        let operator = DiscoveryClient::connect(format!("http://{address}")).await.expect("it listens");
        let cache = Client::builder("HOME")
            .discovery([address.to_string()])
            .zone("a")
            .read_attempt_timeout(PATIENCE)
            .read_timeout(PATIENCE)
            .write_timeout(PATIENCE)
            .connect()
            .await
            .expect("it finds the nodes");
        let mut zone = Self { discovery, operator, nodes, cache };
        // What is written before both are known is at one of them, and stays there.
        eventually("the client knows both nodes", async || {
            (zone.cache.topology()?.node_count() == 2).then_some(())
        })
        .await;
        for at in 0..KEYS {
            zone.cache.set(key(at), "0").latch(LatchPolicy::All).await.expect("all nodes are well");
        }
        eventually("it is closed", async || {
            let changes = zone.changes().await;
            changes
                .groups
                .first()
                .filter(|group| group.roster.as_ref().is_some_and(|held| held.nodes.len() == 2))
                .map(drop)
        })
        .await;
        zone
    }

    async fn changes(&mut self) -> GetChangesResponse {
        self.operator.get_changes(GetChangesRequest::default()).await.expect("it answers").into_inner()
    }

    async fn roster(&mut self) -> Roster {
        self.changes().await.groups.remove(0).roster.expect("a group has one")
    }

    async fn change(
        &mut self,
        kind: ChangeKind,
        nodes: &[&str],
        begin: bool,
    ) -> Result<(Plan, u64), tonic::Status> {
        let request = ChangeGroupRequest {
            group: "a".to_owned(),
            kind: kind.into(),
            nodes: nodes.iter().map(|name| (*name).to_owned()).collect(),
            begin,
            ..ChangeGroupRequest::default()
        };
        let answer = self.operator.change_group(request).await?.into_inner();
        Ok((answer.plan.expect("there is a plan"), answer.change))
    }

    /// Waits until the group has one ring again.
    async fn over(&mut self, change: u64) -> Roster {
        let mut operator = self.operator.clone();
        eventually("the change is over", async || {
            let changes = operator.get_changes(GetChangesRequest::default()).await.expect("it answers");
            let roster = changes.into_inner().groups.remove(0).roster.expect("a group has one");
            (roster.change == change && roster.stage() == Stage::Steady).then_some(roster)
        })
        .await
    }

    /// A client of one node alone.
    async fn inside(&self, name: &str) -> Client {
        let nodes = StaticNodes::new().node("a", name, self.nodes[name].memcached_addr());
        let builder = Client::builder("HOME").nodes(nodes).zone("a").read_attempt_timeout(PATIENCE);
        builder.read_timeout(PATIENCE).connect().await.expect("a list needs no discovery")
    }

    /// Each key is at exactly its owner among these nodes, with this value, or nowhere.
    async fn check(&self, among: &[&str], values: &HashMap<usize, String>) {
        let mut owned: HashMap<&str, usize> = HashMap::new();
        for name in among {
            let inside = self.inside(name).await;
            let keys: Vec<String> = (0..KEYS).map(key).collect();
            let mut told = String::new();
            eventually("each item is at its owner alone", async || {
                let got = inside.get_many(&keys).await.ok()?;
                let there: HashMap<_, _> = got.hits.into_iter().collect();
                let mut count = 0;
                for at in 0..KEYS {
                    let is_owner = self.cache.owners(key(at)).ok()?.first()?.node == *name;
                    let expected = values.get(&at).filter(|_| is_owner);
                    let found = there
                        .get(key(at).as_bytes())
                        .map(|value| String::from_utf8_lossy(value).into_owned());
                    if found.as_ref() != expected {
                        let amiss = format!("{name} has {found:?} for {}, not {expected:?}", key(at));
                        if told != amiss {
                            eprintln!("{amiss}; {} of {} keys there", there.len(), values.len());
                            told = amiss;
                        }
                        return None;
                    }
                    count += usize::from(found.is_some());
                }
                owned.insert(name, count);
                Some(())
            })
            .await;
        }
        assert_eq!(owned.values().sum::<usize>(), values.len(), "{owned:?}");
        assert!(owned.values().all(|count| *count > values.len() / 10), "{owned:?}");
    }
}

fn key(at: usize) -> String {
    format!("key-{at}")
}

/// Somebody who writes, deletes and reads all the time, and notices every value that is older than what was acknowledged.
struct Live {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<HashMap<usize, String>>,
}

impl Live {
    fn start(cache: Client) -> Self {
        let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&rounds));
        let task = tokio::spawn(async move {
            let mut values: HashMap<usize, String> = (0..KEYS).map(|at| (at, "0".to_owned())).collect();
            let mut random = fastrand::Rng::with_seed(7);
            while !stopped.load(Ordering::Acquire) {
                let at = random.usize(..KEYS);
                let round = counted.fetch_add(1, Ordering::AcqRel) + 1;
                if round.is_multiple_of(5) {
                    cache.delete(key(at)).await.expect("a delete is no error");
                    values.remove(&at);
                } else {
                    cache.set(key(at), round.to_string()).await.expect("a write is no error");
                    values.insert(at, round.to_string());
                }
                for at in [at, random.usize(..KEYS)] {
                    let got = cache.get(key(at)).await.expect("a read is no error");
                    let got = got.map(|value| String::from_utf8_lossy(&value).into_owned());
                    assert_eq!(got.as_ref(), values.get(&at), "{} after {round} rounds", key(at));
                }
            }
            values
        });
        Self { stop, rounds, task }
    }

    async fn stop(self) -> HashMap<usize, String> {
        assert!(self.rounds.load(Ordering::Acquire) > 10);
        self.stop.store(true, Ordering::Release);
        self.task.await.expect("nothing was stale")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn group_grows_and_shrinks_under_live_writes_and_each_item_ends_on_its_owner() {
    let mut zone = Zone::start().await;
    zone.nodes.insert("n3", node("a", "n3", &zone.discovery).await);
    eventually("the newcomer stands by", async || {
        let changes = zone.operator.get_changes(GetChangesRequest::default()).await.ok()?.into_inner();
        (changes.standing_by.first()?.name == "n3").then_some(())
    })
    .await;
    assert_eq!(zone.cache.topology().expect("it is open").node_count(), 2, "a newcomer stands by");
    let live = Live::start(zone.cache.clone());
    let (plan, _) = zone.change(ChangeKind::AddNodes, &["n3"], false).await.expect("it can be planned");
    assert!((250_000..420_000).contains(&plan.moved_per_million), "{plan:?}");
    assert_eq!(zone.roster().await.stage(), Stage::Steady, "a plan changes nothing");
    let (_, change) = zone.change(ChangeKind::AddNodes, &["n3"], true).await.expect("it can be begun");
    let again = zone.change(ChangeKind::RemoveNodes, &["n1"], true).await.expect_err("one at a time");
    assert!(again.message().contains("is being changed (add n3 to a)"), "{again}");
    assert_eq!(zone.over(change).await.nodes.len(), 3);
    let reports = zone.changes().await.groups.remove(0).nodes;
    let filled = reports.iter().find(|node| node.name == "n3").and_then(|node| node.report.clone());
    let filled = filled.expect("it reports");
    assert!(filled.verified_items > KEYS as u64 / 10, "compared with those that gave: {filled:?}");
    let values = live.stop().await;
    zone.check(&["n1", "n2", "n3"], &values).await;
    for at in 0..KEYS {
        zone.cache.set(key(at), "0").latch(LatchPolicy::All).await.expect("all nodes are well");
    }
    let live = Live::start(zone.cache.clone());
    let (_, change) = zone.change(ChangeKind::RemoveNodes, &["n3"], true).await.expect("it can be begun");
    assert_eq!(zone.over(change).await.nodes.len(), 2);
    let values = live.stop().await;
    zone.check(&["n1", "n2"], &values).await;
    zone.nodes.remove("n3").expect("it was added").drain(Duration::from_secs(5)).await;
}

async fn talk(node: &RunningNode, input: &str) -> String {
    let mut stream = TcpStream::connect(node.memcached_addr()).await.expect("it listens");
    stream.write_all(input.as_bytes()).await.expect("it reads");
    stream.write_all(b"quit\r\n").await.expect("it reads");
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.expect("it answers");
    reply
}

/// memcached's own clients know one ring: whatever they write to the old owner, the new one has, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_clients_changes_at_one_owner_reach_the_other() {
    let mut zone = Zone::start().await;
    zone.nodes.insert("n3", node("a", "n3", &zone.discovery).await);
    let (_, change) = zone.change(ChangeKind::AddNodes, &["n3"], true).await.expect("it can be begun");
    let moving = eventually("the next ring is in force", async || {
        let keys = (0..KEYS).map(key);
        let to_new = |key: &String| {
            let owners = zone.cache.owners(key).expect("a good key");
            let old = owners.iter().find(|owner| !owner.written_only)?.node.clone();
            owners.iter().any(|owner| owner.node == "n3").then_some((key.clone(), old))
        };
        let moving: Vec<_> = keys.filter_map(|key| to_new(&key)).take(4).collect();
        (moving.len() == 4).then_some(moving)
    })
    .await;
    let [set, deleted, counted, appended] = &moving[..] else { panic!("{moving:?}") };
    let at = |old: &String| &zone.nodes[old.as_str()];
    let changes = [
        (set, format!("set {} 3 0 5\r\nplain\r\n", set.0), "STORED\r\n"),
        (deleted, format!("delete {}\r\n", deleted.0), "DELETED\r\n"),
        (counted, format!("incr {} 41\r\n", counted.0), "41\r\n"),
        (appended, format!("append {} 0 0 1\r\n!\r\n", appended.0), "STORED\r\n"),
    ];
    for ((_, old), request, reply) in changes {
        assert_eq!(talk(at(old), &request).await, reply, "{request}");
    }
    let expected = [(set, "VALUE"), (deleted, ""), (counted, "41"), (appended, "0!")];
    for ((key, _), value) in expected {
        eventually(&format!("the other owner has {value:?} for {key}"), async || {
            let got = talk(&zone.nodes["n3"], &format!("get {key}\r\n")).await;
            let is_there = if value.is_empty() { got == "END\r\n" } else { got.contains(value) };
            is_there.then_some(())
        })
        .await;
    }
    zone.over(change).await;
    assert_eq!(zone.cache.get(&set.0).await.expect("it answers"), Some("plain".into()));
    assert_eq!(zone.cache.get(&deleted.0).await.expect("it answers"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn change_that_waits_for_a_node_can_be_taken_back() {
    let mut zone = Zone::start().await;
    let (plan, _) = zone.change(ChangeKind::AddNodes, &["n9"], true).await.expect("it can be begun");
    assert!(plan.remarks.iter().any(|remark| remark.contains("n9 is not registered yet")), "{plan:?}");
    let changes = zone.changes().await;
    assert_eq!(changes.groups[0].waits_for, "node n9 to register");
    let abort = AbortChangeRequest { cluster: String::new(), group: "a".to_owned() };
    zone.operator.abort_change(abort.clone()).await.expect("it can be taken back");
    let roster = zone.roster().await;
    assert_eq!((roster.stage(), roster.nodes.len(), roster.others.len()), (Stage::Steady, 2, 0));
    let again = zone.operator.abort_change(abort).await.expect_err("there is none");
    assert!(again.message().contains("no change"), "{again}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_that_takes_the_place_of_another_gets_exactly_its_keys() {
    let mut zone = Zone::start().await;
    zone.nodes.insert("n3", node("a", "n3", &zone.discovery).await);
    let keys: Vec<String> = (0..KEYS).map(key).collect();
    let owner = |cache: &Client, key: &String| cache.owners(key).expect("a good key")[0].node.clone();
    let before: Vec<String> = keys.iter().map(|key| owner(&zone.cache, key)).collect();
    let (_, change) =
        zone.change(ChangeKind::ReplaceNode, &["n2", "n3"], true).await.expect("it can be begun");
    zone.over(change).await;
    eventually("clients have one ring", async || zone.cache.diagnostics().resized.is_empty().then_some(()))
        .await;
    for (key, before) in keys.iter().zip(before) {
        let expected = if before == "n2" { "n3" } else { &before };
        assert_eq!(owner(&zone.cache, key), expected);
    }
    let values = (0..KEYS).map(|at| (at, "0".to_owned())).collect();
    zone.check(&["n1", "n3"], &values).await;
}

/// What only a dead node of the group had comes from a sibling group.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_a_dead_node_that_is_removed_come_from_another_zone() {
    let mut zone = Zone::start().await;
    zone.nodes.insert("other", node("b", "n1", &zone.discovery).await);
    let keys: Vec<String> = (0..KEYS).map(key).collect();
    let other = zone.inside("other").await;
    eventually("the other zone is warm", async || {
        let got = other.get_many(&keys).await.ok()?;
        (got.hits.len() == KEYS).then_some(())
    })
    .await;
    drop(zone.nodes.remove("n2"));
    let (_, change) = zone.change(ChangeKind::RemoveNodes, &["n2"], true).await.expect("it can be begun");
    zone.over(change).await;
    eventually("clients have one ring", async || zone.cache.diagnostics().resized.is_empty().then_some(()))
        .await;
    let values = (0..KEYS).map(|at| (at, "0".to_owned())).collect();
    zone.check(&["n1"], &values).await;
}
