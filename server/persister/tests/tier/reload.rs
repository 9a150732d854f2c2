//! What a reload changes, and what it refuses.

use super::*;

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
