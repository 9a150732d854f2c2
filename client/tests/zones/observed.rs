//! Spans and metrics as others see them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use evanesce_client::{Client, LatchPolicy, StaticNodes};
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::{Dispatch, Event, Level, Subscriber, span};

use crate::cluster::{Cluster, PATIENCE};

/// Spans and events under the client's target: name and fields, in the order of their beginning.
#[derive(Clone)]
struct Spans {
    level: Level,
    seen: Arc<Mutex<Vec<Seen>>>,
}

/// Its name and its fields.
type Seen = (&'static str, BTreeMap<&'static str, String>);

struct Fields<'a>(&'a mut BTreeMap<&'static str, String>);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

impl Subscriber for Spans {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "evanesce_client" && *metadata.level() <= self.level
    }

    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        let mut fields = BTreeMap::new();
        attributes.record(&mut Fields(&mut fields));
        let mut seen = self.seen.lock();
        seen.push((attributes.metadata().name(), fields));
        span::Id::from_u64(seen.len() as u64)
    }

    fn record(&self, span: &span::Id, values: &span::Record<'_>) {
        let at = usize::try_from(span.into_u64()).expect("few spans") - 1;
        values.record(&mut Fields(&mut self.seen.lock()[at].1));
    }

    fn event(&self, event: &Event<'_>) {
        let mut fields = BTreeMap::new();
        event.record(&mut Fields(&mut fields));
        self.seen.lock().push((event.metadata().name(), fields));
    }

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

impl Spans {
    fn at(level: Level) -> Self {
        Self { level, seen: Arc::default() }
    }

    /// All of this name, as `field=value` in the order of the fields' names.
    fn named(&self, name: &str) -> Vec<String> {
        let seen = self.seen.lock();
        let named = seen.iter().filter(|(seen, _)| *seen == name);
        named
            .map(|(_, fields)| {
                let fields: Vec<_> = fields.iter().map(|(field, value)| format!("{field}={value}")).collect();
                fields.join(" ")
            })
            .collect()
    }
}

/// To be held while spans are looked at. With one subscriber in the process `tracing` asks that of the present thread about
/// a new call site, and other tests' threads have none: nobody would be told of the call site any more.
fn another_subscriber() -> Dispatch {
    Dispatch::new(Spans::at(Level::ERROR))
}

async fn work(cache: &Client) {
    let users = cache.namespace("user").latch(LatchPolicy::All);
    users.set("1", "v").await.expect("all zones are well");
    users.get("1").await.expect("it answers");
    users.get_many(["1", "2"]).await.expect("good keys");
    users
        .get_or_load("3", |_| async { Ok::<_, std::io::Error>(Some("loaded".into())) })
        .await
        .expect("it is loaded");
    users.get("").await.expect_err("no key");
    users.incr("4", 1).initial(1).await.expect("all zones are well");
}

#[tokio::test]
async fn spans_have_the_documented_fields() {
    let cluster = Cluster::start(&["a", "b"]).await;
    let cache = cluster.builder("a").miss_fallback(0.0).connect().await.expect("a list needs no discovery");
    let _another = another_subscriber();
    let spans = Spans::at(Level::TRACE);
    let guard = tracing::subscriber::set_default(spans.clone());
    work(&cache).await;
    drop(guard);
    let operation =
        |operation, outcome| format!("cluster=HOME namespace=user operation={operation} outcome={outcome}");
    assert_eq!(
        spans.named("evanesce_client.operation"),
        [
            operation("set", "done"),
            operation("get", "hit"),
            operation("get_many", "partial"),
            operation("get_or_load", "hit"),
            operation("get", "unusable"),
            operation("incr", "done"),
        ]
    );
    assert_eq!(spans.named("evanesce_client.load"), ["cluster=HOME namespace=user outcome=hit"]);
    let attempts = spans.named("evanesce_client.attempt");
    assert_eq!(attempts[0], "outcome=hit zone=a");
    assert!(attempts.iter().all(|attempt| attempt.ends_with("zone=a")), "{attempts:?}");
    let batches = spans.named("evanesce_client.node_batch");
    assert!((1..=2).contains(&batches.len()), "one for each node: {batches:?}");
    let writes = spans.named("evanesce_client.write");
    assert!(writes.len() > 2 && writes.iter().all(|write| write == "outcome=done"), "{writes:?}");
    let decisions = spans.named("evanesce_client.decision");
    assert!(decisions.iter().any(|decision| decision == "outcome=done"), "{decisions:?}");
    let mut replicas = spans.named("evanesce_client.replica");
    replicas.truncate(2);
    replicas.sort_unstable();
    assert_eq!(replicas, ["outcome=done zone=a", "outcome=done zone=b"]);
}

#[tokio::test]
async fn nothing_is_told_above_the_level_that_is_asked_for() {
    let cluster = Cluster::start(&["a"]).await;
    let cache = cluster.client("a").await;
    let _another = another_subscriber();
    for (level, operations) in [(Level::DEBUG, 6), (Level::INFO, 0)] {
        let spans = Spans::at(level);
        let guard = tracing::subscriber::set_default(spans.clone());
        work(&cache).await;
        drop(guard);
        assert_eq!(spans.named("evanesce_client.operation").len(), operations);
        for name in ["attempt", "node_batch", "write", "decision", "replica"] {
            assert_eq!(spans.named(&format!("evanesce_client.{name}")), [""; 0]);
        }
        cache.delete("user:3").await.expect("the zone is well");
        cache.delete("user:4").await.expect("the zone is well");
    }
}

/// Counters by name and labels.
#[derive(Default)]
struct Counters(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

impl Counters {
    fn value(&self, name: &str) -> Option<u64> {
        self.0.lock().get(name).map(|counter| counter.load(Ordering::SeqCst))
    }

    fn cross_zone(&self, direction: &str, zone: &str) -> Option<u64> {
        let name = "evanesce_client_cross_zone_bytes_total";
        self.value(&format!("{name} cluster=HOME direction={direction} zone={zone}"))
    }
}

impl Recorder for Counters {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let labels = key.labels().map(|label| format!(" {}={}", label.key(), label.value()));
        let name = key.name().to_owned() + &labels.collect::<String>();
        Counter::from_arc(Arc::clone(self.0.lock().entry(name).or_default()))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[tokio::test]
async fn bytes_of_other_zones_are_counted_and_those_of_ones_own_are_not() {
    let mut cluster = Cluster::start(&["a", "b"]).await;
    let counters = Counters::default();
    let guard = metrics::set_default_local_recorder(&counters);
    let cache = cluster.client("a").await.namespace("n").latch(LatchPolicy::All);
    let between =
        |least: u64, bytes: Option<u64>| bytes.is_some_and(|bytes| (least..least + 200).contains(&bytes));
    cache.set("k", vec![7; 10_000]).await.expect("all zones are well");
    for _ in 0..9 {
        cache.get("k").await.expect("it answers");
    }
    assert!(
        between(10_000, counters.cross_zone("written", "b")),
        "{:?}",
        counters.cross_zone("written", "b")
    );
    assert!(between(1, counters.cross_zone("read", "b")), "{:?}", counters.cross_zone("read", "b"));
    cluster.kill("a").await;
    assert!(cache.get("k").await.expect("the other zone answers").is_some());
    assert!(between(10_000, counters.cross_zone("read", "b")), "{:?}", counters.cross_zone("read", "b"));
    assert_eq!(counters.cross_zone("read", "a"), None);
    drop(guard);
}

#[tokio::test]
async fn client_without_a_zone_knows_of_no_other() {
    let cluster = Cluster::start(&["a"]).await;
    let counters = Counters::default();
    let guard = metrics::set_default_local_recorder(&counters);
    let nodes = StaticNodes::new().node("a", "n1", cluster.address("a", "n1"));
    let builder = Client::builder("HOME").nodes(nodes).read_timeout(PATIENCE);
    let cache = builder.read_attempt_timeout(PATIENCE).connect().await.expect("a list needs no discovery");
    cache.get("k").timeout(Duration::from_secs(5)).await.expect("it answers");
    assert_eq!(counters.cross_zone("read", "a"), None);
    drop(guard);
}
