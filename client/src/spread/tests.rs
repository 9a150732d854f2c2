//! What a failed write may have left behind, and writes by clocks that are wrong.

use std::time::Duration;

use evanesce_node::{Node, NodeConfig, RunningNode};
use evanesce_topology::GroupMode;
use tokio::net::TcpListener;

use super::*;
use crate::core::tests::{core, topology};

/// What was seen in review: a delete that no zone took said that it was applied nowhere, though it was on its way to
/// a server group that is only written.
#[tokio::test]
async fn change_that_a_write_only_group_may_have_is_maybe_applied() {
    let filling = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
    let gone = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
    let [filling_at, gone_at] = [&filling, &gone].map(|one| one.local_addr().expect("it is bound"));
    drop(gone);
    let mut topology = topology(1, &format!("a=n1/{gone_at};b=n1/{filling_at}"));
    Arc::make_mut(&mut topology).groups[1].mode = GroupMode::WriteOnly;
    let core = Arc::new(core());
    core.put(topology).expect("a good topology");
    let cluster = core.cluster().expect("it is open");
    let key = Key::new(b"", b"k").expect("a good key");
    let deadline = Instant::now() + Duration::from_secs(10);
    let plan = SpreadPlan::of_all(key, Change::Delete, LatchPolicy::Local, deadline);
    let error = spread(&core, &cluster, plan).await.expect_err("the only zone that counts is gone");
    let WriteError::NotAcknowledged { acked: 0, failed: 1, pending: 0, .. } = error else {
        panic!("{error}")
    };
    assert!(error.maybe_applied());
}

/// Three zones of one node each.
async fn zones() -> (Vec<RunningNode>, String) {
    let (mut nodes, mut list) = (Vec::new(), String::new());
    for zone in ["a", "b", "c"] {
        let listen = vec!["127.0.0.1:0".parse().expect("a good address")];
        let threads = 1.try_into().expect("one is not zero");
        let config =
            NodeConfig { zone: zone.into(), name: "n1".into(), listen, threads, ..NodeConfig::default() };
        let node = Node::start(config).await.expect("the node starts");
        list += &format!("{zone}=n1/{};", node.memcached_addr());
        nodes.push(node);
    }
    (nodes, list.trim_end_matches(';').to_owned())
}

/// A client of them whose clock is wrong from now on.
async fn client(list: &str, ahead_ms: i64) -> (Arc<Core>, Arc<Cluster>) {
    let core = Arc::new(core());
    core.adopt(topology(1, list)).await.expect("a good topology");
    core.clock.correct(&mut [ahead_ms], core.now());
    let cluster = core.cluster().expect("it is open");
    (core, cluster)
}

async fn write(
    (core, cluster): &(Arc<Core>, Arc<Cluster>),
    change: Change,
    latch: LatchPolicy,
) -> Result<Spread, WriteError> {
    let key = Key::new(b"", b"k").expect("a good key");
    let deadline = Instant::now() + Duration::from_secs(10);
    spread(core, cluster, SpreadPlan::of_all(key, change, latch, deadline)).await
}

fn set() -> Change {
    let value = bytes::Bytes::from_static(b"v");
    let exptime = evanesce_wire::request::Exptime(0);
    Change::Store { mode: evanesce_wire::request::SetMode::Set, value, flags: 0, exptime, compare: None }
}

/// What was seen in review: a quorum could not be had any more once two of three nodes had refused the version, so the
/// write failed before the third had answered, and the clock was never put right.
#[tokio::test]
async fn write_by_a_clock_that_jumped_ahead_is_stamped_anew_whatever_its_latch() {
    let (_nodes, list) = zones().await;
    for latch in [LatchPolicy::One, LatchPolicy::Local, LatchPolicy::Quorum, LatchPolicy::All] {
        let client = client(&list, 3_600_000).await;
        let written = write(&client, set(), latch).await.expect("all zones are well").written;
        assert!(written.version.is_some() && !written.is_superseded(), "{latch}: {written:?}");
        assert_eq!(client.0.clock.correction_ms(), 0);
    }
}

/// What was seen in review: a clock that was set back lost every write to a key that others wrote, for as long as it
/// was behind, and nobody looked at it: only what is ahead is refused.
#[tokio::test]
async fn delete_by_a_clock_that_was_set_back_is_stamped_anew() {
    let (_nodes, list) = zones().await;
    let (right, wrong) = (client(&list, 0).await, client(&list, -3_600_000).await);
    write(&right, set(), LatchPolicy::All).await.expect("all zones are well");
    let deleted = write(&wrong, Change::Delete, LatchPolicy::All).await.expect("all zones are well");
    assert!(deleted.found && !deleted.written.is_superseded(), "{deleted:?}");
    assert_eq!(wrong.0.clock.correction_ms(), 0);
}

/// What was seen in review: a delete shortly after a write by a clock two seconds ahead was nothing but superseded.
#[tokio::test]
async fn delete_after_a_write_by_a_clock_that_is_ahead_deletes_it() {
    let (_nodes, list) = zones().await;
    let (right, ahead) = (client(&list, 0).await, client(&list, 2_000).await);
    write(&ahead, set(), LatchPolicy::All).await.expect("all zones are well");
    let deleted = write(&right, Change::Delete, LatchPolicy::All).await.expect("all zones are well");
    assert!(deleted.found && !deleted.written.is_superseded(), "{deleted:?}");
}

/// What was seen in review: a delete that no zone took said that it was applied nowhere, and was carried out all the
/// same once the zones were back.
#[tokio::test]
async fn write_that_is_owed_to_a_node_is_maybe_applied() {
    let gone = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
    let gone_at = gone.local_addr().expect("it is bound");
    drop(gone);
    let client = client(&format!("a=n1/{gone_at}"), 0).await;
    let error = write(&client, Change::Delete, LatchPolicy::Local).await.expect_err("the only zone is gone");
    assert_eq!(client.0.repairs.lock().len(), 1);
    assert!(error.maybe_applied(), "{error}");
}

/// What was seen in review: writes were stamped with the nodes' time and their expiries with this machine's: with a
/// clock an hour behind all that lived shorter was gone as soon as it was stored.
#[test]
fn expiry_by_a_clock_that_is_wrong_is_by_the_nodes_time() {
    let core = core();
    for ahead_ms in [3_600_000, -3_600_000, 0] {
        let before = core.now();
        core.clock.correct(&mut [ahead_ms], before);
        let now = core.nodes_now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        let before = before.duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        let shifted = now.as_millis() as i64 - before.as_millis() as i64;
        assert!((ahead_ms..ahead_ms + 60_000).contains(&shifted), "{ahead_ms} {shifted}");
    }
}

/// The same without luck: the third answer comes last.
#[tokio::test]
async fn quorum_that_was_refused_waits_for_the_last_answer() {
    let (_nodes, list) = zones().await;
    let (core, cluster) = client(&list, 0).await;
    let key = Key::new(b"", b"k").expect("a good key");
    let plan = SpreadPlan::of_all(key, Change::Delete, LatchPolicy::Quorum, Instant::now());
    let race = Race::new(&core, &cluster, &plan);
    for refused in 0..2 {
        race.on_failed(refused, NodeError::ClockRefused);
        assert_eq!(race.state.lock().decide(), Decision::Waiting);
    }
    race.on_failed(2, NodeError::ClockRefused);
    assert_eq!(race.state.lock().decide(), Decision::Impossible);
    assert!(race.is_refused_for_its_clock(Decision::Impossible));
}
