//! How values are stored: in chunks, compressed, behind long keys; and verbatim, as the raw keys show them.

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use evanesce_client::{
    Client, CompareAndSetOutcome, Compression, KeyError, LatchPolicy, Namespace, POSTCARD_FLAGS, ReadError,
    ValueError, WriteError,
};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::cluster::{Cluster, eventually};

/// What marks a manifest and a chunk.
const MANIFEST: u32 = 1 << 16;
const CHUNK: u32 = 1 << 18;
const ZSTD: u32 = 1 << 20;

/// Bytes that differ from place to place and from seed to seed, and do not compress.
fn noise(bytes: usize, seed: u64) -> Bytes {
    let mut state = seed * 2 + 1;
    let word = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 32) as u8
    };
    (0..bytes).map(word).collect()
}

fn large(seed: u64) -> Bytes {
    noise(3 << 20, seed)
}

/// The keys that nodes hold, of all zones.
async fn keys(cache: &Client) -> BTreeSet<String> {
    let topology = cache.topology().expect("it is open");
    let mut keys = BTreeSet::new();
    for node in topology.groups.iter().flat_map(|group| &group.nodes) {
        let mut node = TcpStream::connect(node.memcached).await.expect("the node listens");
        node.write_all(b"lru_crawler metadump all\r\n").await.expect("it reads");
        let mut lines = BufReader::new(node).lines();
        while let Some(line) = lines.next_line().await.expect("it answers").filter(|line| line != "END") {
            let key = line.strip_prefix("key=").and_then(|line| line.split(' ').next()).expect("a key");
            keys.insert(key.replace("%3A", ":"));
        }
    }
    keys
}

async fn chunks(cache: &Client) -> Vec<String> {
    keys(cache).await.into_iter().filter(|key| key.contains("~c")).collect()
}

async fn everywhere(cluster: &Cluster, zone: &str) -> (Client, Namespace) {
    let cache = cluster.client(zone).await;
    let pages = cache.namespace("page").latch(LatchPolicy::All);
    (cache, pages)
}

#[tokio::test]
async fn three_mebibytes_come_back_from_every_zone_by_every_read() {
    let cluster = Cluster::start(&["a", "b", "c"]).await;
    let (cache, pages) = everywhere(&cluster, "a").await;
    let value = large(1);
    let written = pages.set("k", value.clone()).flags(7).await.expect("all zones are well");
    assert_eq!(written.acked, 3);
    assert_eq!(chunks(&cache).await.len(), 13);
    for zone in ["a", "b", "c"] {
        let alone = cluster.inside(zone).await.namespace("page");
        assert_eq!(alone.get("k").await, Ok(Some(value.clone())), "{zone}");
        let item = alone.get_item("k").await.expect("it answers").expect("a hit");
        assert_eq!((item.value, item.flags, item.version), (value.clone(), 7, written.version));
        let got = alone.get_many(["none", "k", "k"]).await.expect("good keys");
        assert_eq!((got.hits.len(), got.misses.len()), (2, 1));
        assert!(got.hits.iter().all(|(_, found)| *found == value));
        let loader = async |_| Err::<Option<Bytes>, _>(io::Error::other("it is there"));
        assert_eq!(alone.get_or_load("k", loader).await.expect("it is there"), Some(value.clone()));
        let item = alone.get_for_cas("k").await.expect("it answers").expect("a hit");
        assert_eq!(item.value, value);
    }
}

#[tokio::test]
async fn value_without_one_of_its_chunks_is_a_miss_and_comes_from_a_zone_that_has_it() {
    let cluster = Cluster::start(&["a", "b"]).await;
    let (cache, pages) = everywhere(&cluster, "a").await;
    pages.set("k", large(1)).await.expect("all zones are well");
    let chunk = chunks(&cache).await.swap_remove(5);
    cluster.inside("a").await.raw().delete(&chunk).await.expect("the zone is well");
    assert_eq!(pages.get("k").await, Ok(Some(large(1))), "zone b has it");
    cache.raw().delete(&chunk).latch(LatchPolicy::All).await.expect("all zones are well");
    assert_eq!(pages.get("k").await, Ok(None));
    assert_eq!(pages.get_many(["k"]).await.expect("a good key").misses.len(), 1);
    let loader = async |_| Ok::<_, io::Error>(Some(large(2)));
    assert_eq!(pages.get_or_load("k", loader).await.expect("it loads"), Some(large(2)));
}

#[tokio::test]
async fn foreign_chunk_is_a_miss() {
    let cluster = Cluster::start(&["a"]).await;
    let (cache, pages) = everywhere(&cluster, "a").await;
    pages.set("k", large(1)).await.expect("the zone is well");
    let chunk = chunks(&cache).await.swap_remove(0);
    let found = cache.raw().get_item(&chunk).await.expect("it answers").expect("a hit");
    assert_eq!(found.flags, CHUNK);
    cache.raw().set(&chunk, found.value.clone()).await.expect("the zone is well");
    assert_eq!(pages.get("k").await, Ok(None), "without its mark");
    let other = noise(found.value.len(), 9);
    cache.raw().set(&chunk, other).flags(CHUNK).await.expect("the zone is well");
    assert_eq!(pages.get("k").await, Ok(None), "with other bytes");
    assert_eq!(cache.get(&chunk).await, Ok(None), "a chunk is nobody's value");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_writers_of_a_large_value_never_mix() {
    let cluster = Cluster::start(&["a", "b"]).await;
    let mut writers = JoinSet::new();
    for (zone, seed) in [("a", 1), ("b", 2)] {
        let (_, pages) = everywhere(&cluster, zone).await;
        writers.spawn(async move {
            for _ in 0..8 {
                pages.set("k", large(seed)).await.expect("all zones are well");
            }
        });
    }
    let (_, pages) = everywhere(&cluster, "a").await;
    let (one, two) = (large(1), large(2));
    while !writers.is_empty() {
        let found = pages.get("k").await.expect("it answers");
        assert!(found.is_none_or(|found| found == one || found == two));
        if let Some(ended) = writers.try_join_next() {
            ended.expect("it writes");
        }
    }
    let last = pages.get("k").await.expect("it answers").expect("a hit");
    for zone in ["a", "b"] {
        assert_eq!(cluster.inside(zone).await.get("page:k").await, Ok(Some(last.clone())), "{zone}");
    }
}

#[tokio::test]
async fn zone_that_lacks_a_large_value_is_given_all_of_it() {
    let cluster = Cluster::start(&["a", "b"]).await;
    let b = cluster.inside("b").await.namespace("page");
    b.set("k", large(1)).await.expect("the zone is well");
    let pages = cluster.client("a").await.namespace("page");
    assert_eq!(pages.get("k").await, Ok(Some(large(1))));
    let a = cluster.inside("a").await.namespace("page");
    let copied = eventually("the copy", async || a.get("k").await.expect("it answers")).await;
    assert_eq!(copied, large(1));
}

#[tokio::test]
async fn touch_gives_chunks_the_life_of_their_manifest() {
    let cluster = Cluster::start(&["a", "b"]).await;
    let (cache, pages) = everywhere(&cluster, "a").await;
    pages.set("k", large(1)).ttl(Duration::from_secs(100)).await.expect("all zones are well");
    let all = async |least: u64| {
        for zone in ["a", "b"] {
            let inside = cluster.inside(zone).await;
            for key in keys(&inside).await {
                eventually("a longer life", async || {
                    let item = inside.raw().get_item(&key).await.expect("it answers").expect("a hit");
                    item.ttl.filter(|ttl| ttl.as_secs() + 2 >= least)
                })
                .await;
            }
        }
    };
    assert!(pages.touch("k", Duration::from_secs(1_000)).await.expect("all are well").found);
    all(1_000).await;
    let found = pages.get_and_touch("k", Duration::from_secs(5_000)).await;
    assert_eq!(found, Ok(Some(large(1))));
    all(5_000).await;
    assert_eq!(cache.get("page:k").await, Ok(Some(large(1))));
}

#[tokio::test]
async fn home_zone_decides_about_large_values_too() {
    let cluster = Cluster::start(&["a", "b"]).await;
    let (cache, pages) = everywhere(&cluster, "a").await;
    assert!(!pages.replace("k", large(1)).await.expect("all zones are well").is_stored());
    eventually("no chunk is left", async || chunks(&cache).await.is_empty().then_some(())).await;
    assert!(pages.add("k", large(2)).await.expect("all zones are well").is_stored());
    let item = pages.get_for_cas("k").await.expect("it answers").expect("a hit");
    let swapped = pages.compare_and_set("k", item.cas, large(3)).await.expect("all zones are well");
    assert!(matches!(swapped, CompareAndSetOutcome::Stored(_)));
    let again = pages.compare_and_set("k", item.cas, large(4)).await.expect("all zones are well");
    assert_eq!(again, CompareAndSetOutcome::Exists);
    for zone in ["a", "b"] {
        assert_eq!(cluster.inside(zone).await.get("page:k").await, Ok(Some(large(3))), "{zone}");
    }
    assert!(pages.delete("k").await.expect("all zones are well").found);
    assert_eq!(pages.get("k").await, Ok(None));
}

#[tokio::test]
async fn value_beyond_all_chunks_is_refused_before_anything_is_sent() {
    let cluster = Cluster::start(&["a"]).await;
    let (cache, pages) = everywhere(&cluster, "a").await;
    let error = pages.set("k", vec![0; (64 << 20) + 1]).await.expect_err("too large");
    assert!(matches!(error, WriteError::Value(ValueError::Chunk(_))), "{error}");
    assert!(!error.may_retry() && !error.maybe_applied());
    assert!(keys(&cache).await.is_empty());
}

#[tokio::test]
async fn long_keys_work_like_others_and_keep_their_namespace() {
    let cluster = Cluster::start(&["a", "b"]).await;
    let (cache, pages) = everywhere(&cluster, "a").await;
    let (long, other) = ("k".repeat(300), "l".repeat(8_000));
    let binary = [0; 187];
    for (key, value) in [(long.as_bytes(), "v"), (other.as_bytes(), "w"), (&binary, "x")] {
        pages.set(key, value).flags(7).await.expect("all zones are well");
        let item = pages.get_item(key).await.expect("it answers").expect("a hit");
        assert_eq!((item.value, item.flags), (Bytes::from(value), 7));
    }
    assert!(keys(&cache).await.iter().all(|key| key.starts_with("page:~k")));
    let got = pages.get_many([&long, &other, "short"]).await.expect("good keys");
    assert_eq!((got.get(&long), got.get(&other)), (Some(&"v".into()), Some(&"w".into())));
    assert!(!pages.add(&long, "u").await.expect("all are well").is_stored());
    let item = pages.get_for_cas(&long).await.expect("it answers").expect("a hit");
    pages.compare_and_set(&long, item.cas, "swapped").await.expect("all zones are well");
    let left = Duration::from_secs(1_000);
    assert_eq!(pages.get_and_touch(&long, left).await, Ok(Some("swapped".into())));
    pages.set(&long, large(1)).await.expect("all zones are well");
    assert_eq!(pages.get(&long).await, Ok(Some(large(1))), "large under a long key");
    assert!(pages.delete(&long).await.expect("all are well").found);
    let loader = async |key: Bytes| Ok::<_, io::Error>(Some(key));
    assert_eq!(pages.get_or_load(&long, loader).await.expect("it loads"), Some(long.clone().into()));
    let too_long = KeyError::TooLong { bytes: 305 };
    assert_eq!(pages.incr(&long, 1).initial(0).await, Err(WriteError::Key(too_long.clone())));
    assert_eq!(pages.append(&long, "v").await, Err(WriteError::Key(too_long)));
    let error = cache.raw().get(&long).await.expect_err("verbatim hashes nothing");
    assert_eq!(error, ReadError::Key(KeyError::TooLong { bytes: 300 }));
}

#[tokio::test]
async fn value_of_another_long_key_in_its_place_is_a_miss() {
    let cluster = Cluster::start(&["a"]).await;
    let (cache, pages) = everywhere(&cluster, "a").await;
    let (one, two) = ("1".repeat(300), "2".repeat(300));
    pages.set(&one, "one").await.expect("the zone is well");
    let place = keys(&cache).await.pop_first().expect("it is stored");
    let item = cache.raw().get_item(&place).await.expect("it answers").expect("a hit");
    pages.set(&two, "two").await.expect("the zone is well");
    let other = keys(&cache).await.into_iter().find(|key| *key != place).expect("it is stored");
    cache.raw().set(&other, item.value).flags(item.flags).await.expect("the zone is well");
    assert_eq!(pages.get(&two).await, Ok(None));
    assert_eq!(pages.get(&one).await, Ok(Some("one".into())));
}

#[tokio::test]
async fn typed_values_are_compressed_and_bytes_when_told() {
    let cluster = Cluster::start(&["a"]).await;
    let (cache, pages) = everywhere(&cluster, "a").await;
    let text = "the same again, ".repeat(1_000);
    let typed = pages.clone().typed::<String>();
    typed.set("typed", &text).await.expect("the zone is well");
    typed.clone().compression(Compression::off()).set("plain", &text).await.expect("the zone is well");
    pages.set("bytes", text.clone()).await.expect("the zone is well");
    let told = pages.clone().compression(Compression::from_bytes(100));
    told.set("told", text.clone()).flags(7).await.expect("the zone is well");
    let stored = async |key: &str| {
        let item = cache.raw().get_item(format!("page:{key}")).await.expect("it answers").expect("a hit");
        (item.flags, item.value.len() < text.len() / 2)
    };
    let (zstd, smaller) = if cfg!(feature = "zstd") { (ZSTD, true) } else { (0, false) };
    assert_eq!(stored("typed").await, (POSTCARD_FLAGS | zstd, smaller));
    assert_eq!(stored("plain").await, (POSTCARD_FLAGS, false));
    assert_eq!(stored("bytes").await, (0, false));
    assert_eq!(stored("told").await, (7 | zstd, smaller));
    assert_eq!(typed.get("typed").await, Ok(Some(text.clone())));
    assert_eq!(typed.get("plain").await, Ok(Some(text.clone())));
    let item = pages.get_item("told").await.expect("it answers").expect("a hit");
    assert_eq!((item.value, item.flags), (text.clone().into(), 7));
    let loaded = text.clone();
    let loader = async move |_| Ok::<_, io::Error>(Some(loaded));
    assert_eq!(typed.get_or_load("loaded", loader).await.expect("it loads"), Some(text.clone()));
    eventually("the fill", async || typed.get("loaded").await.expect("it answers")).await;
    assert_eq!(stored("loaded").await.0, POSTCARD_FLAGS | zstd);
}

#[tokio::test]
async fn large_typed_value_is_compressed_before_it_is_split() {
    let cluster = Cluster::start(&["a", "b"]).await;
    let (cache, pages) = everywhere(&cluster, "a").await;
    let typed = pages.typed::<Vec<Vec<u8>>>();
    // Each part is there twice in a row, so that it shrinks to half, which is still too large for one item.
    let value: Vec<Vec<u8>> = (0..600).map(|part| noise(5_000, part / 2).to_vec()).collect();
    typed.set_many([("k", &value)]).await.expect("all zones are well");
    assert_eq!(typed.get("k").await, Ok(Some(value.clone())));
    assert_eq!(typed.get_many(["k"]).await.expect("a good key").hits[0].1, value);
    let item = cache.raw().get_item("page:k").await.expect("it answers").expect("a hit");
    let zstd = if cfg!(feature = "zstd") { ZSTD } else { 0 };
    assert_eq!((item.flags, item.value.len()), (POSTCARD_FLAGS | MANIFEST | zstd, 40));
}

#[tokio::test]
async fn nothing_is_appended_to_what_is_split_or_compressed() {
    let cluster = Cluster::start(&["a", "b"]).await;
    let (_, pages) = everywhere(&cluster, "a").await;
    pages.set("small", "v").await.expect("all zones are well");
    assert!(pages.append("small", "w").await.expect("all zones are well").is_stored());
    assert!(!pages.append("none", "w").await.expect("all zones are well").is_stored());
    pages.set("large", large(1)).await.expect("all zones are well");
    let error = pages.append("large", "w").await.expect_err("it is in chunks");
    assert_eq!(error, WriteError::Value(ValueError::NotAppendable));
    assert_eq!(pages.get("large").await, Ok(Some(large(1))));
}

/// What was seen in review: a home zone that had lost the key answered that it had no flags, was given the compressed value,
/// and put the bytes behind it.
#[tokio::test]
async fn nothing_is_appended_to_what_the_home_zone_has_lost() {
    let cluster = Cluster::start(&["a", "b"]).await;
    let pages = cluster.client("a").await.namespace("page").compression(Compression::from_bytes(100));
    let text = "the same again, ".repeat(100);
    for at in 0..20 {
        let key = format!("{at}");
        pages.set(&key, text.clone()).latch(LatchPolicy::All).await.expect("all zones are well");
        let lost_in = if at % 2 == 0 { "a" } else { "b" };
        let inside = cluster.inside(lost_in).await;
        inside.namespace("page").delete(&key).latch(LatchPolicy::All).await.expect("the zone is well");
        let error = pages.append(&key, "w").await.expect_err("it is compressed");
        assert_eq!(error, WriteError::Value(ValueError::NotAppendable));
    }
}

#[tokio::test]
async fn flags_of_the_client_are_refused_and_verbatim_takes_any() {
    let cluster = Cluster::start(&["a"]).await;
    let cache = cluster.client("a").await;
    let error = cache.set("k", "v").flags(MANIFEST).await.expect_err("the client's own flag");
    assert_eq!(error, WriteError::Value(ValueError::FlagsTaken { flags: MANIFEST }));
    cache.raw().set("k", "v").flags(MANIFEST | 7).await.expect("the zone is well");
    let item = cache.raw().get_item("k").await.expect("it answers").expect("a hit");
    assert_eq!((item.value, item.flags), ("v".into(), MANIFEST | 7));
    let error = cache.get("k").await.expect_err("it is no manifest");
    assert!(matches!(error, ReadError::Value(ValueError::Chunk(_))), "{error}");
    assert_eq!(cache.get_many(["k"]).await.expect("a good key").failed.len(), 1);
}

#[tokio::test]
async fn nodes_that_take_less_as_one_item_are_given_smaller_ones() {
    let cluster = Cluster::start(&["a", "b"]).await;
    let cache = cluster.builder("a").item_bytes_max(64 << 10).latch(LatchPolicy::All).connect().await;
    let cache = cache.expect("a list needs no discovery");
    let value = noise(200 << 10, 1);
    cache.set("k", value.clone()).await.expect("all zones are well");
    let chunks = chunks(&cache).await;
    assert_eq!(chunks.len(), 5);
    for key in chunks {
        let chunk = cache.raw().get(&key).await.expect("it answers").expect("a hit");
        assert!(chunk.len() <= 48 << 10);
    }
    assert_eq!(cluster.client("b").await.get("k").await, Ok(Some(value)), "whatever the reader would do");
}

#[tokio::test]
async fn large_write_that_is_dropped_leaves_the_key_as_it_was() {
    let cluster = Cluster::start(&["a", "b"]).await;
    let (_, pages) = everywhere(&cluster, "a").await;
    pages.set("k", "old").await.expect("all zones are well");
    tokio::select! {
        biased;
        _ = pages.set("k", large(1)).run() => panic!("nobody can have answered yet"),
        () = std::future::ready(()) => {}
    }
    assert_eq!(pages.get("k").await, Ok(Some("old".into())));
}
