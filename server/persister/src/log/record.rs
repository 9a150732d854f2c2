//! Records of the log.
//!
//! ```text
//!  | magic 4 | CRC-32 of what follows 4 | bytes of what follows 4 | kind 1 | version 8 | stamped_ms 8 |
//!  | flags 4 | expires_at 8, 0 is never | key bytes 2 | key | value |
//!          all numbers big-endian
//! ```
//!
//! Kinds: 1 a put, 2 a delete, 3 what says that the put or delete of this key and version is done, 4 that it is a dead
//! letter: its value says why, and is empty where it is none any more; its `stamped_ms` is how often it was tried.

use bytes::{Buf, BufMut, Bytes};

use crate::store::{Change, KeyChange, StoreItem};

/// What every record begins with, so that those behind a damaged one are found.
pub(super) const MAGIC: [u8; 4] = [0xe5, 0x4c, 0x0a, 0x9b];

/// Magic, checksum and length.
pub(super) const HEAD_BYTES: usize = 12;

/// What a body has before the key.
pub(super) const BODY_HEAD_BYTES: usize = 31;

/// What is kept of why a write is a dead letter.
pub(super) const WHY_BYTES_MAX: usize = 256;

/// What says that a write is a dead letter, with the longest key that memcached has.
pub(super) const LETTER_BYTES_MAX: u64 = (HEAD_BYTES + BODY_HEAD_BYTES + 250 + WHY_BYTES_MAX) as u64;

/// Larger is no record of ours: a value of 64 MiB, the largest that a client makes, with room to spare.
pub(super) const BODY_BYTES_MAX: usize = 80 << 20;

/// Whether there is a record for a key and a value of so many bytes.
pub(super) fn holds(key: usize, value: usize) -> bool {
    key <= usize::from(u16::MAX) && BODY_HEAD_BYTES + key + value <= BODY_BYTES_MAX
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Record {
    /// A change that waits, and when it was stamped, in milliseconds since the Unix epoch.
    Pending { change: KeyChange, stamped_ms: u64 },
    /// That it waits no more.
    Done { key: Bytes, version: u64 },
    /// That it waits for an operator, and why; or for the store again.
    Letter { key: Bytes, version: u64, attempts: usize, why: Option<String> },
}

impl Record {
    /// Appends it. The key is of 65,535 bytes at most.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let begin = out.len();
        out.put_slice(&MAGIC);
        out.put_bytes(0, HEAD_BYTES - MAGIC.len());
        let (key, version) = self.key_and_version();
        let (kind, item, stamped_ms) = match self {
            Self::Pending { change, stamped_ms } => match &change.change {
                Change::Put(item) => (1, Some(item), *stamped_ms),
                Change::Delete => (2, None, *stamped_ms),
            },
            Self::Done { .. } => (3, None, 0),
            Self::Letter { attempts, .. } => (4, None, *attempts as u64),
        };
        let value = match self {
            Self::Letter { why: Some(why), .. } => why.as_bytes(),
            _ => item.map_or(&[][..], |item| &item.value),
        };
        out.put_u8(kind);
        out.put_u64(version);
        out.put_u64(stamped_ms);
        out.put_u32(item.map_or(0, |item| item.flags));
        out.put_u64(item.and_then(|item| item.expires_at).unwrap_or_default());
        out.put_u16(key.len() as u16);
        out.put_slice(key);
        out.put_slice(value);
        let body = begin + HEAD_BYTES;
        let (sum, bytes) = (crc32fast::hash(&out[body..]), (out.len() - body) as u32);
        out[begin + 4..begin + 8].copy_from_slice(&sum.to_be_bytes());
        out[begin + 8..body].copy_from_slice(&bytes.to_be_bytes());
    }

    fn key_and_version(&self) -> (&Bytes, u64) {
        match self {
            Self::Pending { change, .. } => (&change.key, change.version),
            Self::Done { key, version } | Self::Letter { key, version, .. } => (key, *version),
        }
    }

    /// The record that `bytes` begin with, and its length; `None` when there is no whole, sound one.
    pub(super) fn decode(bytes: &[u8]) -> Option<(Self, usize)> {
        let head = bytes.get(..HEAD_BYTES)?;
        if head[..4] != MAGIC {
            return None;
        }
        let sum = u32::from_be_bytes(head[4..8].try_into().ok()?);
        let len = u32::from_be_bytes(head[8..].try_into().ok()?) as usize;
        if !(BODY_HEAD_BYTES..=BODY_BYTES_MAX).contains(&len) {
            return None;
        }
        let body = bytes.get(HEAD_BYTES..HEAD_BYTES + len)?;
        if crc32fast::hash(body) != sum {
            return None;
        }
        Some((Self::of_body(body)?, HEAD_BYTES + len))
    }

    fn of_body(mut body: &[u8]) -> Option<Self> {
        let (kind, version, stamped_ms) = (body.get_u8(), body.get_u64(), body.get_u64());
        let (flags, expires_at, key_bytes) = (body.get_u32(), body.get_u64(), usize::from(body.get_u16()));
        let (key, value) = body.split_at_checked(key_bytes)?;
        let key = Bytes::copy_from_slice(key);
        let change = match kind {
            1 => Change::Put(StoreItem {
                value: Bytes::copy_from_slice(value),
                flags,
                expires_at: Some(expires_at).filter(|at| *at != 0),
                version: Some(version),
            }),
            2 => Change::Delete,
            3 => return Some(Self::Done { key, version }),
            4 => {
                let why = Some(String::from_utf8_lossy(value).into_owned()).filter(|why| !why.is_empty());
                let attempts = usize::try_from(stamped_ms).ok()?;
                return Some(Self::Letter { key, version, attempts, why });
            }
            _ => return None,
        };
        Some(Self::Pending { change: KeyChange { key, version, change }, stamped_ms })
    }
}

/// Where the next record may begin in `bytes`, which do not begin with a sound one: the distance, or all of them.
///
/// Where the length that stands there leads to a sound record, or to the end, it is believed: a value may hold what looks
/// like a record, and is not to be taken for one.
pub(super) fn next_sound(bytes: &[u8]) -> usize {
    if let Some(end) = told_end(bytes)
        && (end == bytes.len() || Record::decode(&bytes[end..]).is_some())
    {
        return end;
    }
    let mut from = 1;
    while let Some(found) = bytes.get(from..).and_then(|rest| find(rest, MAGIC)) {
        if Record::decode(&bytes[from + found..]).is_some() {
            return from + found;
        }
        from += found + 1;
    }
    bytes.len()
}

/// Where the record that `bytes` begin with ends, by its own word; `None` when it is no word of ours.
fn told_end(bytes: &[u8]) -> Option<usize> {
    let head = bytes.get(..HEAD_BYTES).filter(|head| head[..4] == MAGIC)?;
    let len = u32::from_be_bytes(head[8..].try_into().ok()?) as usize;
    let end = Some(HEAD_BYTES + len).filter(|_| (BODY_HEAD_BYTES..=BODY_BYTES_MAX).contains(&len));
    end.filter(|end| *end <= bytes.len())
}

fn find(bytes: &[u8], magic: [u8; 4]) -> Option<usize> {
    bytes.windows(magic.len()).position(|window| window == magic)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn put(key: &str, version: u64, value: &str) -> Record {
        let (key, value) = (Bytes::copy_from_slice(key.as_bytes()), Bytes::copy_from_slice(value.as_bytes()));
        let item = StoreItem { value, flags: 7, expires_at: Some(9), version: Some(version) };
        Record::Pending { change: KeyChange { key, version, change: Change::Put(item) }, stamped_ms: 5 }
    }

    fn encoded(records: &[Record]) -> Vec<u8> {
        let mut bytes = Vec::new();
        records.iter().for_each(|record| record.encode(&mut bytes));
        bytes
    }

    #[test]
    fn records_come_back_as_they_were() {
        let delete = KeyChange { key: Bytes::from("k"), version: 3, change: Change::Delete };
        let delete = Record::Pending { change: delete, stamped_ms: 8 };
        let done = Record::Done { key: Bytes::new(), version: 4 };
        let letter = |why: Option<&str>| Record::Letter {
            key: Bytes::from("k"),
            version: 5,
            attempts: 7,
            why: why.map(str::to_owned),
        };
        for record in
            [put("key", 1, "value"), put("", 2, ""), delete, done, letter(Some("too large")), letter(None)]
        {
            let bytes = encoded(std::slice::from_ref(&record));
            assert_eq!(Record::decode(&bytes), Some((record, bytes.len())));
            assert!((0..bytes.len()).all(|cut| Record::decode(&bytes[..cut]).is_none()), "torn");
        }
    }

    #[test]
    fn any_bit_that_flips_is_noticed_and_the_next_record_is_found() {
        let bytes = encoded(&[put("a", 1, "first"), put("b", 2, "second")]);
        let first = encoded(&[put("a", 1, "first")]).len();
        for bit in 0..first * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Record::decode(&damaged).is_none(), "bit {bit}");
            assert_eq!(next_sound(&damaged), first, "bit {bit}");
        }
        assert_eq!(next_sound(&bytes[..first]), first, "nothing sound is behind it");
        assert_eq!(next_sound(b"x"), 1);
    }

    /// What was seen: where a value was damaged that held a record of the log, the start took that for one, and a key was
    /// written that nobody had written.
    #[test]
    fn value_that_holds_a_record_is_not_taken_for_one_when_it_is_damaged() {
        let inner = encoded(&[put("forged", 9, "never written")]);
        let (key, value) = (Bytes::from("k"), Bytes::from([b"damaged ".as_slice(), &inner].concat()));
        let item = StoreItem { value, flags: 0, expires_at: None, version: None };
        let change = KeyChange { key, version: 1, change: Change::Put(item) };
        let outer = Record::Pending { change, stamped_ms: 5 };
        for behind in [vec![], vec![put("b", 2, "sound")]] {
            let mut bytes = encoded(&[&[outer.clone()][..], &behind].concat());
            let at = bytes.windows(7).position(|window| window == b"damaged").expect("it is there");
            bytes[at] ^= 1;
            assert!(Record::decode(&bytes).is_none());
            assert_eq!(next_sound(&bytes), encoded(std::slice::from_ref(&outer)).len());
        }
    }
}
