//! What the Java client stores under a hashed key: `EVCacheValue`, an envelope with the full key in it.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::error::EvcacheError;

/// The flags of an item that is an envelope: a serialized object. Those of the value are inside.
pub const ENVELOPE_FLAGS: u32 = 1;

/// All that Java writes before the fields: the class and what its fields are called. Java has no choice in it.
const JAVA_HEAD: &[u8] = b"\xac\xed\x00\x05\x73\x72\x00\x25com.netflix.evcache.pool.EVCacheValue\
    \x2c\x2a\x73\x85\xe0\x74\x11\xc0\x02\x00\x05\
    J\x00\x0acreateTimeI\x00\x05flagsJ\x00\x03ttlL\x00\x03keyt\x00\x12Ljava/lang/String;\
    [\x00\x05valuet\x00\x02[Bxp";

/// Before the key: a string follows.
const JAVA_STRING: u8 = b't';

/// Before the value: an array of bytes follows.
const JAVA_BYTES: &[u8] = b"ur\x00\x02[B\xac\xf3\x17\xf8\x06\x08\x54\xe0\x02\x00\x00xp";

/// The first byte of the newer form, and its version.
const BINARY_HEAD: [u8; 2] = [0x0c, 0x00];

/// The value of a hashed key, with the key it belongs to.
///
/// The Java client writes one of two forms, and newer ones read both.
///
/// ```text
///  Java      | class, 125 bytes | created 8 | flags 4 | TTL 8 | 't' length 2, key | array 19 | length 4, value |
///  binary    | 0c 00 | length 4, key | length 4, value | flags 4 | TTL 8 | created 8 | fields to come |
/// ```
///
/// All numbers have their most significant byte first. Java's strings are in modified UTF-8, where a zero byte takes two
/// and what UTF-16 writes as a pair takes six.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Envelope {
    /// The canonical key, prefix included. A read compares it: another key's value is a miss.
    pub key: String,
    /// The value as the transcoder left it.
    pub value: Bytes,
    /// Its flags.
    pub flags: u32,
    /// The TTL it was written with, as the memcached protocol has it.
    pub ttl: i64,
    /// When it was written, in milliseconds since 1970, by the writer's clock.
    pub created_at_ms: i64,
}

impl Envelope {
    /// An envelope around what a [`Transcoder`](super::Transcoder) made.
    #[must_use]
    pub fn new(key: impl Into<String>, value: Bytes, flags: u32, ttl: i64, created_at_ms: i64) -> Self {
        Self { key: key.into(), value, flags, ttl, created_at_ms }
    }

    /// As every Java client reads it.
    ///
    /// # Errors
    ///
    /// [`EvcacheError::KeyTooLong`] or [`EvcacheError::TooLarge`] when Java's lengths do not hold it.
    pub fn encode_java(&self) -> Result<Bytes, EvcacheError> {
        let key = modified_utf8(&self.key);
        let key_bytes = u16::try_from(key.len()).map_err(|_| EvcacheError::KeyTooLong)?;
        let value_bytes = length(&self.value)?;
        let mut stored = BytesMut::with_capacity(JAVA_HEAD.len() + 48 + key.len() + self.value.len());
        stored.put_slice(JAVA_HEAD);
        stored.put_i64(self.created_at_ms);
        stored.put_u32(self.flags);
        stored.put_i64(self.ttl);
        stored.put_u8(JAVA_STRING);
        stored.put_u16(key_bytes);
        stored.put_slice(&key);
        stored.put_slice(JAVA_BYTES);
        stored.put_i32(value_bytes);
        stored.put_slice(&self.value);
        Ok(stored.freeze())
    }

    /// As Java clients with the binary form switched on write it: 141 bytes shorter. Only newer ones
    /// read it.
    ///
    /// # Errors
    ///
    /// [`EvcacheError::KeyTooLong`] or [`EvcacheError::TooLarge`] when Java's lengths do not hold it.
    pub fn encode_binary(&self) -> Result<Bytes, EvcacheError> {
        let key_bytes = length(self.key.as_bytes()).map_err(|_| EvcacheError::KeyTooLong)?;
        let value_bytes = length(&self.value)?;
        let mut stored = BytesMut::with_capacity(30 + self.key.len() + self.value.len());
        stored.put_slice(&BINARY_HEAD);
        stored.put_i32(key_bytes);
        stored.put_slice(self.key.as_bytes());
        stored.put_i32(value_bytes);
        stored.put_slice(&self.value);
        stored.put_u32(self.flags);
        stored.put_i64(self.ttl);
        stored.put_i64(self.created_at_ms);
        Ok(stored.freeze())
    }

    /// Reads either form, strictly, without a copy of the value. Of the binary one, fields that a newer client put
    /// behind those known are left alone, as Java does.
    ///
    /// # Errors
    ///
    /// [`EvcacheError::Damaged`] when it is neither.
    pub fn decode(stored: &Bytes) -> Result<Self, EvcacheError> {
        let read = match stored.first() {
            Some(&first) if first == BINARY_HEAD[0] => read_binary(stored.clone()),
            _ => read_java(stored.clone()),
        };
        read.ok_or(EvcacheError::Damaged { what: "envelope of a hashed key" })
    }
}

fn read_java(mut stored: Bytes) -> Option<Envelope> {
    skip(&mut stored, JAVA_HEAD)?;
    let created_at_ms = stored.try_get_i64().ok()?;
    let flags = stored.try_get_u32().ok()?;
    let ttl = stored.try_get_i64().ok()?;
    skip(&mut stored, &[JAVA_STRING])?;
    let key_bytes = stored.try_get_u16().ok()?;
    let key = from_modified_utf8(&take(&mut stored, key_bytes.into())?)?;
    skip(&mut stored, JAVA_BYTES)?;
    let value_bytes = usize::try_from(stored.try_get_i32().ok()?).ok()?;
    (stored.len() == value_bytes).then_some(Envelope { key, value: stored, flags, ttl, created_at_ms })
}

fn read_binary(mut stored: Bytes) -> Option<Envelope> {
    skip(&mut stored, &BINARY_HEAD)?;
    let key = take_counted(&mut stored)?;
    let value = take_counted(&mut stored)?;
    let flags = stored.try_get_u32().ok()?;
    let ttl = stored.try_get_i64().ok()?;
    let created_at_ms = stored.try_get_i64().ok()?;
    let key = String::from_utf8(key.into()).ok()?;
    Some(Envelope { key, value, flags, ttl, created_at_ms })
}

fn skip(stored: &mut Bytes, expected: &[u8]) -> Option<()> {
    stored.starts_with(expected).then(|| stored.advance(expected.len()))
}

fn take(stored: &mut Bytes, bytes: usize) -> Option<Bytes> {
    (bytes <= stored.len()).then(|| stored.split_to(bytes))
}

fn take_counted(stored: &mut Bytes) -> Option<Bytes> {
    let bytes = usize::try_from(stored.try_get_i32().ok()?).ok()?;
    take(stored, bytes)
}

fn length(bytes: &[u8]) -> Result<i32, EvcacheError> {
    i32::try_from(bytes.len()).map_err(|_| EvcacheError::TooLarge { bytes_max: i32::MAX as usize })
}

/// Java's way to write strings: each UTF-16 unit by itself, and zero as two bytes.
fn modified_utf8(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for unit in text.encode_utf16() {
        match unit {
            1..0x80 => bytes.push(unit as u8),
            0 | 0x80..0x800 => bytes.extend([0xc0 | (unit >> 6) as u8, low_six(unit)]),
            _ => bytes.extend([0xe0 | (unit >> 12) as u8, low_six(unit >> 6), low_six(unit)]),
        }
    }
    bytes
}

fn low_six(unit: u16) -> u8 {
    0x80 | (unit & 0x3f) as u8
}

/// `None` when Java would not have written it.
fn from_modified_utf8(bytes: &[u8]) -> Option<String> {
    let mut units = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, ..] = rest {
        let more = |at: usize| {
            let byte = *rest.get(at)?;
            (byte & 0xc0 == 0x80).then_some(u16::from(byte & 0x3f))
        };
        let (unit, bytes) = match first {
            1..0x80 => (u16::from(*first), 1),
            0xc0..0xe0 => (u16::from(first & 0x1f) << 6 | more(1)?, 2),
            0xe0..0xf0 => (u16::from(first & 0x0f) << 12 | more(1)? << 6 | more(2)?, 3),
            _ => return None,
        };
        units.push(unit);
        rest = &rest[bytes..];
    }
    let text = String::from_utf16(&units).ok()?;
    (modified_utf8(&text) == bytes).then_some(text)
}

#[cfg(test)]
mod tests;
