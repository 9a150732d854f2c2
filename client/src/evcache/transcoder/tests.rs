//! Values against what the Java client's transcoder writes, and against damage.

use proptest::prelude::*;

use super::*;

fn stored(value: &JavaValue) -> (Bytes, u32) {
    Transcoder::default().encode(value).expect("within the limit")
}

fn read(stored: &[u8], flags: u32) -> Result<JavaValue, EvcacheError> {
    Transcoder::default().decode(&Bytes::copy_from_slice(stored), flags)
}

#[test]
fn values_are_stored_as_java_stores_them() {
    for (value, bytes, flags) in [
        (JavaValue::String("café".into()), "café".as_bytes(), 0),
        (JavaValue::Boolean(true), b"1", 0x100),
        (JavaValue::Boolean(false), b"0", 0x100),
        (JavaValue::Int(0), b"", 0x200),
        (JavaValue::Int(258), b"\x01\x02", 0x200),
        (JavaValue::Int(-1), b"\xff\xff\xff\xff", 0x200),
        (JavaValue::Long(1), b"\x01", 0x300),
        (JavaValue::Long(-2), b"\xff\xff\xff\xff\xff\xff\xff\xfe", 0x300),
        (JavaValue::Date(1_700_000_000_000), b"\x01\x8b\xcf\xe5\x68\x00", 0x400),
        (JavaValue::Byte(0), b"\0", 0x500),
        (JavaValue::Byte(-3), b"\xfd", 0x500),
        (JavaValue::Float(1.0), b"\x3f\x80\0\0", 0x600),
        (JavaValue::Double(-2.0), b"\xc0\0\0\0\0\0\0\0", 0x700),
        (JavaValue::Bytes(Bytes::from_static(b"\0\x01")), b"\0\x01", 0x800),
        (JavaValue::Serialized(Bytes::from_static(b"\xac\xed")), b"\xac\xed", 1),
    ] {
        assert_eq!(stored(&value), (Bytes::copy_from_slice(bytes), flags));
        assert_eq!(read(bytes, flags), Ok(value));
    }
}

#[test]
fn values_above_120_bytes_are_compressed_if_that_is_smaller() {
    let text = |bytes| JavaValue::String("a".repeat(bytes));
    assert_eq!(stored(&text(120)).1, 0);
    let (bytes, flags) = stored(&text(121));
    assert_eq!((flags, &bytes[..3]), (COMPRESSED, &b"\x1f\x8b\x08"[..]));
    assert_eq!(read(&bytes, flags), Ok(text(121)));
    let noise: Vec<u8> = (0..130_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    assert_eq!(stored(&JavaValue::Bytes(noise.clone().into())), (noise.into(), BYTES));
    let higher = Transcoder::default().compress_above(1_000).encode(&text(1_000)).expect("within the limit");
    assert_eq!(higher.1, 0);
}

/// With a file name and a time in its head, which Java leaves out, and with a second member, which it reads too.
#[test]
fn gzip_of_others_is_read() {
    let text = "hello ".repeat(3);
    let mut member =
        flate2::GzBuilder::new().filename("x").mtime(7).read(text.as_bytes(), flate2::Compression::fast());
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut member, &mut bytes).expect("from memory");
    assert_eq!(read(&bytes, COMPRESSED), Ok(JavaValue::String(text.clone())));
    let twice = bytes.repeat(2);
    assert_eq!(read(&twice, COMPRESSED), Ok(JavaValue::String(text.repeat(2))));
}

#[test]
fn compressed_value_beyond_the_limit_is_refused() {
    let zeros = JavaValue::Bytes(vec![0; 100_000].into());
    let (bytes, flags) = stored(&zeros);
    assert!(bytes.len() < 300, "{}", bytes.len());
    let within = |most| Transcoder::default().value_bytes_max(most).decode(&bytes, flags);
    assert_eq!(within(99_999), Err(EvcacheError::TooLarge { bytes_max: 99_999 }));
    assert_eq!(within(100_000), Ok(zeros.clone()));
    let refused = Transcoder::default().value_bytes_max(99_999).encode(&zeros);
    assert_eq!(refused, Err(EvcacheError::TooLarge { bytes_max: 99_999 }));
}

#[cfg(feature = "zstd")]
#[test]
fn zstd_of_a_newer_java_client_is_read_within_the_limit() {
    let text = "a".repeat(50_000);
    let bytes = Bytes::from(zstd::bulk::compress(text.as_bytes(), 3).expect("from memory"));
    assert_eq!(read(&bytes, COMPRESSED), Ok(JavaValue::String(text)));
    let refused = Transcoder::default().value_bytes_max(100).decode(&bytes, COMPRESSED);
    assert_eq!(refused, Err(EvcacheError::TooLarge { bytes_max: 100 }));
    let cut = Transcoder::default().decode(&bytes.slice(..bytes.len() - 2), COMPRESSED);
    assert_eq!(cut, Err(EvcacheError::Damaged { what: "zstd" }));
}

#[cfg(not(feature = "zstd"))]
#[test]
fn zstd_without_the_feature_is_an_error() {
    assert_eq!(read(b"\x28\xb5\x2f\xfd....", COMPRESSED), Err(EvcacheError::NotBuilt));
}

#[test]
fn bytes_that_are_not_of_the_type_are_an_error() {
    for (bytes, flags) in [
        (&b"\xff"[..], 0),
        (b"2", BOOLEAN),
        (b"", BOOLEAN),
        (b"12345", INT),
        (b"123456789", LONG),
        (b"12", BYTE),
        (b"12345", FLOAT),
        (b"not gzip", COMPRESSED),
        (b"\x1f\x8b\x08", COMPRESSED),
    ] {
        assert!(matches!(read(bytes, flags), Err(EvcacheError::Damaged { .. })), "{bytes:?}");
    }
}

#[test]
fn flags_of_other_clients_are_refused() {
    for flags in [0x900, 0x0100_0000, 0x0010_0000, 4, 0xff00] {
        assert_eq!(read(b"1", flags), Err(EvcacheError::UnknownType { flags }));
    }
}

#[test]
fn nothing_compressed_is_nothing() {
    assert_eq!(read(b"", COMPRESSED | BYTES), Ok(JavaValue::Bytes(Bytes::new())));
}

/// Any value of a kind, floats by their bits.
fn any_value() -> impl Strategy<Value = JavaValue> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..400).prop_map(Bytes::from);
    prop_oneof![
        any::<String>().prop_map(JavaValue::String),
        any::<bool>().prop_map(JavaValue::Boolean),
        any::<i32>().prop_map(JavaValue::Int),
        any::<i64>().prop_map(JavaValue::Long),
        any::<i64>().prop_map(JavaValue::Date),
        any::<i8>().prop_map(JavaValue::Byte),
        any::<f32>().prop_map(JavaValue::Float),
        any::<f64>().prop_map(JavaValue::Double),
        bytes().prop_map(JavaValue::Bytes),
        bytes().prop_map(JavaValue::Serialized),
    ]
}

proptest! {
    #[test]
    fn any_value_comes_back(value in any_value(), compress_above in 0..500_usize) {
        let transcoder = Transcoder::default().compress_above(compress_above);
        let (bytes, flags) = transcoder.encode(&value).expect("within the limit");
        prop_assert_eq!(transcoder.decode(&bytes, flags), Ok(value));
    }

    #[test]
    fn noise_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..100), flags in 0..0x1000_u32) {
        let _ = Transcoder::default().value_bytes_max(1_000).decode(&bytes.clone().into(), flags);
        let gzip = [&b"\x1f\x8b\x08\0\0\0\0\0\0\0"[..], &bytes].concat();
        let _ = Transcoder::default().value_bytes_max(1_000).decode(&gzip.into(), COMPRESSED);
    }
}
