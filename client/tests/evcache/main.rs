//! What the Java client stores, as `Golden.java` printed it, against what this crate makes and reads.

use bytes::Bytes;
use evanesce_client::evcache::{
    ENVELOPE_FLAGS, Envelope, EvcacheError, JavaValue, KeyAlgorithm, KeyHashing, Transcoder,
};

const GOLDEN: &str = include_str!("golden.txt");

/// The flag of compressed values: what two libraries of gzip make of one value differs.
const COMPRESSED: u32 = 2;

/// The words behind `kind` of each of its lines.
fn lines(kind: &str) -> impl Iterator<Item = Vec<&'static str>> {
    let words = |line: &'static str| line.split(' ').collect::<Vec<_>>();
    GOLDEN.lines().map(words).filter(move |words| words[0] == kind).map(|words| words[1..].to_vec())
}

/// Flags and bytes of a line; no bytes, no word.
fn item(words: &[&str]) -> (Bytes, u32) {
    let hex = words.get(1).copied().unwrap_or_default().as_bytes();
    let byte =
        |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).expect("ASCII"), 16).expect("hexadecimal");
    (hex.chunks(2).map(byte).collect(), words[0].parse().expect("flags"))
}

/// The values of `Golden.java`, in its order.
fn values() -> [JavaValue; 25] {
    [
        JavaValue::String(String::new()),
        JavaValue::String("café 🦀\0".into()),
        JavaValue::String("x".repeat(121)),
        JavaValue::Boolean(true),
        JavaValue::Boolean(false),
        JavaValue::Int(0),
        JavaValue::Int(258),
        JavaValue::Int(-1),
        JavaValue::Int(i32::MIN),
        JavaValue::Long(0),
        JavaValue::Long(1),
        JavaValue::Long(-2),
        JavaValue::Long(i64::MAX),
        JavaValue::Date(1_700_000_000_000),
        JavaValue::Date(-1),
        JavaValue::Byte(0),
        JavaValue::Byte(-3),
        JavaValue::Float(1.0),
        JavaValue::Float(-0.0),
        // Java's smallest positive one.
        JavaValue::Float(f32::from_bits(1)),
        JavaValue::Double(0.0),
        JavaValue::Double(-2.0),
        JavaValue::Double(1e300),
        JavaValue::Bytes(Bytes::from_static(&[0, 1])),
        JavaValue::Bytes(Bytes::from_static(&[0; 500])),
    ]
}

#[test]
fn values_of_java_are_read_and_written_alike() {
    let transcoder = Transcoder::default();
    assert_eq!(lines("value").count(), values().len());
    for (words, value) in lines("value").zip(values()) {
        let (stored, flags) = item(&words);
        assert_eq!(transcoder.decode(&stored, flags), Ok(value.clone()));
        let (ours, our_flags) = transcoder.encode(&value).expect("within the limit");
        assert_eq!(our_flags, flags);
        assert!(flags & COMPRESSED != 0 || ours == stored, "{value:?}");
    }
}

#[test]
fn envelopes_of_java_are_read_and_written_alike() {
    let keys = ["foo", "a\0é€🦀"];
    assert_eq!(lines("envelope").count(), keys.len());
    for (words, key) in lines("envelope").zip(keys) {
        let (stored, flags) = item(&words);
        let envelope = Envelope::new(key, Bytes::from("bar"), 2, 900, 1_700_000_000_000);
        assert_eq!(flags, ENVELOPE_FLAGS);
        assert_eq!(Envelope::decode(&stored), Ok(envelope.clone()));
        assert_eq!(envelope.encode_java(), Ok(stored));
    }
}

#[test]
fn keys_hash_as_in_java() {
    let algorithms = [KeyAlgorithm::Siphash24, KeyAlgorithm::Murmur3, KeyAlgorithm::Md5];
    let keys = ["foo".to_owned(), "ünï".to_owned(), "🦀".repeat(101)];
    let pairs = keys.iter().flat_map(|key| algorithms.map(|algorithm| (key, algorithm)));
    assert_eq!(lines("key").count(), keys.len() * algorithms.len());
    for (words, (key, algorithm)) in lines("key").zip(pairs) {
        let hashing = KeyHashing::default().always().algorithm(algorithm);
        assert_eq!(hashing.wire_key(key).as_deref(), Some(words[0]), "{algorithm:?} {key}");
    }
}

#[test]
fn whole_path_of_a_hashed_key_comes_back() -> Result<(), EvcacheError> {
    let canonical = format!("prefix:{}", "k".repeat(300));
    let value = JavaValue::String("long enough to be compressed, ".repeat(9));
    let (bytes, flags) = Transcoder::default().encode(&value)?;
    let stored = Envelope::new(&canonical, bytes, flags, 900, 1_700_000_000_000).encode_java()?;
    assert!(KeyHashing::default().wire_key(&canonical).is_some());
    let found = Envelope::decode(&stored)?;
    assert_eq!(found.key, canonical);
    assert_eq!(Transcoder::default().decode(&found.value, found.flags)?, value);
    Ok(())
}
