//! Envelopes against the bytes of Netflix's own class, and against damage.

use proptest::prelude::*;

use super::*;

/// Key foo, value "bar", flags 0, TTL 900, created 1700000000000: what `ObjectOutputStream` wrote.
const FROM_JAVA: &str = "aced000573720025636f6d2e6e6574666c69782e657663616368652e706f6f6c2e4556436163686556616c7565\
    2c2a7385e07411c00200054a000a63726561746554696d65490005666c6167734a000374746c4c00036b65797400124c6a6176612f6c616e67\
    2f537472696e673b5b000576616c75657400025b4278700000018bcfe56800000000000000000000000384740003666f6f757200025b42acf3\
    17f8060854e0020000787000000003626172";

fn from_java() -> Bytes {
    let hex: Vec<u8> = FROM_JAVA.bytes().collect();
    let byte = |pair: &[u8]| {
        u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hexadecimal digits")
    };
    hex.chunks(2).map(byte).collect()
}

fn envelope() -> Envelope {
    Envelope::new("foo", Bytes::from("bar"), 0, 900, 1_700_000_000_000)
}

#[test]
fn java_form_is_what_java_writes_byte_by_byte() {
    assert_eq!((from_java().len(), JAVA_HEAD.len(), JAVA_BYTES.len()), (177, 125, 19));
    assert_eq!(envelope().encode_java(), Ok(from_java()));
    assert_eq!(Envelope::decode(&from_java()), Ok(envelope()));
}

#[test]
fn binary_form_has_the_drawn_layout() {
    let mut drawn = vec![0x0c, 0, 0, 0, 0, 3];
    drawn.extend(b"foo\0\0\0\x03bar\0\0\0\0");
    drawn.extend(900_i64.to_be_bytes());
    drawn.extend(1_700_000_000_000_i64.to_be_bytes());
    assert_eq!(drawn.len(), 177 - 141);
    assert_eq!(envelope().encode_binary(), Ok(drawn.clone().into()));
    assert_eq!(Envelope::decode(&drawn.clone().into()), Ok(envelope()));
    drawn.extend(b"a field to come");
    assert_eq!(Envelope::decode(&drawn.into()), Ok(envelope()));
}

#[test]
fn truncated_envelope_is_damaged() {
    for stored in [from_java(), envelope().encode_binary().expect("short")] {
        for end in 0..stored.len() {
            assert!(Envelope::decode(&stored.slice(..end)).is_err(), "{end}");
        }
    }
}

#[test]
fn other_java_object_is_damaged() {
    let longer = Bytes::from([&from_java()[..], b"x"].concat());
    assert!(Envelope::decode(&longer).is_err());
    let string = Bytes::from_static(b"\xac\xed\x00\x05t\x00\x03foo");
    assert!(Envelope::decode(&string).is_err());
}

#[test]
fn strings_are_in_javas_own_utf_8() {
    assert_eq!(modified_utf8("a\0é€🦀"), b"a\xc0\x80\xc3\xa9\xe2\x82\xac\xed\xa0\xbe\xed\xb6\x80");
    assert_eq!(from_modified_utf8(&modified_utf8("a\0é€🦀")).as_deref(), Some("a\0é€🦀"));
    for bad in [&b"\0"[..], b"\xf0\x9f\xa6\x80", b"\xc3", b"\xe2\x82", b"\xed\xa0\xbe", b"\xc1\x81", b"\xff"]
    {
        assert_eq!(from_modified_utf8(bad), None, "{bad:x?}");
    }
}

#[test]
fn key_beyond_javas_length_is_refused() {
    let long = Envelope::new("k".repeat(65_536), Bytes::new(), 0, 0, 0);
    assert_eq!(long.encode_java(), Err(EvcacheError::KeyTooLong));
    let longest = Envelope::new("k".repeat(65_535), Bytes::new(), 0, 0, 0);
    assert_eq!(longest.encode_java().and_then(|stored| Envelope::decode(&stored)), Ok(longest));
}

proptest! {
    #[test]
    fn both_forms_bring_everything_back(
        key in any::<String>(),
        value in proptest::collection::vec(any::<u8>(), 0..200),
        flags in any::<u32>(),
        ttl in any::<i64>(),
        created in any::<i64>(),
    ) {
        let envelope = Envelope::new(key, value.into(), flags, ttl, created);
        for stored in [envelope.encode_java(), envelope.encode_binary()] {
            prop_assert_eq!(stored.and_then(|stored| Envelope::decode(&stored)), Ok(envelope.clone()));
        }
    }

    #[test]
    fn damaged_envelope_never_panics(
        at in any::<prop::sample::Index>(),
        to in any::<u8>(),
        binary in any::<bool>(),
    ) {
        let stored = if binary { envelope().encode_binary().expect("short") } else { from_java() };
        let mut stored = stored.to_vec();
        *at.get_mut(&mut stored) = to;
        let _ = Envelope::decode(&stored.into());
    }

    #[test]
    fn noise_never_panics(stored in proptest::collection::vec(any::<u8>(), 0..100)) {
        let _ = Envelope::decode(&stored.clone().into());
        let _ = Envelope::decode(&[&[0x0c, 0][..], &stored].concat().into());
        let _ = from_modified_utf8(&stored);
    }
}
