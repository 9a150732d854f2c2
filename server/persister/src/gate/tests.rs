use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::future::{BoxFuture, join_all};
use tokio::sync::Semaphore;

use super::*;
use crate::store::{Applied, Change};

/// A store that counts its calls, and holds them until it is let go.
struct Held {
    calls: AtomicUsize,
    most: AtomicUsize,
    under_way: AtomicUsize,
    keys: Mutex<Vec<usize>>,
    go: Semaphore,
    fails: AtomicBool,
    key_by_key: bool,
    writes_key_by_key: bool,
}

impl Held {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            calls: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            under_way: AtomicUsize::new(0),
            keys: Mutex::default(),
            go: Semaphore::new(0),
            fails: AtomicBool::new(false),
            key_by_key: false,
            writes_key_by_key: false,
        })
    }

    async fn call<T>(&self, keys: usize, answer: impl Fn() -> T) -> Vec<Result<T, StoreError>> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let under_way = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(under_way, Ordering::SeqCst);
        self.keys.lock().push(keys);
        let go = self.go.acquire().await.expect("never closed");
        go.forget();
        self.under_way.fetch_sub(1, Ordering::SeqCst);
        match self.fails.load(Ordering::SeqCst) {
            true => failed_all(keys, &StoreError::transient("gone")),
            false => (0..keys).map(|_| Ok(answer())).collect(),
        }
    }
}

impl BackingStore for Held {
    fn kind(&self) -> &'static str {
        "held"
    }

    fn abilities(&self) -> Abilities {
        let value_bytes_max = 1 << 20;
        Abilities { writes: true, versions: true, flags: true, expiry: true, value_bytes_max, batch_max: 10 }
    }

    fn asks_key_by_key(&self) -> bool {
        self.key_by_key
    }

    fn writes_key_by_key(&self) -> bool {
        self.key_by_key || self.writes_key_by_key
    }

    fn load<'a>(&'a self, keys: &'a [Bytes], _deadline: Instant) -> BoxFuture<'a, Vec<Loaded>> {
        Box::pin(self.call(keys.len(), || None))
    }

    fn write<'a>(&'a self, changes: &'a [KeyChange], _deadline: Instant) -> BoxFuture<'a, Vec<Outcome>> {
        Box::pin(self.call(changes.len(), || Applied::Yes))
    }

    fn check(&self, _deadline: Instant) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

fn key(n: usize) -> Bytes {
    format!("k{n}").into()
}

/// What was seen: 193 requests at once at a service that was to have 32, for each call of a gate was 16 requests.
#[tokio::test(start_paused = true)]
async fn store_that_asks_key_by_key_is_given_one_key_a_call_and_has_no_more_under_way() {
    let mut store = Held::new();
    Arc::get_mut(&mut store).expect("ours alone").key_by_key = true;
    let limits = StoreLimits { concurrency_max: 8, ..StoreLimits::default() };
    let gate = Arc::new(Gate::new(Arc::clone(&store) as _, limits));
    let budget = Budget::new(512);
    let load = |n| {
        let (gate, budget) = (Arc::clone(&gate), budget.clone());
        tokio::spawn(async move { gate.load(key(n), &budget, soon()).await })
    };
    let loads: Vec<_> = (0..100).map(load).collect();
    let changes: Vec<KeyChange> =
        (0..100).map(|n| KeyChange { key: key(n), version: 1, change: Change::Delete }).collect();
    store.go.add_permits(200);
    assert_eq!(gate.write_many(&changes).await.len(), 100);
    assert!(join_all(loads).await.into_iter().all(|loaded| loaded.expect("it ends") == Ok(None)));
    assert_eq!(store.keys.lock().iter().max(), Some(&1));
    assert!(store.most.load(Ordering::SeqCst) <= 8, "{:?}", store.most);
}

#[tokio::test(start_paused = true)]
async fn store_that_only_writes_key_by_key_is_loaded_from_by_the_batch() {
    let mut store = Held::new();
    Arc::get_mut(&mut store).expect("ours alone").writes_key_by_key = true;
    let limits = StoreLimits { concurrency_max: 4, ..StoreLimits::default() };
    let gate = Arc::new(Gate::new(Arc::clone(&store) as _, limits));
    let budget = Budget::new(512);
    store.go.add_permits(200);
    let changes: Vec<KeyChange> =
        (0..50).map(|n| KeyChange { key: key(n), version: 1, change: Change::Delete }).collect();
    assert_eq!(gate.write_many(&changes).await.len(), 50);
    let writes = changes.iter().map(|change| gate.write(change.clone(), &budget, soon()));
    assert!(join_all(writes).await.into_iter().all(|written| written.is_ok()));
    assert_eq!(store.keys.lock().split_off(0), [1; 100]);
    let loads = (0..50).map(|n| gate.load(key(n), &budget, soon()));
    assert!(join_all(loads).await.into_iter().all(|loaded| loaded == Ok(None)));
    assert_eq!(store.keys.lock().iter().max(), Some(&10), "{:?}", store.keys);
}

/// What was seen: each of many thousands of misses that were refused had taken and given back a lease before, and all were late.
#[tokio::test(start_paused = true)]
async fn key_that_would_be_refused_is_told_before_it_comes() {
    let store = Held::new();
    let limits = StoreLimits { concurrency_max: 1, queue_max: 2, ..StoreLimits::default() };
    let gate = Arc::new(Gate::new(Arc::clone(&store) as _, limits));
    let (wide, narrow) = (Budget::new(512), Budget::new(1));
    assert_eq!(gate.refusal(&narrow), None);
    let load = |n, budget: &Budget| {
        let (gate, budget) = (Arc::clone(&gate), budget.clone());
        tokio::spawn(async move { gate.load(key(n), &budget, soon()).await })
    };
    let first = load(1, &narrow);
    while store.under_way.load(Ordering::SeqCst) < 1 {
        tokio::task::yield_now().await;
    }
    let told = gate.refusal(&narrow).expect("its place is taken");
    assert!(told.message.contains("of this namespace"), "{told}");
    assert_eq!(gate.refusal(&wide), None);
    let second = load(2, &wide);
    tokio::task::yield_now().await;
    assert!(gate.refusal(&wide).is_some(), "all places are taken");
    store.go.add_permits(2);
    assert!(
        first.await.is_ok_and(|loaded| loaded.is_ok()) && second.await.is_ok_and(|loaded| loaded.is_ok())
    );
    assert_eq!(gate.refusal(&narrow), None);
}

#[tokio::test(start_paused = true)]
async fn store_never_sees_more_calls_than_it_should_and_what_waits_goes_together() {
    let store = Held::new();
    let limits =
        StoreLimits { concurrency_max: 2, timeout: Duration::from_secs(60), ..StoreLimits::default() };
    let gate = Arc::new(Gate::new(Arc::clone(&store) as _, limits));
    let budget = Budget::new(512);
    let load = |n| {
        let (gate, budget) = (Arc::clone(&gate), budget.clone());
        tokio::spawn(async move { gate.load(key(n), &budget, soon()).await })
    };
    let loads: Vec<_> = (0..100).map(load).collect();
    while store.under_way.load(Ordering::SeqCst) < 2 {
        tokio::task::yield_now().await;
    }
    store.go.add_permits(1000);
    for loaded in join_all(loads).await {
        assert_eq!(loaded.expect("it does not panic"), Ok(None));
    }
    assert_eq!(store.most.load(Ordering::SeqCst), 2);
    assert_eq!(store.keys.lock().iter().sum::<usize>(), 100);
    assert!(store.calls.load(Ordering::SeqCst) <= 20, "{:?}", store.keys.lock());
}

#[tokio::test(start_paused = true)]
async fn too_many_who_wait_are_refused_at_once_and_none_waits_beyond_its_deadline() {
    let store = Held::new();
    let limits = StoreLimits { concurrency_max: 1, queue_max: 3, ..StoreLimits::default() };
    let gate = Gate::new(Arc::clone(&store) as _, limits);
    let (small, large) = (Budget::new(1), Budget::new(9));
    let begun = Instant::now();
    let soon = begun + Duration::from_secs(1);
    let keys = [(0, &small), (1, &small), (2, &large), (3, &large), (4, &large)];
    let loads = join_all(keys.map(|(n, budget)| gate.load(key(n), budget, soon))).await;
    let told: Vec<String> = loads.into_iter().map(|l| l.expect_err("none is answered").to_string()).collect();
    assert!(told[1].contains("too many keys of this namespace"), "{told:?}");
    assert!(told[4].contains("too many keys wait"), "{told:?}");
    assert!([0, 2, 3].iter().all(|n| told[*n].contains("did not answer in time")), "{told:?}");
    assert!(begun.elapsed() <= Duration::from_secs(1) + CUT_AFTER);
}

#[tokio::test(start_paused = true)]
async fn rate_holds_however_many_come() {
    let store = Held::new();
    store.go.add_permits(1_000_000);
    let limits = StoreLimits { rate_max: Some(100), queue_max: 10_000, ..StoreLimits::default() };
    let gate = Gate::new(Arc::clone(&store) as _, limits);
    let (budget, begun) = (Budget::new(10_000), Instant::now());
    let loads = join_all((0..1_000).map(|n| gate.load(key(n), &budget, soon()))).await;
    assert!(loads.iter().all(|loaded| *loaded == Ok(None)));
    assert!(begun.elapsed() >= Duration::from_millis(9_900), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn ill_store_is_left_alone_and_asked_again_when_it_is_back() {
    let store = Held::new();
    store.go.add_permits(1_000_000);
    store.fails.store(true, Ordering::SeqCst);
    let gate =
        Gate::new(Arc::clone(&store) as _, StoreLimits { breaker_errors: 2, ..StoreLimits::default() });
    let budget = Budget::new(10);
    for n in 0..2 {
        assert_eq!(gate.load(key(n), &budget, soon()).await, Err(StoreError::transient("gone")));
    }
    let refused = gate.load(key(3), &budget, soon()).await.expect_err("it is ill");
    assert!(refused.to_string().contains("left alone"), "{refused}");
    assert_eq!((store.calls.load(Ordering::SeqCst), gate.breaker()), (2, "open"));
    store.fails.store(false, Ordering::SeqCst);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(gate.load(key(4), &budget, soon()).await, Ok(None));
    assert_eq!(gate.breaker(), "closed");
}

#[tokio::test(start_paused = true)]
async fn two_changes_of_a_key_go_one_after_the_other() {
    let store = Held::new();
    store.go.add_permits(1_000_000);
    let gate =
        Gate::new(Arc::clone(&store) as _, StoreLimits { concurrency_max: 1, ..StoreLimits::default() });
    let budget = Budget::new(10);
    let change = |version| KeyChange { key: key(0), version, change: Change::Delete };
    let writes = join_all([1, 2].map(|version| gate.write(change(version), &budget, soon()))).await;
    assert!(writes.into_iter().all(|written| written.is_ok_and(|applied| applied == Applied::Yes)));
    assert_eq!(*store.keys.lock(), [1, 1]);
}

/// What was seen: a namespace whose callers wait for less than the store's own time opened the breaker for all.
#[tokio::test(start_paused = true)]
async fn callers_who_go_early_do_not_make_the_store_ill() {
    let store = Held::new();
    let limits =
        StoreLimits { breaker_errors: 1, timeout: Duration::from_secs(10), ..StoreLimits::default() };
    let gate = Gate::new(Arc::clone(&store) as _, limits);
    let budget = Budget::new(10);
    let impatient = Instant::now() + Duration::from_secs(1);
    let late = gate.load(key(0), &budget, impatient).await.expect_err("it is held");
    assert!(late.to_string().contains("did not answer in time"), "{late}");
    assert_eq!(gate.breaker(), "closed");
    store.go.add_permits(2);
    assert_eq!(gate.load(key(1), &budget, soon()).await, Ok(None));
    assert_eq!(gate.breaker(), "closed");
}
