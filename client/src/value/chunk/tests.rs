//! Splitting and joining, and what a reader of damaged or hostile manifests and chunks gets.

use std::collections::HashSet;

use evanesce_wire::limits::KEY_BYTES_MAX;
use proptest::prelude::*;

use super::*;
use crate::key::hashed::NAMESPACE_BYTES_MAX;

const VERSION: u64 = 7_000_000_001;

fn value(bytes: usize) -> Bytes {
    (0..bytes).map(|at| (at * 31 % 251) as u8).collect::<Vec<u8>>().into()
}

fn split(value: &Bytes) -> Manifest {
    Chunking::new(0, 1024).split(value, VERSION).expect("within the limits").expect("above zero")
}

fn cut(manifest: &Manifest, value: &Bytes) -> Vec<Option<Bytes>> {
    manifest.cut(value).map(Some).collect()
}

#[test]
fn value_is_split_only_when_it_does_not_fit() {
    let chunking = Chunking::default();
    assert_eq!(chunking.split(&value(WHOLE_BYTES_MAX), VERSION), Ok(None));
    let large = value(WHOLE_BYTES_MAX + 1);
    let manifest = chunking.split(&large, VERSION).expect("within the limits").expect("too large for one");
    assert_eq!((manifest.chunks(), manifest.version()), (4, VERSION));
    assert_eq!(manifest.join(&cut(&manifest, &large)), Ok(large));
}

#[test]
fn value_beyond_the_limits_is_refused() {
    let bytes = VALUE_BYTES_MAX + 1;
    let huge = Bytes::from(vec![0; bytes]);
    let refused = Err(ChunkError::TooLarge { bytes, bytes_max: VALUE_BYTES_MAX });
    assert_eq!(Chunking::default().split(&huge, VERSION), refused);
    let many = huge.slice(..CHUNK_BYTES_MIN * CHUNKS_MAX + 1);
    let refused = Err(ChunkError::TooLarge { bytes: many.len(), bytes_max: many.len() - 1 });
    assert_eq!(Chunking::new(0, 0).split(&many, VERSION), refused);
    assert!(Chunking::new(0, 0).split(&many.slice(1..), VERSION).is_ok());
}

#[test]
fn manifest_has_the_drawn_layout() {
    let manifest = split(&value(2_500));
    let stored = manifest.encode();
    assert_eq!(stored.len(), MANIFEST_BYTES);
    assert_eq!(stored[..16], *b"EvCh\x01\0\0\0\0\0\0\x03\0\0\x04\0");
    assert_eq!(stored[16..24], 2_500_u64.to_be_bytes());
    assert_eq!(stored[24..32], VERSION.to_be_bytes());
    assert_eq!(stored[32..], xxh3_64_with_seed(&value(2_500), VERSION).to_be_bytes());
    assert_eq!(Manifest::decode(&stored), Ok(manifest));
}

#[test]
fn flags_of_the_value_stay_beside_the_manifests() {
    assert_eq!(manifest_flags(0x0110_0005), 0x0111_0005);
    assert_eq!(CHUNK_FLAGS, 0x0004_0000);
}

#[test]
fn manifest_of_another_size_or_format_is_refused() {
    let stored = split(&value(2_500)).encode();
    for end in 0..MANIFEST_BYTES {
        assert_eq!(Manifest::decode(&stored[..end]), Err(ChunkError::NoManifest));
    }
    assert_eq!(Manifest::decode(&[&stored[..], b"x"].concat()), Err(ChunkError::NoManifest));
    let mut newer = stored.to_vec();
    newer[4] = 2;
    assert_eq!(Manifest::decode(&newer), Err(ChunkError::UnknownFormat { format: 2 }));
}

/// A manifest is an item like any other, and whoever can write one may say anything in it.
#[test]
fn manifest_that_asks_for_too_much_is_refused() {
    let forged = |chunks: u32, chunk_bytes: u32, value_bytes: u64| {
        let mut stored = b"EvCh\x01\0\0\0".to_vec();
        stored.extend(chunks.to_be_bytes());
        stored.extend(chunk_bytes.to_be_bytes());
        stored.extend(value_bytes.to_be_bytes());
        stored.extend([0; 16]);
        Manifest::decode(&stored)
    };
    assert!(forged(3, 1024, 3000).is_ok());
    for (chunks, chunk_bytes, value_bytes) in [
        (2, 1024, 3000),
        (0, 1024, 0),
        (3000, 1, 3000),
        (0, 0, 3000),
        (1025, 1024, 1025 * 1024),
        (1, u32::MAX, 3000),
        (65, 1 << 20, 65 << 20),
        (u32::MAX, 1024, u64::MAX),
    ] {
        assert_eq!(forged(chunks, chunk_bytes, value_bytes), Err(ChunkError::NoManifest), "{chunks}");
    }
}

#[test]
fn keys_belong_to_one_write_and_keep_the_namespace() {
    let value = value(3_000);
    let other = Chunking::new(0, 1024).split(&value, VERSION + 1).expect("within the limits").expect("split");
    let manifest = split(&value);
    let keys =
        |manifest: &Manifest, key: &[u8]| -> Vec<Bytes> { manifest.keys(key).expect("a good key").collect() };
    let mine = keys(&manifest, b"user:42");
    assert_eq!(mine.len(), 3);
    assert!(mine.iter().all(|key| key.starts_with(b"user:~c")));
    let all = [mine, keys(&other, b"user:42"), keys(&manifest, b"user:43"), keys(&manifest, b"42")].concat();
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), 12);
}

#[test]
fn longest_namespace_leaves_room_for_chunks() {
    let manifest = Chunking::new(0, 0)
        .split(&Bytes::from(vec![0; CHUNK_BYTES_MIN * CHUNKS_MAX]), u64::MAX)
        .expect("within the limits")
        .expect("split");
    let full = [&[b'n'; NAMESPACE_BYTES_MAX - 1][..], b":key"].concat();
    let last = manifest.keys(&full).expect("a good key").last().expect("many");
    assert!(last.len() <= KEY_BYTES_MAX && last.ends_with(b".1023"), "{}", last.len());
}

#[test]
fn missing_chunk_is_told_apart_from_a_damaged_one() {
    let value = value(3_000);
    let manifest = split(&value);
    let good = cut(&manifest, &value);
    for at in 0..good.len() {
        let mut chunks = good.clone();
        chunks[at] = None;
        assert_eq!(manifest.join(&chunks), Err(JoinError::Missing));
        chunks[at] = good[at].as_ref().map(|chunk| chunk.slice(1..));
        assert_eq!(manifest.join(&chunks), Err(JoinError::Damaged));
        let mut flipped = good[at].clone().expect("it is there").to_vec();
        flipped[5] ^= 1;
        chunks[at] = Some(flipped.into());
        assert_eq!(manifest.join(&chunks), Err(JoinError::Damaged));
    }
    assert_eq!(manifest.join(&good[1..]), Err(JoinError::Missing));
    let swapped = vec![good[1].clone(), good[0].clone(), good[2].clone()];
    assert_eq!(manifest.join(&swapped), Err(JoinError::Damaged));
}

/// Two writers of the same size: a chunk of the one in the other's place does not pass.
#[test]
fn chunk_of_another_write_does_not_pass() {
    let (one, other) = (value(3_000), Bytes::from(vec![9; 3_000]));
    let manifest = split(&one);
    let mut chunks = cut(&manifest, &one);
    chunks[1] = cut(&split(&other), &other).swap_remove(1);
    assert_eq!(manifest.join(&chunks), Err(JoinError::Damaged));
}

proptest! {
    #[test]
    fn any_value_comes_back(bytes in 1..20_000_usize, chunk_bytes in 0..5_000_usize, version in any::<u64>()) {
        let value = value(bytes);
        let manifest =
            Chunking::new(0, chunk_bytes).split(&value, version).expect("small").expect("above zero");
        let read = Manifest::decode(&manifest.encode());
        prop_assert_eq!(&read, &Ok(manifest));
        let chunks = cut(&manifest, &value);
        prop_assert_eq!(chunks.len(), manifest.keys(b"a:b").expect("a good key").count());
        prop_assert_eq!(manifest.join(&chunks), Ok(value));
    }

    /// Whatever is in a manifest, it is refused or within the limits, and is what it would be written as.
    #[test]
    fn changed_manifest_is_refused_or_within_the_limits(
        changes in proptest::collection::vec((0..MANIFEST_BYTES, any::<u8>()), 1..6),
    ) {
        let mut stored = split(&value(2_500)).encode().to_vec();
        for (at, to) in changes {
            stored[at] = to;
        }
        if let Ok(manifest) = Manifest::decode(&stored) {
            prop_assert!(manifest.chunks() <= CHUNKS_MAX && manifest.value_bytes <= VALUE_BYTES_MAX);
            prop_assert_eq!(manifest.encode(), stored);
        }
    }
}
