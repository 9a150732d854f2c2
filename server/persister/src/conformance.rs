//! The suite that every backing store must pass, the same for each. It panics with what went wrong.
//!
//! What a store says it cannot do ([`Abilities`]) is left out, and [`all`] tells what was.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use crate::clock::unix_now;
use crate::store::{Abilities, Applied, BackingStore, Change, ErrorKind, KeyChange, Loaded, StoreItem};

/// How long one call may take: slow machines, cold stores.
const CALL: Duration = Duration::from_secs(20);

/// How long an item that expires in two seconds may stay visible: stores count whole seconds, and some lag.
const EXPIRY: Duration = Duration::from_secs(15);

/// The size of a big value: what a cluster takes as one item by default, less room for a key and head.
const BIG_BYTES: usize = 1_000_000;

/// The keys of one run of the suite in one store.
#[derive(Clone, Copy)]
pub struct Suite<'a> {
    store: &'a dyn BackingStore,
    prefix: &'a str,
}

impl std::fmt::Debug for Suite<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "suite {} against {}", self.prefix, self.store.kind())
    }
}

/// Runs everything against `store`, with keys that begin with `prefix`: another one each run, where the store remembers.
/// Returns what was left out, since the store says that it cannot do it.
///
/// # Panics
///
/// Where the store does not do what it must.
pub async fn all(store: &dyn BackingStore, prefix: &str) -> Vec<&'static str> {
    let suite = Suite { store, prefix };
    store.check(soon()).await.expect("the store is there");
    suite.misses().await;
    if !store.abilities().writes {
        return vec!["everything that writes"];
    }
    suite.items_come_back_as_they_were().await;
    suite.batches_answer_for_each_key().await;
    suite.deletes().await;
    suite.big_and_empty_values().await;
    suite.keys_of_any_bytes().await;
    suite.same_change_again().await;
    suite.too_large_is_permanent().await;
    let (can, mut left_out) = (store.abilities(), Vec::new());
    match can.versions {
        true => suite.older_is_refused().await,
        false => left_out.push("older versions"),
    }
    match can.expiry {
        true => suite.expires().await,
        false => left_out.push("expiry"),
    }
    left_out
}

fn soon() -> Instant {
    Instant::now() + CALL
}

/// An item that does not expire.
fn item(value: impl Into<Bytes>, flags: u32) -> StoreItem {
    StoreItem { value: value.into(), flags, expires_at: None, version: None }
}

impl Suite<'_> {
    fn abilities(&self) -> Abilities {
        self.store.abilities()
    }

    /// A key of this run.
    pub fn key(&self, name: impl AsRef<[u8]>) -> Bytes {
        [self.prefix.as_bytes(), name.as_ref()].concat().into()
    }

    async fn load(&self, keys: &[Bytes]) -> Vec<Loaded> {
        let loaded = self.store.load(keys, soon()).await;
        assert_eq!(loaded.len(), keys.len(), "one answer for each key");
        loaded
    }

    async fn get(&self, key: &Bytes) -> Option<StoreItem> {
        let loaded = self.load(std::slice::from_ref(key)).await.pop().expect("one answer");
        loaded.unwrap_or_else(|error| panic!("{key:?} cannot be loaded: {error}"))
    }

    /// The value, whatever else the store can or cannot keep.
    async fn value(&self, key: &Bytes) -> Option<Bytes> {
        self.get(key).await.map(|item| item.value)
    }

    async fn write(&self, changes: &[KeyChange]) -> Vec<Applied> {
        let outcomes = self.store.write(changes, soon()).await;
        assert_eq!(outcomes.len(), changes.len(), "one answer for each change");
        let each = outcomes.into_iter().map(|outcome| outcome.expect("it can be written"));
        each.collect()
    }

    async fn put(&self, key: &Bytes, version: u64, item: StoreItem) -> Applied {
        let change = KeyChange { key: key.clone(), version, change: Change::Put(item) };
        self.write(&[change]).await[0]
    }

    async fn delete(&self, key: &Bytes, version: u64) -> Applied {
        let change = KeyChange { key: key.clone(), version, change: Change::Delete };
        self.write(&[change]).await[0]
    }

    /// What was never written is absent, alone and among many.
    pub async fn misses(&self) {
        assert_eq!(self.get(&self.key("never")).await, None);
        let keys: Vec<Bytes> = (0..10).map(|n| self.key(format!("never {n}"))).collect();
        assert!(self.load(&keys).await.iter().all(|loaded| *loaded == Ok(None)));
        assert!(self.load(&[]).await.is_empty());
    }

    /// Value, flags, expiry and version, for those that keep them.
    pub async fn items_come_back_as_they_were(&self) {
        let (key, at) = (self.key("item"), unix_now() + 3600);
        let can = self.abilities();
        let flags = if can.flags { 0xdead_beef } else { 0 };
        let expires_at = can.expiry.then_some(at);
        self.put(&key, 1_000, StoreItem { expires_at, ..item("value", flags) }).await;
        let found = self.get(&key).await.expect("it was just written");
        assert_eq!((&found.value[..], found.flags), (&b"value"[..], flags));
        if can.versions {
            assert_eq!(found.version, Some(1_000));
        }
        // Stores that count what is left of a life may be off by what the call took.
        let off = found.expires_at.map(|found| found.abs_diff(at));
        assert!(off.is_none_or(|off| off <= 2), "expires {off:?} s off");
        assert_eq!(off.is_some(), can.expiry);
    }

    /// Hits, misses and writes of one batch are told apart, in order; more than the store takes at once is not asked.
    pub async fn batches_answer_for_each_key(&self) {
        let many = self.abilities().batch_max.min(200);
        let keys: Vec<Bytes> = (0..many).map(|n| self.key(format!("batch {n}"))).collect();
        let written = keys.iter().enumerate().filter(|(n, _)| n % 3 != 0);
        let changes: Vec<KeyChange> = written
            .map(|(n, key)| {
                let change = Change::Put(item(format!("value {n}"), 0));
                KeyChange { key: key.clone(), version: 1_000 + n as u64, change }
            })
            .collect();
        assert!(self.write(&changes).await.iter().all(|applied| *applied == Applied::Yes));
        for (n, loaded) in self.load(&keys).await.into_iter().enumerate() {
            let value = loaded.expect("it can be loaded").map(|item| item.value);
            assert_eq!(value, (n % 3 != 0).then(|| format!("value {n}").into()), "key {n}");
        }
    }

    /// Deletes what is there, what is not, and both together with a write.
    pub async fn deletes(&self) {
        let (key, other) = (self.key("deleted"), self.key("beside deleted"));
        self.put(&key, 1_000, item("here", 0)).await;
        let changes = [
            KeyChange { key: key.clone(), version: 1_001, change: Change::Delete },
            KeyChange { key: other.clone(), version: 1_001, change: Change::Put(item("other", 0)) },
        ];
        assert_eq!(self.write(&changes).await, [Applied::Yes, Applied::Yes]);
        assert_eq!(self.value(&key).await, None);
        assert_eq!(self.value(&other).await, Some("other".into()));
        assert_eq!(self.delete(&self.key("was never there"), 1_000).await, Applied::Yes);
        assert_eq!(self.put(&key, 1_002, item("again", 0)).await, Applied::Yes);
        assert_eq!(self.value(&key).await, Some("again".into()));
    }

    /// Values of no byte, of all bytes, and of as many as an item may have.
    pub async fn big_and_empty_values(&self) {
        let all: Vec<u8> = (0..=255).collect();
        let big = BIG_BYTES.min(self.abilities().value_bytes_max);
        let big: Vec<u8> = (0..big).map(|n| (n * 31 % 251) as u8).collect();
        for (name, value) in [("empty", Vec::new()), ("binary", all), ("big", big)] {
            let key = self.key(name);
            self.put(&key, 1_000, item(value.clone(), 0)).await;
            let found = self.value(&key).await.expect("it was just written");
            assert!(found == value, "the {name} value came back as another, of {} bytes", found.len());
        }
    }

    /// Keys are bytes: text of any script, control characters, no text at all, and 250 of them.
    pub async fn keys_of_any_bytes(&self) {
        let longest = vec![b'k'; 250 - self.prefix.len()];
        let names: [&[u8]; 8] = [
            "šifra-ключ-鍵-🗝".as_bytes(),
            b"with space/and:more?#%25'\"\\",
            b"..",
            b"a/../b//",
            b"\x00\x01\r\n\x7f",
            b"\xff\xfe\x80",
            b"Case",
            &longest,
        ];
        for (n, name) in names.iter().enumerate() {
            let value = format!("of name {n}");
            assert_eq!(self.put(&self.key(name), 1_000, item(value, 0)).await, Applied::Yes);
        }
        for (n, name) in names.iter().enumerate() {
            assert_eq!(self.value(&self.key(name)).await, Some(format!("of name {n}").into()), "{name:?}");
        }
        assert_eq!(self.value(&self.key("case")).await, None, "keys differ by case");
    }

    /// A retry of what arrived does no harm.
    pub async fn same_change_again(&self) {
        let key = self.key("again");
        for _ in 0..2 {
            assert_eq!(self.put(&key, 1_000, item("once", 3)).await, Applied::Yes);
        }
        assert_eq!(self.value(&key).await, Some("once".into()));
        for _ in 0..2 {
            assert_eq!(self.delete(&key, 1_001).await, Applied::Yes);
        }
        assert_eq!(self.value(&key).await, None);
    }

    /// An older write or delete changes nothing, nor does an older write behind a delete.
    pub async fn older_is_refused(&self) {
        let key = self.key("versions");
        assert_eq!(self.put(&key, 2_000, item("new", 0)).await, Applied::Yes);
        // Stores that do not tell what they refused may say yes, as Cassandra does; none may do it.
        self.put(&key, 1_999, item("old", 0)).await;
        assert_eq!(self.value(&key).await, Some("new".into()), "an older write replaced a newer one");
        self.delete(&key, 1_998).await;
        assert_eq!(self.value(&key).await, Some("new".into()), "an older delete took a newer write");
        self.delete(&key, 3_000).await;
        self.put(&key, 2_500, item("old", 0)).await;
        assert_eq!(self.value(&key).await, None, "an older write came back behind a delete");
        self.put(&key, 3_001, item("newest", 0)).await;
        assert_eq!(self.value(&key).await, Some("newest".into()));
        let large = 0x7fff_ffff_ffff_fff0;
        self.put(&self.key("large version"), large, item("v", 0)).await;
        self.put(&self.key("large version"), large - 1, item("older", 0)).await;
        assert_eq!(self.value(&self.key("large version")).await, Some("v".into()));
    }

    /// What has expired is not shown, whether it was written so or does so now.
    pub async fn expires(&self) {
        let (dead, short, long) = (self.key("expired"), self.key("short"), self.key("long"));
        let with = |at| StoreItem { expires_at: Some(at), ..item("v", 0) };
        self.put(&dead, 1_000, item("before", 0)).await;
        self.put(&dead, 1_001, with(unix_now() - 10)).await;
        assert_eq!(self.value(&dead).await, None, "it had expired when it was written");
        self.put(&short, 1_000, with(unix_now() + 2)).await;
        self.put(&long, 1_000, with(unix_now() + 3600)).await;
        let begun = Instant::now();
        while self.value(&short).await.is_some() {
            assert!(begun.elapsed() < EXPIRY, "it should have expired");
            sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(self.value(&long).await, Some("v".into()));
    }

    /// A value that the store cannot take is refused for good, and takes no other of its batch along.
    pub async fn too_large_is_permanent(&self) {
        let most = self.abilities().value_bytes_max;
        if most > 64 << 20 {
            return;
        }
        let (large, small) = (self.key("too large"), self.key("beside too large"));
        let of = |key: &Bytes, bytes| KeyChange {
            key: key.clone(),
            version: 1_000,
            change: Change::Put(item(vec![b'x'; bytes], 0)),
        };
        let outcomes = self.store.write(&[of(&large, most + 1), of(&small, 1)], soon()).await;
        let refused = outcomes[0].as_ref().expect_err("it is too large");
        assert_eq!(refused.kind, ErrorKind::Permanent, "{refused}");
        assert_eq!(outcomes[1], Ok(Applied::Yes));
        assert_eq!(self.value(&large).await, None);
    }
}
