//! Comparing stores against a naive twin, without a network between them.

use std::collections::BTreeMap;

use bytes::Bytes;
use evanesce_grpc::peer::v1::finding::What;
use evanesce_grpc::peer::v1::{Entry, Item};
use evanesce_store::{Delete, Store, StoreConfig, Time, Version, Write, fingerprint};

use super::judge::judge;
use super::take::take;
use super::tally::Tally;

const NOW: Time = Time(1_800_000_000_000);

/// A small generator of its own, so that a failure repeats.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// One that runs the same each time; stores of other sizes have other seeds.
fn store(memory_bytes: usize) -> Store {
    let hash_seed = Some(memory_bytes as u64);
    Store::new(StoreConfig { memory_bytes, hash_seed, ..StoreConfig::default() }).unwrap()
}

fn at(ms: u64) -> Version {
    Version::at(Time(NOW.0 - 1_000_000 + ms), 1)
}

fn set(store: &Store, key: &str, value: &[u8], version: Version) {
    store.write(&Write { version: Some(version), ..Write::set(key.as_bytes(), value) }, NOW);
}

fn delete(store: &Store, key: &str, version: Version) {
    store.delete(&Delete { version: Some(version), ..Delete::key(key.as_bytes()) }, NOW);
}

/// What a store holds: version and value of each key.
fn held(store: &Store) -> BTreeMap<String, (Version, Vec<u8>)> {
    let (mut held, mut from) = (BTreeMap::new(), Some(0));
    while let Some(next) = from {
        from = store.walk(next, NOW, |walked| {
            let key = String::from_utf8(walked.key.to_vec()).unwrap();
            held.insert(key, (walked.hit.version, walked.hit.value.contiguous().into_owned()));
        });
    }
    held
}

fn entries(store: &Store) -> Vec<Entry> {
    let (mut entries, mut from) = (Vec::new(), Some(0));
    while let Some(next) = from {
        from = store.walk(next, NOW, |walked| {
            entries.push(Entry {
                key: Bytes::copy_from_slice(walked.key),
                version: walked.hit.version.0,
                fingerprint: fingerprint(&walked.hit),
            });
        });
    }
    entries
}

/// Has `here` ask `there` about all of these. Answers the keys in doubt.
fn ask(
    here: &Store,
    there: &Store,
    entries: &[Entry],
    gap: Option<Version>,
    tally: &mut Tally,
) -> Vec<Bytes> {
    let (mut rest, mut doubtful) = (entries, Vec::new());
    while !rest.is_empty() {
        let answer = judge(there, rest, Version::default(), NOW);
        assert!(answer.judged > 0);
        for finding in answer.findings {
            let entry = &rest[finding.index as usize];
            if take(here, entry, &finding.what.unwrap(), gap, NOW, tally) {
                doubtful.push(entry.key.clone());
            }
        }
        rest = &rest[answer.judged as usize..];
    }
    doubtful
}

/// All of one side's turn: about what it has, and about what it lacks.
fn mend(here: &Store, there: &Store) -> Tally {
    let mut tally = Tally::default();
    ask(here, there, &entries(here), None, &mut tally);
    let mine = held(here);
    let lacking = held(there).into_keys().filter(|key| !mine.contains_key(key));
    let lacking: Vec<Entry> = lacking.map(|key| Entry { key: key.into(), ..Entry::default() }).collect();
    ask(here, there, &lacking, None, &mut tally);
    tally
}

/// What became of a key last: its version, and its value or that it was deleted.
type Fates = BTreeMap<String, (Version, Option<Vec<u8>>)>;

/// Writes and deletes of which each store misses some.
fn diverge(random: &mut Random, stores: &[Store; 2]) -> Fates {
    let mut fates = Fates::new();
    for n in 0..2_000 {
        let (key, version) = (format!("key{}", random.below(300)), at(n + random.below(50)));
        let value = (random.below(4) > 0).then(|| vec![n as u8; random.below(3_000) as usize]);
        let reaches = 1 + random.below(3);
        for (index, store) in stores.iter().enumerate().filter(|(index, _)| reaches & (1 << index) != 0) {
            match &value {
                Some(value) => set(store, &key, value, version),
                None => delete(store, &key, version),
            }
            assert!(index < 2);
        }
        // The larger value wins between two of one version, and a delete over both.
        let rank =
            |value: &Option<Vec<u8>>| value.as_ref().map_or((usize::MAX, vec![]), |v| (v.len(), v.clone()));
        let fate = (version, value);
        let known = fates.entry(key).or_insert_with(|| fate.clone());
        if (fate.0, rank(&fate.1)) > (known.0, rank(&known.1)) {
            *known = fate;
        }
    }
    fates
}

#[test]
fn stores_that_ask_each_other_end_with_the_newest_of_all_keys() {
    for seed in 0..40 {
        // So large that no delete is forgotten.
        let stores = [store(512 << 20), store(256 << 20)];
        let fates = diverge(&mut Random(seed), &stores);
        let first = mend(&stores[0], &stores[1]);
        mend(&stores[1], &stores[0]);
        let wanted: BTreeMap<_, _> =
            fates.into_iter().filter_map(|(key, (version, value))| Some((key, (version, value?)))).collect();
        for store in &stores {
            assert!(held(store) == wanted, "seed {seed}");
        }
        assert!(first.differing > 0 && first.oldest.is_some(), "seed {seed}: {first:?}");
        for (here, there) in [(0, 1), (1, 0)] {
            assert_eq!(mend(&stores[here], &stores[there]), Tally::default(), "seed {seed}: nothing is left");
        }
    }
}

#[test]
fn what_was_evicted_is_absent_and_does_not_differ() {
    let [full, roomy] = [store(4 << 20), store(64 << 20)];
    for n in 0..4_000 {
        [&full, &roomy].iter().for_each(|store| set(store, &format!("key{n}"), &[7; 3_000], at(n)));
    }
    let left = held(&full).len() as u64;
    assert!(left < 2_000 && full.stats().evictions > 0);
    let mut tally = Tally::default();
    ask(&roomy, &full, &entries(&roomy), None, &mut tally);
    assert_eq!(tally, Tally { absent: 4_000 - left, ..Tally::default() });
    assert_eq!(held(&roomy).len(), 4_000, "nothing is lost because another lacks it");
}

#[test]
fn item_in_doubt_is_one_that_may_have_been_deleted_in_the_gap() {
    let [away, ran] = [store(64 << 20), store(64 << 20)];
    // Its groups of tombstones overflow, so of some deletes it remembers only that there were such.
    for n in 0..30_000 {
        delete(&ran, &format!("other{n}"), at(5_000 + n / 100));
    }
    for key in ["deleted", "forgotten", "shared"] {
        set(&away, key, b"v", at(10));
    }
    set(&away, "since", b"v", at(400_000));
    set(&ran, "shared", b"v", at(10));
    delete(&ran, "deleted", at(6_000));
    let about = entries(&away);
    let doubtful = |gap: Option<Version>| ask(&away, &ran, &about, gap, &mut Tally::default());
    assert_eq!(doubtful(None), Vec::<Bytes>::new(), "without a gap nothing was missed");
    assert_eq!(doubtful(Some(at(900_000))), Vec::<Bytes>::new(), "deletes so late are all remembered");
    let found = doubtful(Some(at(1_000)));
    assert_eq!(found, [Bytes::from("forgotten")]);
    assert_eq!(held(&away).into_keys().collect::<Vec<_>>(), ["forgotten", "shared", "since"]);
}

#[test]
fn item_under_a_key_that_no_store_takes_is_refused() {
    let here = store(64 << 20);
    for bytes in [0, 251, 70_000] {
        let key = Bytes::from(vec![b'k'; bytes]);
        let what = What::Item(Item { key: key.clone(), version: at(5).0, ..Item::default() });
        let mut tally = Tally::default();
        take(&here, &Entry { key, ..Entry::default() }, &what, None, NOW, &mut tally);
        assert_eq!(tally, Tally { refused: 1, ..Tally::default() });
    }
    assert_eq!(here.stats().items, 0);
}

#[test]
fn answer_ends_when_a_message_is_full() {
    let [here, there] = [store(64 << 20), store(64 << 20)];
    for n in 0..40 {
        set(&there, &format!("key{n}"), &vec![n as u8; 100_000], at(n));
    }
    let lacking: Vec<Entry> =
        (0..40).map(|n| Entry { key: format!("key{n}").into(), ..Entry::default() }).collect();
    assert_eq!(judge(&there, &lacking, Version::default(), NOW).judged, 3);
    ask(&here, &there, &lacking, None, &mut Tally::default());
    assert_eq!(held(&here), held(&there));
}
