//! What is made of what a key has.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn decisions_are_made_of_what_the_store_has_and_go_down() {
    let world = World::new().await;
    for (name, written) in [("through", Mode::WriteThrough), ("behind", Mode::WriteBehind)] {
        let gateway = world.gateway(name, mode(written)).await;
        let key = format!("user:count {name}");
        world.store.put(&key, "41").await;
        let tier = gateway.tier();
        let count = || {
            tier.decide(key.as_bytes(), |item| {
                let Some(item) = item else { return Step::Leave("absent") };
                let number: u64 = String::from_utf8_lossy(&item.value).parse().expect("a number");
                Step::Store { value: (number + 1).to_string().into(), flags: item.flags, ttl: Ttl::Never }
            })
        };
        for counted in join_all((0..50).map(|_| count())).await {
            assert!(matches!(counted, Ok(Decided::Stored(_))), "{counted:?}");
        }
        let down = || async { world.store.value(&key).await == Some("91".into()) };
        eventually("the count goes down", down).await;
        assert_eq!(gateway.get(&key).await, Some("91".into()));
        let left = tier.decide(b"user:no such", |_| Step::Leave("absent")).await;
        assert_eq!(left.expect("it can be read"), Decided::Left("absent"));
    }
}

/// Another value, and the expiry of what is there.
fn changed(item: Option<&evanesce_client::Item>) -> Step<()> {
    let Some(item) = item else { return Step::Leave(()) };
    Step::Change { value: [&item.value[..], b"+"].concat().into(), flags: item.flags }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn item_that_is_changed_expires_in_the_store_when_it_would_have() {
    let world = World::new().await;
    for (name, written) in [("through", Mode::WriteThrough), ("behind", Mode::WriteBehind)] {
        let gateway = world.gateway(name, mode(written)).await;
        let (tier, far) = (gateway.tier(), u64::from(u32::MAX));
        for (key, ttl, expires_at) in [("never", Ttl::Never, None), ("far", Ttl::At(far), Some(far))]
            .map(|(k, t, e)| (format!("user:{name} {k}"), t, e))
        {
            tier.set(key.as_bytes(), "v".into(), 3, ttl).await.expect("it is stored");
            for _ in 0..2 {
                let decided = tier.decide(key.as_bytes(), changed).await;
                assert!(matches!(decided, Ok(Decided::Stored(_))), "{decided:?}");
            }
            let down = || async { world.store.value(&key).await == Some("v++".into()) };
            eventually("it goes down", down).await;
            let below = world.store.items.load(&[key.clone().into()], Instant::now()).await.remove(0);
            assert_eq!(below.expect("in memory").expect("it is there").expires_at, expires_at, "{key}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn decision_that_the_store_has_something_newer_than_is_made_again_of_that() {
    let world = World::new().await;
    let gateway = world.gateway("g", mode(Mode::WriteThrough)).await;
    gateway.set("user:1", "old").await;
    // Another gateway's, whose clock is a little ahead, and which the cluster does not have yet.
    let there = world.store.items.load(&["user:1".into()], Instant::now()).await.remove(0);
    let version = there.expect("in memory").expect("it is there").version.expect("it has one");
    let item = StoreItem { value: "new".into(), flags: 0, expires_at: None, version: None };
    let ahead = KeyChange { key: "user:1".into(), version: version + (1 << 62), change: Change::Put(item) };
    world.store.items.write(&[ahead], Instant::now()).await.remove(0).expect("in memory");
    let mut seen = Vec::new();
    let tier = gateway.tier();
    let decided = tier.decide(b"user:1", |item| {
        seen.push(item.map(|item| item.value.clone()));
        if item.is_some_and(|item| item.value == "new") { Step::Leave(()) } else { changed(item) }
    });
    assert_eq!(decided.await.expect("it is decided"), Decided::Left(()));
    assert_eq!(seen, [Some(Bytes::from("old")), Some("new".into())]);
    assert_eq!(gateway.get("user:1").await, Some("new".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn set_that_has_expired_already_is_a_delete() {
    let world = World::new().await;
    let gateway = world.gateway("g", mode(Mode::WriteThrough)).await;
    gateway.set("user:1", "v").await;
    gateway.tier().set(b"user:1", "w".into(), 0, Ttl::After(Duration::ZERO)).await.expect("it is taken");
    let below = world.store.items.load(&["user:1".into()], Instant::now()).await.remove(0);
    assert_eq!(below.expect("in memory").map(|item| item.value), None);
    assert_eq!(gateway.get("user:1").await, None);
}

/// What was seen: a touch wrote what the cluster had down over a newer row of the store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_expiry_goes_down_with_what_the_store_has_and_not_with_an_older_copy() {
    let world = World::new().await;
    let gateway = world.gateway("g", mode(Mode::WriteThrough)).await;
    gateway.set("user:1", "old").await;
    let there = world.store.items.load(&["user:1".into()], Instant::now()).await.remove(0);
    let version = there.expect("in memory").expect("it is there").version.expect("it has one");
    let item = StoreItem { value: "newer".into(), flags: 9, expires_at: None, version: None };
    let newer = KeyChange { key: "user:1".into(), version: version + 1, change: Change::Put(item) };
    world.store.items.write(&[newer], Instant::now()).await.remove(0).expect("in memory");
    assert_eq!(gateway.get("user:1").await, Some("old".into()));
    let far = Ttl::At(u64::from(u32::MAX));
    let tier = gateway.tier();
    let touched =
        tier.decide(b"user:1", |item| if item.is_some() { Step::Expire(far) } else { Step::Leave(()) });
    assert!(matches!(touched.await, Ok(Decided::Stored(_))));
    let below = world.store.items.load(&["user:1".into()], Instant::now()).await.remove(0);
    let below = below.expect("in memory").expect("it is there");
    assert_eq!(
        (&below.value[..], below.flags, below.expires_at),
        (&b"newer"[..], 9, Some(u64::from(u32::MAX)))
    );
    assert_eq!(gateway.get("user:1").await, Some("newer".into()));
}

/// What was seen: while the store was down, what was known to be absent was answered with an error.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn absence_that_is_remembered_is_the_answer_while_the_store_is_down() {
    let world = World::new().await;
    let gateway = world.gateway("g", mode(Mode::ReadThrough)).await;
    assert_eq!(gateway.get("user:none").await, None);
    world.store.down.store(true, Ordering::SeqCst);
    let opens = || async {
        let _ = gateway.tier().get(b"user:2").await;
        gateway.number("breaker_is_open") == 1
    };
    eventually("the breaker opens", opens).await;
    let known = gateway.tier().get(b"user:none").await;
    assert_eq!(known.expect("it is known").map(|item| item.value), None);
}
