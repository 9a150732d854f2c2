//! What the home zone decides, and the others follow.

use std::time::Duration;

use evanesce_client::{
    ArithmeticOutcome, Client, CompareAndSetOutcome, LatchPolicy, StoreOutcome, WriteError,
};
use tokio::task::JoinSet;

use crate::cluster::{Cluster, eventually};

const ZONES: [&str; 3] = ["a", "b", "c"];

async fn in_every_zone(cluster: &Cluster, key: &str) -> Vec<Option<String>> {
    let mut values = Vec::new();
    for zone in ZONES {
        let value = cluster.inside(zone).await.get(key).await.expect("it answers");
        values.push(value.map(|value| String::from_utf8_lossy(&value).into_owned()));
    }
    values
}

fn all(value: &str) -> Vec<Option<String>> {
    vec![Some(value.to_owned()); 3]
}

async fn client(cluster: &Cluster) -> Client {
    cluster.client("b").await
}

#[tokio::test]
async fn appends_reach_every_zone_with_flags_and_ttl_kept() {
    let cluster = Cluster::start(&ZONES).await;
    let cache = client(&cluster).await;
    assert_eq!(cache.append("k", "x").await, Ok(StoreOutcome::NotStored));
    cache.set("k", "b").flags(7).ttl(Duration::from_secs(100)).latch(LatchPolicy::All).await.expect("well");
    let appended = cache.append("k", "c").latch(LatchPolicy::All).await.expect("all zones are well");
    let prepended = cache.prepend("k", "a").latch(LatchPolicy::All).await.expect("all zones are well");
    for outcome in [appended, prepended] {
        let StoreOutcome::Stored(written) = outcome else { panic!("{outcome:?}") };
        assert_eq!((written.acked, written.failed, written.pending), (3, 0, 0));
    }
    assert_eq!(in_every_zone(&cluster, "k").await, all("abc"));
    for zone in ZONES {
        let item = cluster.inside(zone).await.get_item("k").await.expect("it answers").expect("it is there");
        let ttl = item.ttl.expect("it expires").as_secs();
        assert!(item.flags == 7 && (95..=102).contains(&ttl), "{item:?}");
    }
}

/// What was seen: what was put behind a key of which it was remembered that there is none was stored, it was said, and nobody could
/// read it.
#[tokio::test]
async fn append_to_what_is_remembered_to_be_absent_is_not_stored() {
    let cluster = Cluster::start(&ZONES).await;
    let cache = client(&cluster).await;
    for keys in [cache.raw().clone(), cache.namespace("typed")] {
        let nothing = |_| async { Ok::<_, std::io::Error>(None) };
        let load = keys.get_or_load("k", nothing).absent_ttl(Duration::from_secs(60));
        assert_eq!(load.await.expect("it answers"), None);
        eventually("the mark", async || keys.get_for_cas("k").with_absent().await.expect("well")).await;
        for joined in [keys.append("k", "x").await, keys.prepend("k", "x").await] {
            assert_eq!(joined, Ok(StoreOutcome::NotStored));
        }
        assert_eq!(keys.get("k").await, Ok(None));
        keys.set("k", "b").latch(LatchPolicy::All).await.expect("all zones are well");
        assert!(matches!(keys.append("k", "c").await, Ok(StoreOutcome::Stored(_))));
        assert_eq!(keys.get("k").await, Ok(Some("bc".into())));
    }
}

/// `may_retry` said yes of a count that only other zones lacked: whoever followed it counted twice.
#[tokio::test]
async fn count_that_misses_its_latch_is_not_to_be_sent_again() {
    let mut cluster = Cluster::start(&ZONES).await;
    let cache = client(&cluster).await;
    cache.incr("n", 1).initial(1).latch(LatchPolicy::All).await.expect("all zones are well");
    cluster.kill("c").await;
    let error = eventually("the death is noticed", async || {
        let error = cache.incr("n", 1).latch(LatchPolicy::All).await.err();
        error.filter(|error| matches!(error, WriteError::NotAcknowledged { decided: true, .. }))
    })
    .await;
    assert!(error.maybe_applied() && !error.may_retry(), "{error}");
}

#[tokio::test]
async fn counts_of_many_callers_add_up_in_every_zone() {
    let cluster = Cluster::start(&ZONES).await;
    let cache = client(&cluster).await;
    assert_eq!(cache.incr("n", 1).await, Ok(ArithmeticOutcome::NotFound));
    let made = cache.incr("n", 1).initial(40).latch(LatchPolicy::All).await.expect("all zones are well");
    assert_eq!(made.number(), Some(40));
    let mut callers = JoinSet::new();
    for zone in ZONES {
        for _ in 0..10 {
            let cache = cluster.client(zone).await;
            callers.spawn(async move { cache.incr("n", 2).await.expect("all zones are well").number() });
        }
    }
    let mut numbers: Vec<_> = callers.join_all().await.into_iter().flatten().collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=30).map(|n| 40 + 2 * n).collect::<Vec<_>>(), "each number was given once");
    // The last result settles what results that overtook each other left.
    let last = cache.decr("n", 1).latch(LatchPolicy::All).await.expect("all zones are well");
    assert_eq!(last.number(), Some(99));
    // As in memcached, a number that lost a digit keeps its length.
    assert_eq!(in_every_zone(&cluster, "n").await, all("99 "));
    assert_eq!(cache.decr("n", 1_000).latch(LatchPolicy::All).await.expect("well").number(), Some(0));
}

#[tokio::test]
async fn arithmetic_on_a_word_is_told_and_changes_nothing() {
    let cluster = Cluster::start(&ZONES).await;
    let cache = client(&cluster).await;
    cache.set("k", "word").latch(LatchPolicy::All).await.expect("all zones are well");
    assert_eq!(cache.incr("k", 1).await, Ok(ArithmeticOutcome::NotANumber));
    assert_eq!(in_every_zone(&cluster, "k").await, all("word"));
}

#[tokio::test]
async fn one_of_many_compares_wins_and_every_zone_has_its_value() {
    let cluster = Cluster::start(&ZONES).await;
    let cache = client(&cluster).await;
    assert_eq!(cache.compare_and_set("k", 1, "x").await, Ok(CompareAndSetOutcome::NotFound));
    cache.set("k", "old").latch(LatchPolicy::All).await.expect("all zones are well");
    let token = cache.get_for_cas("k").await.expect("it answers").expect("it is there").cas;
    let mut callers = JoinSet::new();
    for zone in ZONES {
        let cache = cluster.client(zone).await;
        let latch = LatchPolicy::All;
        callers.spawn(async move { (zone, cache.compare_and_set("k", token, zone).latch(latch).await) });
    }
    let outcomes = callers.join_all().await;
    let won = outcomes.iter().filter(|(_, outcome)| matches!(outcome, Ok(CompareAndSetOutcome::Stored(_))));
    let won: Vec<_> = won.map(|(zone, _)| *zone).collect();
    assert_eq!(won.len(), 1, "{outcomes:?}");
    assert_eq!(in_every_zone(&cluster, "k").await, all(won[0]));
}

#[tokio::test]
async fn next_zone_decides_while_the_home_zone_is_away() {
    let mut cluster = Cluster::start(&ZONES).await;
    let cache = client(&cluster).await;
    for n in 0..20 {
        cache.set(format!("n{n}"), "1").latch(LatchPolicy::All).await.expect("all zones are well");
    }
    cluster.kill("a").await;
    for n in 0..20 {
        let counted = cache.incr(format!("n{n}"), 1).latch(LatchPolicy::One).await.expect("two are left");
        assert_eq!(counted.number(), Some(2));
    }
}

#[tokio::test]
async fn count_goes_on_at_a_home_zone_that_lost_it() {
    let mut cluster = Cluster::start(&["a", "b", "c"]).await;
    let cache = client(&cluster).await;
    for key in 0..20 {
        let counted = cache.incr(format!("n{key}"), 5).initial(100).latch(LatchPolicy::All).await;
        assert_eq!(counted.expect("all zones are well").number(), Some(100));
        cache.set(format!("s{key}"), "v").latch(LatchPolicy::All).await.expect("all zones are well");
    }
    // Each zone is the home of some of them.
    for zone in ["a", "b", "c"] {
        cluster.kill(zone).await;
        cluster.start_again(zone).await;
        eventually("both nodes of the zone are back", async || {
            let others = (0..20).map(|key| (format!("other{key}"), "v"));
            let outcome = cache.set_many(others).latch(LatchPolicy::All).await.expect("keys are good");
            outcome.is_complete().then_some(())
        })
        .await;
        for key in 0..20 {
            let counted = cache.incr(format!("n{key}"), 1).initial(7).latch(LatchPolicy::All).await;
            let counted = counted.expect("all zones are well").number().expect("it is a number");
            assert!((101..=103).contains(&counted), "{counted}");
            let appended = cache.append(format!("s{key}"), "w").latch(LatchPolicy::All).await;
            assert!(appended.expect("all zones are well").is_stored());
        }
    }
    for key in 0..20 {
        for zone in ["a", "b", "c"] {
            let alone = cluster.inside(zone).await;
            assert_eq!(alone.get(format!("n{key}")).await, Ok(Some("103".into())), "{zone}");
            assert_eq!(alone.get(format!("s{key}")).await, Ok(Some("vwww".into())), "{zone}");
        }
    }
}
