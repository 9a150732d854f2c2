//! Many keys at once.

use evanesce_persister::NearConfig;

use super::*;

fn texts(answers: Vec<Result<Option<evanesce_client::Item>, evanesce_persister::TierError>>) -> Vec<String> {
    let text = |answer| match answer {
        Ok(Some(evanesce_client::Item { value, .. })) => String::from_utf8_lossy(&value).into_owned(),
        Ok(None) => "absent".to_owned(),
        Err(error) => format!("{error}"),
    };
    answers.into_iter().map(text).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn misses_of_many_keys_are_loaded_together_and_answers_keep_the_order_of_keys() {
    let world = World::new().await;
    let gateway = world.gateway("g", mode(Mode::WriteThrough)).await;
    let mut keys: Vec<String> = (0..50).map(|n| format!("user:{n}")).collect();
    for key in &keys[..25] {
        world.store.put(key, &format!("of {key}")).await;
    }
    gateway.set("user:49", "set").await;
    keys.push("user:3".to_owned());
    let expected: Vec<String> = keys
        .iter()
        .enumerate()
        .map(|(at, key)| match at {
            0..25 | 50 => format!("of {key}"),
            49 => "set".to_owned(),
            _ => "absent".to_owned(),
        })
        .collect();
    for round in 0..3 {
        let found = gateway.tier().get_many(&keys).await.expect("sound keys");
        assert_eq!(texts(found), expected, "round {round}");
    }
    assert_eq!(world.store.keys_loaded.load(Ordering::SeqCst), 49, "each once, and not what was there");
    let calls = world.store.loads.load(Ordering::SeqCst);
    assert!(calls <= 3, "{calls} calls for 49 keys, where leases were slow");
    // One key is there twice; one that others were late to bring is missed once more.
    let (loads, misses) = (gateway.number("loads"), gateway.number("misses"));
    assert!(loads == 49 && (50..60).contains(&misses), "{loads} loads, {misses} misses");
    let absent = gateway.number("negative_hits");
    assert!((2 * 24 - (misses - 50)..=2 * 24).contains(&absent), "{absent} of 48, {misses} misses");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn near_cache_answers_for_many_keys_before_the_cluster() {
    let world = World::new().await;
    let near = NearConfig { bytes_max: 1 << 20, ttl: Duration::from_secs(60) };
    let namespace = NamespaceConfig { near: Some(near), ..mode(Mode::ReadThrough) };
    let gateway = world.gateway("g", namespace).await;
    world.store.put("user:1", "near").await;
    let keys = ["user:1", "user:2"];
    let kept = || async {
        assert_eq!(texts(gateway.tier().get_many(&keys).await.expect("sound keys")), ["near", "absent"]);
        let diagnostics = gateway.client.diagnostics();
        diagnostics.near_caches.iter().any(|near| near.bytes > 0)
    };
    eventually("it is kept near", kept).await;
    world.store.put("user:1", "far").await;
    world.client().await.raw().delete("user:1").await.expect("it can be deleted");
    assert_eq!(texts(gateway.tier().get_many(&keys).await.expect("sound keys")), ["near", "absent"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_store_is_left_alone_hits_are_hits_and_each_miss_says_why() {
    let world = World::new().await;
    let limits =
        StoreLimits { breaker_errors: 1, breaker_pause: Duration::from_secs(60), ..StoreLimits::default() };
    let gateway = world.gateway_with("g", mode(Mode::WriteThrough), limits).await;
    gateway.set("user:1", "there").await;
    assert_eq!(gateway.get("user:none").await, None);
    world.store.down.store(true, Ordering::SeqCst);
    let keys = ["user:1", "user:2", "user:none"];
    let first = texts(gateway.tier().get_many(&keys).await.expect("sound keys"));
    assert_eq!(first, ["there", "backing store: the store is down", "absent"]);
    let asked = world.store.loads.load(Ordering::SeqCst);
    let next = texts(gateway.tier().get_many(&keys).await.expect("sound keys"));
    assert!(next[0] == "there" && next[2] == "absent" && next[1].starts_with("backing store: "), "{next:?}");
    assert_eq!(world.store.loads.load(Ordering::SeqCst), asked, "it is left alone");
}
