//! An item's header, as it lies in a segment before the key and the value.

use crate::{Expiry, Time};

/// Bytes of a header without the caller's flags.
pub(crate) const HEADER_BYTES: usize = 23;
/// Bytes of the caller's flags, present only when they are not 0.
const FLAGS_BYTES: usize = 4;
/// Items start at multiples of this, so that a location needs two bits less.
pub(crate) const ITEM_ALIGN: usize = 4;
/// The frequency is two bits.
const FREQUENCY_MAX: u8 = 3;
/// "Never" among expiries in memory.
pub(crate) const NEVER: u64 = u64::MAX;
/// The latest instant that 48 bits hold; later ones are brought down to it.
const EXPIRY_MAX: u64 = (1 << 48) - 1;

/// Everything about an item but its key and value.
///
/// ```text
///  0         1        2           5               11                19            23          27
/// +---------+--------+-----------+---------------+-----------------+-------------+-----------+-----+-------+
/// | key len | marks  | value len | expires at    | CAS token       | last access | flags     | key | value |
/// | u8      | u8     | u24       | u48 ms        | u64             | u32 s       | u32       |     |       |
/// |         |        |           | 0: never      |                 |             | if marked |     |       |
/// +---------+--------+-----------+---------------+-----------------+-------------+-----------+-----+-------+
///
/// marks   7       6      5       4          3       2         1 0
///        +-------+------+-------+----------+-------+---------+-----------+
///        | spare | dead | flags | win sent | stale | fetched | frequency |
///        +-------+------+-------+----------+-------+---------+-----------+
/// ```
///
/// All numbers are little-endian. The whole is padded to a multiple of [`ITEM_ALIGN`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) key_bytes: u8,
    pub(crate) marks: Marks,
    pub(crate) value_bytes: u32,
    /// Milliseconds since the epoch, or [`NEVER`].
    pub(crate) expires_ms: u64,
    pub(crate) cas: u64,
    pub(crate) last_access_secs: u32,
    pub(crate) flags: u32,
}

/// The bits of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Marks(u8);

impl Marks {
    /// Read since it was written.
    pub(crate) const FETCHED: u8 = 1 << 2;
    /// Invalidated.
    pub(crate) const STALE: u8 = 1 << 3;
    /// Somebody is fetching it anew.
    pub(crate) const WIN_SENT: u8 = 1 << 4;
    const HAS_FLAGS: u8 = 1 << 5;
    /// No longer in the table; its bytes wait for the segment's end.
    pub(crate) const DEAD: u8 = 1 << 6;

    pub(crate) fn has(self, mark: u8) -> bool {
        self.0 & mark != 0
    }

    pub(crate) fn set(&mut self, mark: u8, on: bool) {
        self.0 = if on { self.0 | mark } else { self.0 & !mark };
    }

    pub(crate) fn frequency(self) -> u8 {
        self.0 & FREQUENCY_MAX
    }

    pub(crate) fn set_frequency(&mut self, frequency: u8) {
        self.0 = (self.0 & !FREQUENCY_MAX) | frequency.min(FREQUENCY_MAX);
    }
}

impl Header {
    /// Bytes from one item to the next for such a header.
    pub(crate) fn footprint(&self) -> usize {
        footprint(usize::from(self.key_bytes), self.value_bytes as usize, self.flags != 0)
    }

    /// Where the key starts, counted from the item.
    pub(crate) fn key_start(&self) -> usize {
        HEADER_BYTES + if self.flags != 0 { FLAGS_BYTES } else { 0 }
    }

    /// Where the value starts, counted from the item.
    pub(crate) fn value_start(&self) -> usize {
        self.key_start() + usize::from(self.key_bytes)
    }

    /// Where the value ends, counted from the item.
    pub(crate) fn value_end(&self) -> usize {
        self.value_start() + self.value_bytes as usize
    }

    pub(crate) fn is_expired(&self, now: Time) -> bool {
        self.expires_ms <= now.0
    }

    pub(crate) fn touch(&mut self, now: Time) {
        self.last_access_secs = u32::try_from(now.0 / 1000).unwrap_or(u32::MAX);
    }

    pub(crate) fn last_access(&self) -> Time {
        Time(u64::from(self.last_access_secs) * 1000)
    }

    /// Reads the header at the start of `bytes`.
    pub(crate) fn decode(bytes: &[u8]) -> Header {
        let raw: &[u8; HEADER_BYTES] = bytes.first_chunk().expect("an item is longer than its header");
        let marks = Marks(raw[1]);
        let flags = match bytes[HEADER_BYTES..].first_chunk() {
            Some(flags) if marks.has(Marks::HAS_FLAGS) => u32::from_le_bytes(*flags),
            _ => 0,
        };
        let expires = number(&raw[5..11]);
        Header {
            key_bytes: raw[0],
            marks,
            value_bytes: number(&raw[2..5]) as u32,
            expires_ms: if expires == 0 { NEVER } else { expires },
            cas: number(&raw[11..19]),
            last_access_secs: number(&raw[19..23]) as u32,
            flags,
        }
    }

    /// Writes the header to the start of `bytes`.
    pub(crate) fn encode(&self, bytes: &mut [u8]) {
        let mut marks = self.marks;
        marks.set(Marks::HAS_FLAGS, self.flags != 0);
        let expires = if self.expires_ms == NEVER { 0 } else { self.expires_ms.min(EXPIRY_MAX) };
        let raw: &mut [u8; HEADER_BYTES] =
            bytes.first_chunk_mut().expect("an item is longer than its header");
        raw[0] = self.key_bytes;
        raw[1] = marks.0;
        raw[2..5].copy_from_slice(&self.value_bytes.to_le_bytes()[..3]);
        raw[5..11].copy_from_slice(&expires.to_le_bytes()[..6]);
        raw[11..19].copy_from_slice(&self.cas.to_le_bytes());
        raw[19..23].copy_from_slice(&self.last_access_secs.to_le_bytes());
        if self.flags != 0 {
            bytes[HEADER_BYTES..HEADER_BYTES + FLAGS_BYTES].copy_from_slice(&self.flags.to_le_bytes());
        }
    }
}

/// Bytes that an item takes in a segment.
pub(crate) fn footprint(key_bytes: usize, value_bytes: usize, has_flags: bool) -> usize {
    let flags_bytes = if has_flags { FLAGS_BYTES } else { 0 };
    (HEADER_BYTES + flags_bytes + key_bytes + value_bytes).next_multiple_of(ITEM_ALIGN)
}

/// Marks the item at the start of `bytes` as dead.
pub(crate) fn kill(bytes: &mut [u8]) {
    bytes[1] |= Marks::DEAD;
}

/// An expiry as a header holds it.
pub(crate) fn expires_ms(expiry: Expiry) -> u64 {
    match expiry {
        Expiry::Never => NEVER,
        Expiry::At(at) => at.0.min(EXPIRY_MAX),
    }
}

/// An expiry as the caller sees it.
pub(crate) fn expiry(expires_ms: u64) -> Expiry {
    if expires_ms == NEVER { Expiry::Never } else { Expiry::At(Time(expires_ms)) }
}

fn number(bytes: &[u8]) -> u64 {
    let mut raw = [0; 8];
    raw[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(raw)
}

#[cfg(test)]
mod tests {
    use super::{HEADER_BYTES, Header, Marks, NEVER, footprint};

    fn header(flags: u32, expires_ms: u64) -> Header {
        Header {
            key_bytes: 250,
            marks: Marks(Marks::STALE | 2),
            value_bytes: 0x00ab_cdef,
            expires_ms,
            cas: u64::MAX - 1,
            last_access_secs: 0x1234_5678,
            flags,
        }
    }

    #[test]
    fn header_layout_is_as_drawn() {
        assert_eq!(HEADER_BYTES, 1 + 1 + 3 + 6 + 8 + 4);
        assert_eq!(footprint(1, 0, false), 24);
        assert_eq!(footprint(1, 1, true), 32);
        let mut bytes = [0; 27];
        header(0x0403_0201, 0x0605_0403_0201).encode(&mut bytes);
        assert_eq!(bytes[0], 250);
        assert_eq!(bytes[1], Marks::STALE | Marks::HAS_FLAGS | 2);
        assert_eq!(bytes[2..5], [0xef, 0xcd, 0xab]);
        assert_eq!(bytes[5..11], [1, 2, 3, 4, 5, 6]);
        assert_eq!(bytes[23..], [1, 2, 3, 4]);
    }

    #[test]
    fn header_comes_back_as_written() {
        for (flags, expires_ms) in [(0, NEVER), (7, NEVER), (0, 1), (u32::MAX, (1 << 48) - 1)] {
            let mut bytes = [0; 32];
            let written = header(flags, expires_ms);
            written.encode(&mut bytes);
            let mut read = Header::decode(&bytes);
            read.marks.set(Marks::HAS_FLAGS, false);
            assert_eq!(read, written);
        }
    }
}
