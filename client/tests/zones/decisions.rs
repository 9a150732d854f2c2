//! What one zone decides while the others, or some clients, see things in another way.

use std::net::SocketAddr;
use std::time::Duration;

use evanesce_client::{ArithmeticOutcome, Client, LatchPolicy, StoreOutcome, WriteError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::cluster::{Cluster, PATIENCE, eventually};

const ZONES: [&str; 3] = ["a", "b", "c"];

/// Keys enough that each zone is the home of some.
const KEYS: usize = 12;

/// What was seen in a soak: a home zone was given back an old value by whoever found it first, and decided on that.
#[tokio::test]
async fn home_zone_with_an_old_value_decides_on_the_newest() {
    let cluster = Cluster::start(&ZONES).await;
    let cache = cluster.client("b").await;
    for newest in ZONES {
        for key in 0..KEYS {
            let key = format!("{newest}{key}");
            for zone in ZONES.iter().filter(|zone| **zone != newest).chain([&newest]) {
                let value = if *zone == newest { "70" } else { "1" };
                cluster.inside(zone).await.set(&key, value).await.expect("it is well");
            }
            let counted = cache.incr(&key, 1).latch(LatchPolicy::All).await.expect("all zones are well");
            assert_eq!(counted.number(), Some(71), "{key}");
        }
    }
}

/// What was seen in review: a delete that had come to one zone only was acknowledged, and what the home zone still had was
/// appended to, later than the delete.
#[tokio::test]
async fn delete_that_one_zone_knows_is_not_undone_by_what_is_decided_next() {
    let cluster = Cluster::start(&ZONES).await;
    let cache = cluster.client("b").await;
    for knows in ZONES {
        let inside = cluster.inside(knows).await;
        for key in 0..KEYS {
            let key = format!("{knows}{key}");
            cache.set(&key, "1").latch(LatchPolicy::All).await.expect("all zones are well");
            inside.delete(&key).await.expect("it is well");
            let appended = cache.append(&key, "2").await.expect("all zones are well");
            assert_eq!(appended, StoreOutcome::NotStored, "{key}");
            let counted = cache.incr(&key, 1).initial(5).latch(LatchPolicy::All).await;
            assert_eq!(counted.expect("all zones are well").number(), Some(5), "{key}");
        }
    }
}

/// A home zone that had lost the key in a restart let everybody have the lock that somebody held.
#[tokio::test]
async fn key_that_its_home_zone_has_lost_is_not_added_again() {
    let mut cluster = Cluster::start(&ZONES).await;
    let cache = cluster.client("b").await;
    for key in 0..KEYS {
        let added = cache.add(format!("k{key}"), "held").latch(LatchPolicy::All).await;
        assert!(added.expect("all zones are well").is_stored());
    }
    for zone in ZONES {
        cluster.kill(zone).await;
        cluster.start_again(zone).await;
        back(&cache).await;
        for key in 0..KEYS {
            let added = cache.add(format!("k{key}"), "mine, too").await;
            assert_eq!(added, Ok(StoreOutcome::NotStored), "k{key} after {zone} came back");
        }
    }
}

/// What was seen in a soak: the home zone was killed when it had counted, and acknowledged, and before any other zone had
/// the number. The latch was met all the same, for the home zone was the local one.
#[tokio::test]
async fn count_that_no_other_zone_has_yet_is_not_acknowledged() {
    let mut cluster = Cluster::start(&ZONES).await;
    let before = cluster.client("b").await;
    for key in 0..KEYS {
        before.set(format!("n{key}"), "1").latch(LatchPolicy::All).await.expect("all zones are well");
    }
    let mut brakes = Vec::new();
    for zone in ["b", "c"] {
        for name in ["n1", "n2"] {
            brakes.push(cluster.with_brake(zone, name).await);
        }
    }
    let cache = cluster.builder("a").write_timeout(Duration::from_millis(200)).hedge(0.0);
    let cache = cache.connect().await.expect("a list needs no discovery");
    // Asks the others once, while they answer: from then on zone a goes on by itself where it is at home.
    for key in 0..KEYS {
        cache.incr(format!("n{key}"), 1).await.expect("all zones are well");
    }
    brakes.iter().for_each(|brake| assert!(brake.send(true).is_ok()));
    for key in 0..KEYS {
        let error =
            cache.incr(format!("n{key}"), 1).latch(LatchPolicy::One).await.expect_err("they are silent");
        assert!(!matches!(error, WriteError::Busy | WriteError::Closed), "{error}");
    }
    brakes.iter().for_each(|brake| assert!(brake.send(false).is_ok()));
}

/// Counts until told otherwise. Returns how many counts were acknowledged, and how many may have been made.
async fn count(cache: Client, times: usize) -> (u64, u64) {
    let (mut acked, mut maybe) = (0, 0);
    for _ in 0..times {
        match cache.incr("n", 1).await {
            Ok(_) => acked += 1,
            Err(error) => maybe += u64::from(error.maybe_applied()),
        }
    }
    (acked, maybe)
}

/// Clients that cannot reach a key's home zone, while others can, let another zone decide: what both decided at the same
/// time went on as two histories, and one of them was lost with all that had been acknowledged.
#[tokio::test]
async fn counts_of_clients_that_see_different_zones_are_acknowledged_once_or_not_at_all() {
    for away in ZONES {
        let cluster = Cluster::start(&ZONES).await;
        let cache = cluster.client("b").await;
        cache.set("n", "0").latch(LatchPolicy::All).await.expect("all zones are well");
        let mut callers = JoinSet::new();
        for caller in 0..6 {
            let cache = match caller % 2 {
                0 => cluster.client("c").await,
                _ => cluster.without(away).await,
            };
            callers.spawn(count(cache, 50));
        }
        let counted = callers.join_all().await;
        let acked: u64 = counted.iter().map(|(acked, _)| acked).sum();
        let maybe: u64 = counted.iter().map(|(_, maybe)| maybe).sum();
        // What was overtaken is given to the zones that it was lost in.
        let last =
            eventually("a count by who sees all", async || cache.incr("n", 1).await.ok()?.number()).await;
        assert!((acked + 1..=acked + maybe + 1).contains(&last), "{acked} acked, {maybe} unknown: {last}");
    }
}

/// All that is acknowledged is there after each zone was killed in turn, with counts under way.
#[tokio::test]
async fn counts_that_were_acknowledged_outlive_every_zone_in_turn() {
    let mut cluster = Cluster::start(&ZONES).await;
    let cache = cluster.client("b").await;
    cache.set("n", "0").latch(LatchPolicy::All).await.expect("all zones are well");
    let (mut acked, mut maybe) = (0, 0);
    for zone in ZONES {
        let mut callers = JoinSet::new();
        for zone in ZONES {
            for _ in 0..3 {
                callers.spawn(count(cluster.client(zone).await, 60));
            }
        }
        cluster.kill(zone).await;
        for (more, unknown) in callers.join_all().await {
            acked += more;
            maybe += unknown;
        }
        cluster.start_again(zone).await;
        back(&cache).await;
        let found = cache.incr("n", 1).latch(LatchPolicy::All).await.expect("all zones are well").number();
        let found = found.expect("it is a number");
        let most = acked + maybe + 1;
        assert!((acked + 1..=most).contains(&found), "{zone}: {acked} acked, {maybe} unknown: {found}");
        (acked, maybe) = (found, 0);
    }
}

/// Somebody was promised, and went away: all that the home zone decided from then on was overtaken by that promise.
#[tokio::test]
async fn promise_of_which_nothing_came_ends_one_decision_and_no_more() {
    let cluster = Cluster::start(&ZONES).await;
    let cache = cluster.client("b").await;
    for key in (0..KEYS).map(|key| format!("p{key}")) {
        cache.set(&key, "0").latch(LatchPolicy::All).await.expect("all zones are well");
        let counted = cache.incr(&key, 1).await.expect("all zones are well");
        let ArithmeticOutcome::Counted { written, .. } = counted else { panic!("{counted:?}") };
        let last = written.version.expect("nodes keep versions").as_u64();
        // By the second in the key's order, and two milliseconds later.
        let promised = (((last >> 12) + (2 << 10)) << 12) | 3;
        for name in ["n1", "n2"] {
            promise(cluster.address("c", name), &key, promised).await;
        }
        let mut failed = 0;
        while let Err(error) = cache.incr(&key, 1).await {
            failed += 1;
            assert!(failed < 3, "{key}: {error}");
        }
    }
}

/// Has a node promise to agree to nothing older.
async fn promise(node: SocketAddr, key: &str, least: u64) {
    let mut stream = TcpStream::connect(node).await.expect("it listens");
    stream.write_all(format!("mg {key} V H{least}\r\n").as_bytes()).await.expect("it reads");
    let mut answer = [0; 256];
    let length = stream.read(&mut answer).await.expect("it answers");
    let answer = String::from_utf8_lossy(&answer[..length]);
    assert!(answer.contains(&format!("H{least}")), "{answer}");
}

/// Until both nodes of every zone are there.
async fn back(cache: &Client) {
    eventually("all nodes are there", async || {
        let others = (0..20).map(|key| (format!("other{key}"), "v"));
        let outcome = cache.set_many(others).latch(LatchPolicy::All).await.expect("keys are good");
        outcome.is_complete().then_some(())
    })
    .await;
}

/// What was seen in chaos: the answer of the zone that decided was lost, and what it had decided stayed there alone.
#[tokio::test]
async fn zones_agree_again_after_an_outcome_that_nobody_knows() {
    let mut cluster = Cluster::start(&["a", "b", "c"]).await;
    let brakes = [cluster.with_brake("c", "n1").await, cluster.with_brake("c", "n2").await];
    let timeout = Duration::from_millis(200);
    let cache =
        cluster.builder("a").write_timeout(timeout).connect().await.expect("a list needs no discovery");
    let keys: Vec<String> = (0..24).map(|key| format!("number-{key}")).collect();
    for key in &keys {
        cache.incr(key, 1).initial(1).timeout(PATIENCE).await.expect("all zones are well");
    }
    for brake in &brakes {
        brake.send_replace(true);
    }
    // All at once: nobody knows yet that zone c is ill.
    let mut counts = JoinSet::new();
    for key in keys.clone() {
        let cache = cache.clone();
        counts.spawn(async move { cache.incr(key, 1).await.is_err_and(|error| error.maybe_applied()) });
    }
    let unknown = counts.join_all().await.into_iter().filter(|is_unknown| *is_unknown).count();
    assert_ne!(unknown, 0, "of so many keys zone c decides some");
    for brake in &brakes {
        brake.send_replace(false);
    }
    let inside = [cluster.inside("a").await, cluster.inside("b").await, cluster.inside("c").await];
    // As a request does that arrives when nobody waits for its answer any more.
    for key in &keys {
        inside[0].set(key, "7").await.expect("it is well");
    }
    eventually("all zones have the same", async || {
        for key in &keys {
            let first = inside[0].get(key).await.ok()?;
            for other in &inside[1..] {
                (other.get(key).await.ok()? == first).then_some(())?;
            }
            assert_eq!(first, Some("7".into()));
        }
        Some(())
    })
    .await;
}
