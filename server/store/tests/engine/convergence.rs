//! Two stores that get the same versioned writes and deletes, in whatever order, end up alike.

use evanesce_store::{Delete, Expiry, Store, Time, Version, Write};
use proptest::prelude::{Just, Strategy, any, prop, prop_assert_eq, prop_oneof, proptest};

use crate::kit::{MIB, NOW, Random, seeded, store};

/// A write or a delete with its version.
#[derive(Debug, Clone)]
struct Change {
    key: u8,
    version: Version,
    what: What,
}

#[derive(Debug, Clone)]
enum What {
    /// A set of so many bytes of this kind, that lives for so many milliseconds.
    Set {
        size: usize,
        fill: u8,
        lives_ms: Option<u16>,
    },
    Delete,
}

fn change() -> impl Strategy<Value = Change> {
    let size = prop_oneof![6 => 0usize..40, 1 => 9_000usize..40_000];
    let lives = prop_oneof![2 => Just(None), 1 => (1u16..1000).prop_map(Some)];
    let what = prop_oneof![
        4 => (size, 0u8..3, lives).prop_map(|(size, fill, lives_ms)| What::Set { size, fill, lives_ms }),
        1 => Just(What::Delete),
    ];
    // Few versions, so that many are equal.
    let version = (0u64..6, 0u16..3).prop_map(|(ms, writer)| Version::at(Time(NOW.0 - ms), writer));
    (0u8..5, version, what).prop_map(|(key, version, what)| Change { key, version, what })
}

fn apply(store: &Store, change: &Change, repair: bool) {
    let key = [b'k', change.key];
    let version = Some(change.version);
    match change.what {
        What::Set { size, fill, lives_ms } => {
            let expiry = lives_ms.map_or(Expiry::Never, |ms| Expiry::At(Time(NOW.0 + u64::from(ms))));
            let value = vec![fill; size];
            // Flags are the writer's, so equal versions have equal ones.
            let flags = (change.version.0 & 0xfff) as u32;
            store.write(&Write { flags, expiry, version, repair, ..Write::set(&key, &value) }, NOW);
        }
        What::Delete => {
            store.delete(&Delete { version, ..Delete::key(&key) }, NOW);
        }
    }
}

/// All that a replica can be compared by.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Content {
    key: Vec<u8>,
    version: Version,
    cas: u64,
    flags: u32,
    expiry: Expiry,
    value: Vec<u8>,
}

fn contents(store: &Store) -> Vec<Content> {
    let (mut found, mut next) = (Vec::new(), Some(0));
    while let Some(from) = next {
        next = store.walk(from, NOW, |item| {
            let hit = &item.hit;
            let (key, value) = (item.key.to_vec(), hit.value.contiguous().into_owned());
            let (version, cas, flags, expiry) = (hit.version, hit.cas, hit.flags, hit.expiry);
            found.push(Content { key, version, cas, flags, expiry, value });
        });
    }
    found
}

proptest! {
    #![proptest_config(seeded(if cfg!(miri) { 2 } else { 300 }))]

    #[test]
    fn order_of_versioned_changes_does_not_matter(
        changes in prop::collection::vec(change(), 1..40),
        seed in any::<u64>(),
        repeats in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
        repair in any::<bool>(),
    ) {
        let mut other_order = changes.clone();
        // Some come twice, as they do when replies are lost.
        other_order.extend(repeats.iter().map(|index| index.get(&changes).clone()));
        Random(seed).shuffle(&mut other_order);
        let (one, other) = (store(4 * MIB, 100_000, 2), store(8 * MIB, 100_000, 2));
        changes.iter().for_each(|change| apply(&one, change, false));
        other_order.iter().for_each(|change| apply(&other, change, repair));
        prop_assert_eq!(contents(&one), contents(&other));
        let digest = |store: &Store| store.digest(0..=u64::MAX, Version(0), NOW);
        prop_assert_eq!(digest(&one), digest(&other));
    }

    #[test]
    fn nothing_at_or_below_a_delete_comes_back(
        changes in prop::collection::vec(change(), 1..40),
        deleted in 0u8..5,
        ms in 0u64..6,
    ) {
        let store = store(4 * MIB, 100_000, 2);
        let version = Version::at(Time(NOW.0 - ms), 1);
        apply(&store, &Change { key: deleted, version, what: What::Delete }, false);
        for change in &changes {
            apply(&store, change, false);
            let there = contents(&store).into_iter().find(|content| content.key[1] == deleted);
            prop_assert_eq!(there.filter(|content| content.version <= version), None);
        }
    }
}
