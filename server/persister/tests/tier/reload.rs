//! What a reload changes, and what it refuses.

use evanesce_client::Version;
use evanesce_persister::{ClusterConfig, Clusters, NearConfig, Reach, Route, StartErrors, TierError};

use super::*;

const OTHER: &str = "other";

impl World {
    /// Of a namespace that lives in the cluster [`OTHER`].
    fn config_elsewhere(&self, namespace: NamespaceConfig) -> Config {
        let namespace = NamespaceConfig { cluster: Some(OTHER.to_owned()), ..namespace };
        let cluster = ClusterConfig { cluster: "OTHER".to_owned(), discoveries: Vec::new(), zone: None };
        Config {
            clusters: BTreeMap::from([(OTHER.to_owned(), cluster)]),
            ..self.config("g", &namespace, StoreLimits::default())
        }
    }
}

fn others(reach: Reach) -> BTreeMap<String, Reach> {
    BTreeMap::from([(OTHER.to_owned(), reach)])
}

fn unreached() -> BTreeMap<String, Reach> {
    others(Reach::Unreached("it is away".into()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_cluster_that_is_away_at_the_start_goes_down_once_it_is_reached() {
    let world = World::new().await;
    let (own, other) = (Arc::new(world.client().await), Arc::new(world.client().await));
    let config = world.config_elsewhere(mode(Mode::WriteBehind));
    let start = async |others| {
        let clusters = Clusters { own: Arc::clone(&own), others };
        Persister::start(clusters, config.clone()).await.expect("it starts")
    };
    world.store.down.store(true, Ordering::SeqCst);
    let persister = start(others(Reach::Reached(Arc::clone(&other)))).await;
    let tier = persister.tier_of(b"user:1").expect("it is configured");
    tier.set(b"user:1", "waits".into(), 7, Ttl::Never).await.expect("the log takes it");
    assert_eq!(persister.close(Instant::now()).await, 1);
    drop((tier, persister));
    world.store.down.store(false, Ordering::SeqCst);

    let persister = start(unreached()).await;
    assert!(matches!(persister.route(b"user:1"), Route::Nowhere(TierError::Unreached { .. })));
    assert_eq!(world.store.value("user:1").await, None);
    persister.reload_over(others(Reach::Reached(other)), config.clone()).await.expect("it is served");
    let is_down = || async { world.store.value("user:1").await.is_some() };
    eventually("it goes down", is_down).await;
}

/// A client keeps the near cache of a namespace as it was first made, and nobody is told that another is in force.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn near_cache_that_is_there_does_not_change_and_one_of_another_client_may() {
    let world = World::new().await;
    let near = |bytes_max, secs| Some(NearConfig { bytes_max, ttl: Duration::from_secs(secs) });
    let with = |near| {
        let namespace = NamespaceConfig { near, ..mode(Mode::ReadThrough) };
        world.config("g", &namespace, StoreLimits::default())
    };
    let client = world.client().await;
    let persister = Persister::start(client.clone(), with(None)).await.expect("it starts");
    persister.reload(with(near(1 << 20, 60))).await.expect("there is none yet");
    assert_eq!(client.diagnostics().near_caches.len(), 1);
    persister.reload(with(near(1 << 20, 60))).await.expect("it is the same");
    for other in [near(2 << 20, 60), near(1 << 20, 30), None] {
        let StartErrors(faults) = persister.reload(with(other)).await.expect_err("it would not be done");
        assert!(faults.len() == 1 && faults[0].contains("near_cache and near_ttl change at a restart"));
    }
    persister.reload(Config::default()).await.expect("nobody asks for it");
    let again = persister.reload(with(near(2 << 20, 60))).await;
    again.expect_err("the client has it still");
    persister.reload(with(near(1 << 20, 60))).await.expect("it is the same");

    let elsewhere = NamespaceConfig { near: near(2 << 20, 60), ..mode(Mode::ReadThrough) };
    let (elsewhere, other) = (world.config_elsewhere(elsewhere), Arc::new(world.client().await));
    let moved = persister.reload_over(others(Reach::Reached(Arc::clone(&other))), elsewhere).await;
    moved.expect("another client has none yet");
    assert_eq!(other.diagnostics().near_caches.len(), 1);
}

/// What was seen: a reload cut off what was on its way to the store, which got it twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_on_its_way_at_a_reload_ends_and_goes_once() {
    let world = World::new().await;
    let gateway = world.gateway("g", mode(Mode::WriteBehind)).await;
    world.store.slow_ms.store(500, Ordering::SeqCst);
    gateway.set("user:1", "once").await;
    let is_on_its_way = || async { world.store.writes.load(Ordering::SeqCst) == 1 };
    eventually("it goes", is_on_its_way).await;
    let other = NamespaceConfig { ttl: Duration::from_secs(77), ..mode(Mode::WriteBehind) };
    let other = world.config("g", &other, StoreLimits::default());
    gateway.persister.reload(other).await.expect("it may change");
    eventually("it is there", || async { gateway.number("log_waiting") == 0 }).await;
    assert_eq!(world.store.writes.load(Ordering::SeqCst), 1);
    // The next goes through those that drain now.
    gateway.set("user:1", "next").await;
    eventually("it is there", || async { gateway.number("log_waiting") == 0 }).await;
    assert_eq!(world.store.value("user:1").await, Some("next".into()));
}

/// What was seen: after a start with a clock that had been set back, what was written was older than what waited of its key, and was
/// acknowledged and lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_after_the_clock_was_set_back_is_newer_than_what_waits() {
    let world = World::new().await;
    let ahead = world.gateway("g", mode(Mode::WriteBehind)).await;
    let milliseconds = |count: u64| count << 22;
    let later = ahead.client.stamp().as_u64() + milliseconds(3_000);
    ahead.client.stamp_above(Version::from_u64(later).expect("of 63 bits"));
    world.store.down.store(true, Ordering::SeqCst);
    ahead.set("user:1", "older").await;
    assert_eq!(ahead.persister.close(Instant::now()).await, 1);
    drop(ahead);
    let gateway = world.gateway("g", mode(Mode::WriteBehind)).await;
    gateway.set("user:1", "newer").await;
    world.store.down.store(false, Ordering::SeqCst);
    eventually("it is there", || async { gateway.number("log_waiting") == 0 }).await;
    assert_eq!(world.store.value("user:1").await, Some("newer".into()));
    assert_eq!(gateway.get("user:1").await, Some("newer".into()));
}
