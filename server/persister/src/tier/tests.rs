//! What only the tier's own parts can bring about.

use std::collections::BTreeMap;

use evanesce_client::StaticNodes;
use evanesce_node::{Node, NodeConfig, RunningNode};
use futures_util::future::BoxFuture;

use super::*;
use crate::config::{Config, StoreConfig};
use crate::log::LogError;
use crate::persister::Persister;
use crate::store::{Abilities, BackingStore, KeyChange, Outcome, failed_all};
use crate::stores::StoreSettings;
use crate::stores::memory::Memory;

/// A store that is there for nobody.
#[derive(Debug, Clone, Default)]
struct Away(Arc<Memory>);

impl BackingStore for Away {
    fn kind(&self) -> &'static str {
        "away"
    }

    fn abilities(&self) -> Abilities {
        self.0.abilities()
    }

    fn load<'a>(&'a self, keys: &'a [Bytes], _deadline: Instant) -> BoxFuture<'a, Vec<Loaded>> {
        Box::pin(async { failed_all(keys.len(), &StoreError::transient("it is away")) })
    }

    fn write<'a>(&'a self, changes: &'a [KeyChange], _deadline: Instant) -> BoxFuture<'a, Vec<Outcome>> {
        Box::pin(async { failed_all(changes.len(), &StoreError::transient("it is away")) })
    }

    fn check(&self, _deadline: Instant) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async { Err(StoreError::transient("it is away")) })
    }
}

impl StoreSettings for Away {
    fn faults(&self) -> Vec<String> {
        Vec::new()
    }

    fn open(&self) -> BoxFuture<'_, Result<Arc<dyn BackingStore>, StoreError>> {
        Box::pin(async { Ok(Arc::new(self.clone()) as Arc<dyn BackingStore>) })
    }
}

/// A namespace whose writes wait, and what they wait in.
struct Behind {
    tier: Arc<Tier>,
    _persister: Persister,
    _node: RunningNode,
    _directory: tempfile::TempDir,
}

impl Behind {
    async fn new() -> Self {
        let node = Node::start(NodeConfig::default()).await.expect("a node");
        let nodes: StaticNodes = format!("a=a1/{}", node.memcached_addr()).parse().expect("a sound node");
        let patience = Duration::from_secs(30);
        let client = Client::builder("AWAY").nodes(nodes).zone("a").write_timeout(patience);
        let client = client.read_timeout(patience).read_attempt_timeout(patience).connect().await;
        let directory = tempfile::tempdir().expect("a directory");
        let store = StoreConfig {
            settings: Arc::new(Away::default()),
            written: toml::Table::new(),
            limits: Default::default(),
        };
        let namespace = NamespaceConfig {
            mode: Mode::WriteBehind,
            store: Some("main".to_owned()),
            ..NamespaceConfig::default()
        };
        let config = Config {
            stores: BTreeMap::from([("main".to_owned(), store)]),
            namespaces: BTreeMap::from([("user".to_owned(), namespace)]),
            log_dir: Some(directory.path().to_owned()),
            ..Config::default()
        };
        let persister =
            Persister::start(client.expect("the node is there"), config).await.expect("it starts");
        let tier = persister.tier_of(b"user:1").expect("it is configured");
        Self { tier, _persister: persister, _node: node, _directory: directory }
    }

    /// A write of `user:1` waits that was stamped by a clock which was so much ahead.
    async fn with_one_from_ahead(ahead: Duration) -> Self {
        let behind = Self::new().await;
        let millis = u64::try_from(ahead.as_millis()).expect("some seconds");
        let version = behind.tier.client.stamp().as_u64() + (millis << 22);
        let item = StoreItem { value: "waits".into(), flags: 0, expires_at: None, version: None };
        let change = KeyChange { key: "user:1".into(), version, change: Change::Put(item) };
        let log = behind.tier.log.as_ref().expect("it has one");
        log.append(change, None).await.expect("there is room");
        behind
    }

    fn waits(&self) -> Option<Bytes> {
        let waiting = self.tier.log.as_ref()?.find(b"user:1").expect("it can be read")?;
        match waiting.change.change {
            Change::Put(item) => Some(item.value),
            Change::Delete => None,
        }
    }
}

/// What was seen in review: after a clock had been set back by more than nodes forgive, what was written was acknowledged, and lost to
/// what waited.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn write_that_a_clock_set_back_makes_older_than_what_waits_is_refused() {
    let behind = Behind::with_one_from_ahead(Duration::from_secs(60)).await;
    let is_told = |error: &TierError| {
        matches!(error, TierError::Log(LogError::Overtaken { .. }))
            && error.to_string().contains("set the clock right")
    };
    let refused = behind.tier.set(b"user:1", "newer".into(), 0, Ttl::Never).await;
    assert!(refused.as_ref().is_err_and(is_told), "{refused:?}");
    let refused = behind.tier.delete(b"user:1").await;
    assert!(refused.as_ref().is_err_and(is_told), "{refused:?}");
    let step = |_: Option<&Item>| Step::<()>::Store { value: "decided".into(), flags: 0, ttl: Ttl::Never };
    let refused = behind.tier.decide(b"user:1", step).await;
    assert!(refused.as_ref().is_err_and(is_told), "{refused:?}");
    assert_eq!(behind.waits(), Some("waits".into()));
    behind.tier.set(b"user:2", "another".into(), 0, Ttl::Never).await.expect("nothing waits of that key");
}

/// What was seen in review: a home node whose clock is behind decided what was older than what waited: it was acknowledged, and lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn decision_that_is_older_than_what_waits_is_made_again() {
    let behind = Behind::with_one_from_ahead(Duration::from_secs(2)).await;
    let step = |item: Option<&Item>| match item {
        Some(item) if item.value == "waits" => {
            Step::<()>::Change { value: "waits, decided".into(), flags: item.flags }
        }
        _ => panic!("nobody wrote anything else"),
    };
    let decided = behind.tier.decide(b"user:1", step).await;
    assert!(matches!(decided, Ok(Decided::Stored(_))), "{decided:?}");
    assert_eq!(behind.waits(), Some("waits, decided".into()));
    let shown = behind.tier.get(b"user:1").await.expect("it is known").expect("it is there");
    assert_eq!(shown.value, "waits, decided");
}

/// What was seen in review: what was overtaken was acknowledged, and lost, where it had not been overtaken on its way but by a clock
/// that was set back since.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn write_that_is_older_than_what_waits_is_stamped_anew() {
    let behind = Behind::with_one_from_ahead(Duration::from_secs(2)).await;
    behind.tier.set(b"user:1", "newer".into(), 0, Ttl::Never).await.expect("it is done");
    assert_eq!(behind.waits(), Some("newer".into()));
    let behind = Behind::with_one_from_ahead(Duration::from_secs(2)).await;
    behind.tier.delete(b"user:1").await.expect("it is done");
    assert_eq!(behind.waits(), None);
    assert_eq!(behind.tier.get(b"user:1").await.expect("it is known"), None);
}

/// What was seen in review: each write that was refused took this gateway's clock along, and its stamps were ahead of all others'.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clock_far_ahead_is_not_followed_half_way() {
    let behind = Behind::with_one_from_ahead(Duration::from_secs(60)).await;
    let before = behind.tier.client.stamp().stamped_at();
    behind.tier.set(b"user:1", "newer".into(), 0, Ttl::Never).await.expect_err("it is refused");
    let after = behind.tier.client.stamp().stamped_at();
    let passed = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later");
    assert!(after >= before && after <= UNIX_EPOCH + passed + Duration::from_secs(1));
}

/// What was seen: after the clock was set back by an hour, what waited was shown for that hour over what others had written
/// to the store meanwhile.
#[test]
fn change_is_fresh_for_five_seconds_and_never_when_the_clock_was_set_back() {
    assert!(is_fresh(1_000, 1_000) && is_fresh(1_000, 5_999));
    assert!(!is_fresh(1_000, 6_000) && !is_fresh(3_600_000, 1_000));
}
