//! Typed values and the flags that the Java client marks them with.

use bytes::Bytes;

use super::error::EvcacheError;
use super::{gzip, number};

/// The Java client compresses what is larger.
const COMPRESS_ABOVE: usize = 120;

/// What the Java client takes, `default.evcache.max.data.size`.
const VALUE_BYTES_MAX: usize = 20 << 20;

/// The value is a serialized object.
const SERIALIZED: u32 = 1;
/// The value is compressed.
const COMPRESSED: u32 = 2;
/// The byte of the flags that tells the type; 0 is a string.
const TYPE_MASK: u32 = 0xff00;

const BOOLEAN: u32 = 0x100;
const INT: u32 = 0x200;
const LONG: u32 = 0x300;
const DATE: u32 = 0x400;
const BYTE: u32 = 0x500;
const FLOAT: u32 = 0x600;
const DOUBLE: u32 = 0x700;
const BYTES: u32 = 0x800;

/// A value as Java knows it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum JavaValue {
    /// `String`, in UTF-8. The only type without a flag: what other clients wrote looks like it.
    String(String),
    /// `Boolean`.
    Boolean(bool),
    /// `Integer`.
    Int(i32),
    /// `Long`.
    Long(i64),
    /// `Date`, in milliseconds since 1970.
    Date(i64),
    /// `Byte`.
    Byte(i8),
    /// `Float`.
    Float(f32),
    /// `Double`.
    Double(f64),
    /// `byte[]`.
    Bytes(Bytes),
    /// Any other object, as Java serialized it. Its bytes may be passed on, and mean nothing here.
    Serialized(Bytes),
}

/// Turns values into what the Java client stores, and back.
///
/// ```text
///  15       8 7      2    1     0
/// +----------+--------+------+------+   type: 0 String, 1 Boolean, 2 Integer, 3 Long, 4 Date,
/// |   type   |   0    | gzip | ser. |         5 Byte, 6 Float, 7 Double, 8 byte[]
/// +----------+--------+------+------+
/// ```
///
/// Numbers go with the most significant byte first and without leading zero bytes, so that zero is an empty value;
/// floats go as the number of their bits. Above 120 bytes, gzip, if it is smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transcoder {
    compress_above: usize,
    value_bytes_max: usize,
}

impl Default for Transcoder {
    fn default() -> Self {
        Self { compress_above: COMPRESS_ABOVE, value_bytes_max: VALUE_BYTES_MAX }
    }
}

impl Transcoder {
    /// Compresses values of more bytes. Default 120, as `default.evcache.compression.threshold`; the Java client reads
    /// them either way, and gzip at 120 bytes saves little for what it costs.
    #[must_use]
    pub fn compress_above(self, bytes: usize) -> Self {
        Self { compress_above: bytes, ..self }
    }

    /// The largest value, before it is compressed and after it is undone. Default 20 MiB, as
    /// `default.evcache.max.data.size`.
    #[must_use]
    pub fn value_bytes_max(self, bytes: usize) -> Self {
        Self { value_bytes_max: bytes, ..self }
    }

    /// What is stored, and its flags.
    ///
    /// # Errors
    ///
    /// [`EvcacheError::TooLarge`] when it is larger than the limit.
    pub fn encode(self, value: &JavaValue) -> Result<(Bytes, u32), EvcacheError> {
        let (bytes, flags) = plain(value);
        if bytes.len() > self.value_bytes_max {
            return Err(EvcacheError::TooLarge { bytes_max: self.value_bytes_max });
        }
        if bytes.len() > self.compress_above {
            let smaller = gzip::compress(&bytes);
            if smaller.len() < bytes.len() {
                return Ok((smaller.into(), flags | COMPRESSED));
            }
        }
        Ok((bytes, flags))
    }

    /// The value of an item with these flags. Nothing larger than the limit is allocated, whatever the bytes say.
    ///
    /// # Errors
    ///
    /// When the flags are none of the Java client's, or the bytes none of the type.
    pub fn decode(self, stored: &Bytes, flags: u32) -> Result<JavaValue, EvcacheError> {
        if flags & !(TYPE_MASK | SERIALIZED | COMPRESSED) != 0 {
            return Err(EvcacheError::UnknownType { flags });
        }
        // As in Java, nothing compressed is nothing.
        if flags & COMPRESSED != 0 && !stored.is_empty() {
            let value = gzip::decompress(stored, self.value_bytes_max)?;
            return typed(value.into(), flags);
        }
        if stored.len() > self.value_bytes_max {
            return Err(EvcacheError::TooLarge { bytes_max: self.value_bytes_max });
        }
        typed(stored.clone(), flags)
    }
}

fn plain(value: &JavaValue) -> (Bytes, u32) {
    match value {
        JavaValue::String(text) => (Bytes::copy_from_slice(text.as_bytes()), 0),
        JavaValue::Boolean(true) => (Bytes::from_static(b"1"), BOOLEAN),
        JavaValue::Boolean(false) => (Bytes::from_static(b"0"), BOOLEAN),
        JavaValue::Int(number) => (number::encode(number.cast_unsigned().into()), INT),
        JavaValue::Long(number) => (number::encode(number.cast_unsigned()), LONG),
        JavaValue::Date(millis) => (number::encode(millis.cast_unsigned()), DATE),
        JavaValue::Byte(byte) => (Bytes::copy_from_slice(&byte.to_be_bytes()), BYTE),
        JavaValue::Float(float) => (number::encode(float.to_bits().into()), FLOAT),
        JavaValue::Double(double) => (number::encode(double.to_bits()), DOUBLE),
        JavaValue::Bytes(bytes) => (bytes.clone(), BYTES),
        JavaValue::Serialized(bytes) => (bytes.clone(), SERIALIZED),
    }
}

fn typed(value: Bytes, flags: u32) -> Result<JavaValue, EvcacheError> {
    if flags & SERIALIZED != 0 {
        return Ok(JavaValue::Serialized(value));
    }
    let short = |value: &[u8]| number::decode(value, 4).map(|number| number as u32);
    let long = |value: &[u8]| number::decode(value, 8);
    match flags & TYPE_MASK {
        0 => match String::from_utf8(value.into()) {
            Ok(text) => Ok(JavaValue::String(text)),
            Err(_) => Err(EvcacheError::Damaged { what: "text in UTF-8" }),
        },
        BOOLEAN => boolean(&value),
        INT => short(&value).map(|number| JavaValue::Int(number.cast_signed())),
        LONG => long(&value).map(|number| JavaValue::Long(number.cast_signed())),
        DATE => long(&value).map(|number| JavaValue::Date(number.cast_signed())),
        BYTE => number::decode(&value, 1).map(|number| JavaValue::Byte((number as u8).cast_signed())),
        FLOAT => short(&value).map(|bits| JavaValue::Float(f32::from_bits(bits))),
        DOUBLE => long(&value).map(|bits| JavaValue::Double(f64::from_bits(bits))),
        BYTES => Ok(JavaValue::Bytes(value)),
        _ => Err(EvcacheError::UnknownType { flags }),
    }
}

fn boolean(value: &[u8]) -> Result<JavaValue, EvcacheError> {
    match value {
        b"1" => Ok(JavaValue::Boolean(true)),
        b"0" => Ok(JavaValue::Boolean(false)),
        _ => Err(EvcacheError::Damaged { what: "boolean" }),
    }
}

#[cfg(test)]
mod tests;
