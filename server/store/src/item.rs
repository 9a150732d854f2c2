//! An item as it lies in a segment: a header of few bytes, the key, the value.

use crate::{Access, Expiry, Time, Version};

/// Bytes of a header that every item has.
const FIXED_BYTES: usize = 6;
/// Bytes of a version that is close to its segment's first.
const NEAR_BYTES: usize = 5;
/// Bytes of a whole version.
const WHOLE_BYTES: usize = 8;
/// Bytes of an expiry, present only if the item has one.
const EXPIRY_BYTES: usize = 6;
/// Bytes of the caller's flags, present only when they are not 0.
const FLAGS_BYTES: usize = 4;
/// Bytes of a CAS token, present only when a caller chose it.
const CAS_BYTES: usize = 8;
/// A segment's first version lies this far above the least that its items' five bytes reach: 16 seconds, for items
/// that come late; four minutes remain for those that follow.
pub(crate) const VERSION_SLACK: u64 = 1 << 36;
/// The frequency is two bits.
const FREQUENCY_MAX: u8 = 3;
/// What [`blank`] can leave: no item that lies in a segment as a whole is longer.
pub(crate) const BLANK_BYTES: std::ops::RangeInclusive<usize> = FIXED_BYTES + NEAR_BYTES + 1..=1 << 16;
/// "Never" among expiries in memory.
pub(crate) const NEVER: u64 = u64::MAX;
/// The latest instant that 48 bits hold; later ones are brought down to it.
const EXPIRY_MAX: u64 = (1 << 48) - 1;
/// Bits of the time of the last access that are kept: it is exact within 97 days.
const ACCESS_BITS: u32 = 24;

/// Everything about an item but its key and value.
///
/// ```text
///  0       2         3             6
/// +-------+---------+-------------+---------+-----------+----------+----------+-----------+-----+-------+
/// | marks | key len | last access | version | value len | expiry   | flags    | CAS token | key | value |
/// | u16   | u8      | u24 s       | 5 or 8  | 1 or 2    | 0 or 6   | 0 or 4   | 0 or 8    |     |       |
/// +-------+---------+-------------+---------+-----------+----------+----------+-----------+-----+-------+
///
/// marks  15..13 12        11      10     9       8     7        6       5      4          3       2         1 0
///       +------+---------+-------+------+-------+-----+--------+-------+------+----------+-------+---------+-----------+
///       |      | decided | large | long | whole | CAS | expiry | flags | dead | win sent | stale | fetched | frequency |
///       +------+---------+-------+------+-------+-----+--------+-------+------+----------+-------+---------+-----------+
/// ```
///
/// All numbers are little-endian, nothing is padded. A version is kept as what it exceeds its segment's base by, in
/// 5 bytes where that fits. A large item's value is the list of its pieces: see [`crate::large`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) key_bytes: u8,
    pub(crate) marks: Marks,
    /// Bytes that follow the key: the value, or a large item's list of pieces.
    pub(crate) body_bytes: u16,
    /// Milliseconds since the epoch, or [`NEVER`].
    pub(crate) expires_ms: u64,
    pub(crate) version: Version,
    /// A CAS token that a caller chose; the version stands for it otherwise.
    pub(crate) cas: Option<u64>,
    /// Seconds since the epoch, the lower 24 bits.
    pub(crate) accessed: u32,
    pub(crate) flags: u32,
}

/// The bits of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Marks(u16);

impl Marks {
    /// Read since it was written.
    pub(crate) const FETCHED: u16 = 1 << 2;
    /// Invalidated.
    pub(crate) const STALE: u16 = 1 << 3;
    /// Somebody is fetching it anew.
    pub(crate) const WIN_SENT: u16 = 1 << 4;
    /// No longer in the table; its bytes wait for the segment's end.
    pub(crate) const DEAD: u16 = 1 << 5;
    const HAS_FLAGS: u16 = 1 << 6;
    const HAS_EXPIRY: u16 = 1 << 7;
    const HAS_CAS: u16 = 1 << 8;
    const WHOLE: u16 = 1 << 9;
    const LONG: u16 = 1 << 10;
    /// The value lies in pieces elsewhere.
    pub(crate) const LARGE: u16 = 1 << 11;
    /// What is there was decided here, for all.
    pub(crate) const DECIDED: u16 = 1 << 12;
    /// No mark has these bits.
    const UNUSED: u16 = !0 << 13;
    /// Where the bits begin that say how long the header is.
    const SHAPE_SHIFT: u32 = 6;

    pub(crate) fn has(self, mark: u16) -> bool {
        self.0 & mark != 0
    }

    pub(crate) fn set(&mut self, mark: u16, on: bool) {
        self.0 = if on { self.0 | mark } else { self.0 & !mark };
    }

    pub(crate) fn frequency(self) -> u8 {
        (self.0 & u16::from(FREQUENCY_MAX)) as u8
    }

    pub(crate) fn set_frequency(&mut self, frequency: u8) {
        self.0 = (self.0 & !u16::from(FREQUENCY_MAX)) | u16::from(frequency.min(FREQUENCY_MAX));
    }

    /// Bytes before the key.
    fn header_bytes(self) -> usize {
        usize::from(HEADER_BYTES[usize::from(self.0 >> Self::SHAPE_SHIFT) % HEADER_BYTES.len()])
    }
}

/// Bytes before the key, by the five bits of a header's shape.
const HEADER_BYTES: [u8; 32] = {
    let mut bytes = [0; 32];
    let mut shape = 0;
    while shape < 32 {
        let marks = (shape as u16) << Marks::SHAPE_SHIFT;
        let mut sum = FIXED_BYTES + NEAR_BYTES + 1;
        if marks & Marks::WHOLE != 0 {
            sum += WHOLE_BYTES - NEAR_BYTES;
        }
        if marks & Marks::LONG != 0 {
            sum += 1;
        }
        if marks & Marks::HAS_EXPIRY != 0 {
            sum += EXPIRY_BYTES;
        }
        if marks & Marks::HAS_FLAGS != 0 {
            sum += FLAGS_BYTES;
        }
        if marks & Marks::HAS_CAS != 0 {
            sum += CAS_BYTES;
        }
        bytes[shape] = sum as u8;
        shape += 1;
    }
    bytes
};

impl Header {
    /// The same header with the marks that say what it consists of, in a segment of this base.
    fn shaped(&self, base: u64) -> Marks {
        let mut marks = self.marks;
        marks.set(Marks::HAS_FLAGS, self.flags != 0);
        marks.set(Marks::HAS_EXPIRY, self.expires_ms != NEVER);
        marks.set(Marks::HAS_CAS, self.cas.is_some());
        marks.set(Marks::WHOLE, self.version.0.wrapping_sub(base) >> (8 * NEAR_BYTES) != 0);
        marks.set(Marks::LONG, self.body_bytes > u16::from(u8::MAX));
        marks
    }

    /// Bytes of the item in a segment of this base.
    pub(crate) fn footprint(&self, base: u64) -> usize {
        self.shaped(base).header_bytes() + usize::from(self.key_bytes) + usize::from(self.body_bytes)
    }

    /// The most bytes that the item takes, whatever its segment's base.
    pub(crate) fn footprint_max(&self) -> usize {
        let mut marks = self.shaped(0);
        marks.set(Marks::WHOLE, true);
        marks.header_bytes() + usize::from(self.key_bytes) + usize::from(self.body_bytes)
    }

    /// The token that is shown.
    pub(crate) fn token(&self) -> u64 {
        self.cas.unwrap_or(self.version.0)
    }

    pub(crate) fn is_expired(&self, now: Time) -> bool {
        self.expires_ms <= now.0 && self.expires_ms != NEVER
    }

    pub(crate) fn touch(&mut self, now: Time) {
        self.accessed = (now.0 / 1000) as u32 & ((1 << ACCESS_BITS) - 1);
    }

    /// The last access, exact if it lies within 97 days of `now`.
    pub(crate) fn last_access(&self, now: Time) -> Time {
        last_access(self.accessed, now)
    }

    /// Reads the header at the start of `bytes`, in a segment of this base.
    pub(crate) fn decode(bytes: &[u8], base: u64) -> Header {
        let marks = marks(bytes);
        let mut rest = &bytes[FIXED_BYTES..marks.header_bytes()];
        let mut next = |count: usize| {
            let (number, after) = rest.split_at(count);
            rest = after;
            little_endian(number)
        };
        let version = match marks.has(Marks::WHOLE) {
            true => next(WHOLE_BYTES),
            false => base.wrapping_add(next(NEAR_BYTES)),
        };
        let body_bytes = next(1 + usize::from(marks.has(Marks::LONG))) as u16;
        let expires_ms = if marks.has(Marks::HAS_EXPIRY) { next(EXPIRY_BYTES) } else { NEVER };
        let flags = if marks.has(Marks::HAS_FLAGS) { next(FLAGS_BYTES) as u32 } else { 0 };
        let cas = marks.has(Marks::HAS_CAS).then(|| next(CAS_BYTES));
        Header {
            key_bytes: bytes[2],
            marks,
            body_bytes,
            expires_ms,
            version: Version(version),
            cas,
            accessed: accessed(bytes),
            flags,
        }
    }

    /// Writes the header to the start of `bytes`, in a segment of this base. Answers its length.
    pub(crate) fn encode(&self, bytes: &mut [u8], base: u64) -> usize {
        let marks = self.shaped(base);
        let length = marks.header_bytes();
        bytes[..2].copy_from_slice(&marks.0.to_le_bytes());
        bytes[2] = self.key_bytes;
        bytes[3..FIXED_BYTES].copy_from_slice(&self.accessed.to_le_bytes()[..3]);
        let mut rest = &mut bytes[FIXED_BYTES..length];
        let mut put = |number: u64, count: usize| {
            let (place, after) = std::mem::take(&mut rest).split_at_mut(count);
            place.copy_from_slice(&number.to_le_bytes()[..count]);
            rest = after;
        };
        match marks.has(Marks::WHOLE) {
            true => put(self.version.0, WHOLE_BYTES),
            false => put(self.version.0.wrapping_sub(base), NEAR_BYTES),
        }
        put(u64::from(self.body_bytes), 1 + usize::from(marks.has(Marks::LONG)));
        if marks.has(Marks::HAS_EXPIRY) {
            put(self.expires_ms.min(EXPIRY_MAX), EXPIRY_BYTES);
        }
        if marks.has(Marks::HAS_FLAGS) {
            put(u64::from(self.flags), FLAGS_BYTES);
        }
        if let Some(cas) = self.cas {
            put(cas, CAS_BYTES);
        }
        length
    }
}

fn last_access(accessed: u32, now: Time) -> Time {
    let secs = now.0 / 1000;
    let behind = (secs as u32).wrapping_sub(accessed) << (u32::BITS - ACCESS_BITS);
    let behind = i64::from(behind as i32 >> (u32::BITS - ACCESS_BITS));
    Time(secs.saturating_add_signed(-behind).saturating_mul(1000))
}

fn accessed(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[3], bytes[4], bytes[5], 0])
}

/// How the item at the start of `bytes` was used: told by its first bytes.
pub(crate) fn access(bytes: &[u8], now: Time) -> Access {
    Access { hit_before: marks(bytes).has(Marks::FETCHED), last: last_access(accessed(bytes), now) }
}

fn marks(bytes: &[u8]) -> Marks {
    Marks(u16::from_le_bytes([bytes[0], bytes[1]]))
}

/// The key of the item at the start of `bytes`.
pub(crate) fn key(bytes: &[u8]) -> &[u8] {
    let start = marks(bytes).header_bytes();
    // What nobody has looked at since a memory file gave it may be damaged: no key then.
    bytes.get(start..start + usize::from(bytes[2])).unwrap_or_default()
}

/// Whether the item at the start of `bytes` has this key.
pub(crate) fn key_is(bytes: &[u8], wanted: &[u8]) -> bool {
    usize::from(bytes[2]) == wanted.len() && key(bytes) == wanted
}

/// What follows the key of the item at the start of `bytes`.
pub(crate) fn body<'a>(bytes: &'a [u8], header: &Header) -> &'a [u8] {
    let start = marks(bytes).header_bytes() + usize::from(bytes[2]);
    &bytes[start..start + usize::from(header.body_bytes)]
}

/// As [`body`], to change it.
pub(crate) fn body_mut<'a>(bytes: &'a mut [u8], header: &Header) -> &'a mut [u8] {
    let start = marks(bytes).header_bytes() + usize::from(bytes[2]);
    &mut bytes[start..start + usize::from(header.body_bytes)]
}

/// Bytes of the item at the start of `bytes`, as it lies there.
pub(crate) fn footprint(bytes: &[u8], header: &Header) -> usize {
    marks(bytes).header_bytes() + usize::from(header.key_bytes) + usize::from(header.body_bytes)
}

/// Notes an access in the item at the start of `bytes`: its marks, but not its shape, and the time.
pub(crate) fn note(bytes: &mut [u8], header: &Header) {
    let shape = Marks::HAS_FLAGS | Marks::HAS_EXPIRY | Marks::HAS_CAS | Marks::WHOLE | Marks::LONG;
    let noted = (marks(bytes).0 & shape) | (header.marks.0 & !shape);
    bytes[..2].copy_from_slice(&noted.to_le_bytes());
    bytes[3..FIXED_BYTES].copy_from_slice(&header.accessed.to_le_bytes()[..3]);
}

/// Whether the item at the start of `bytes` is dead.
pub(crate) fn is_dead(bytes: &[u8]) -> bool {
    marks(bytes).has(Marks::DEAD)
}

/// The header at the start of `bytes` and the item's bytes, if an item can be there: what a memory file holds may be
/// damaged.
pub(crate) fn checked(bytes: &[u8], base: u64) -> Option<(Header, usize)> {
    let marks = marks(bytes.get(..FIXED_BYTES).is_some().then_some(bytes)?);
    if marks.0 & Marks::UNUSED != 0 || bytes.len() < marks.header_bytes() {
        return None;
    }
    let header = Header::decode(bytes, base);
    let footprint = footprint(bytes, &header);
    let is_item = header.key_bytes > 0 && header.version <= Version::LAST || marks.has(Marks::DEAD);
    (is_item && footprint <= bytes.len()).then_some((header, footprint))
}

/// Leaves a dead item of so many bytes at the start of `bytes`, and nothing of what was there.
pub(crate) fn blank(bytes: &mut [u8], footprint: usize) {
    let (key_bytes, body_bytes) = match footprint - BLANK_BYTES.start() {
        body if body <= 255 => (0, body),
        256 => (1, 255),
        body => (0, body - 1),
    };
    let mut marks = Marks::default();
    marks.set(Marks::DEAD, true);
    let header = Header {
        key_bytes,
        marks,
        body_bytes: body_bytes as u16,
        expires_ms: NEVER,
        version: Version::default(),
        cas: None,
        accessed: 0,
        flags: 0,
    };
    bytes[..footprint].fill(0);
    header.encode(bytes, 0);
}

/// Marks the item at the start of `bytes` as dead.
pub(crate) fn kill(bytes: &mut [u8]) {
    bytes[0] |= Marks::DEAD as u8;
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

fn little_endian(bytes: &[u8]) -> u64 {
    let mut raw = [0; 8];
    raw[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(raw)
}

#[cfg(test)]
mod tests {
    use super::{Header, Marks, NEVER, body, footprint, key, key_is, kill, note};
    use crate::{Time, Version};

    const BASE: u64 = 1 << 50;

    fn header(flags: u32, expires_ms: u64, above: u64, cas: Option<u64>, body_bytes: u16) -> Header {
        let mut marks = Marks::default();
        marks.set(Marks::STALE, true);
        marks.set_frequency(2);
        let version = Version(BASE + above);
        Header { key_bytes: 3, marks, body_bytes, expires_ms, version, cas, accessed: 0x12_3456, flags }
    }

    #[test]
    fn smallest_header_is_twelve_bytes_and_lies_as_drawn() {
        let header = header(0, NEVER, 0x05_0403_0201, None, 255);
        let mut bytes = [0; 12];
        assert_eq!((header.encode(&mut bytes, BASE), header.footprint(BASE)), (12, 12 + 3 + 255));
        assert_eq!(bytes, [2 | 8, 0, 3, 0x56, 0x34, 0x12, 1, 2, 3, 4, 5, 255]);
    }

    #[test]
    fn header_comes_back_as_written_whatever_its_shape() {
        for (flags, expires_ms) in [(0, NEVER), (7, NEVER), (0, 1), (u32::MAX, (1 << 48) - 1)] {
            for above in [0, (1 << 40) - 1, 1 << 40, u64::MAX] {
                for (cas, body_bytes) in [(None, 0), (Some(u64::MAX), 256), (None, u16::MAX)] {
                    let version = Version(BASE.wrapping_add(above));
                    let written = Header { version, ..header(flags, expires_ms, 0, cas, body_bytes) };
                    let mut bytes = vec![0; written.footprint(BASE)];
                    let start = written.encode(&mut bytes, BASE);
                    bytes[start..start + 3].copy_from_slice(b"key");
                    let read = Header::decode(&bytes, BASE);
                    assert_eq!(Header { marks: written.marks, ..read }, written);
                    assert_eq!((read.marks.frequency(), read.marks.has(Marks::STALE)), (2, true));
                    assert_eq!((key(&bytes), body(&bytes, &read).len()), (&b"key"[..], body_bytes.into()));
                    assert!(key_is(&bytes, b"key") && !key_is(&bytes, b"kez") && !key_is(&bytes, b"ke"));
                    assert_eq!(footprint(&bytes, &read), bytes.len());
                    assert!(written.footprint_max() >= bytes.len());
                }
            }
        }
    }

    #[test]
    fn note_changes_marks_and_time_and_kill_the_life() {
        let written = header(7, 99, 1 << 41, None, 300);
        let mut bytes = vec![0; written.footprint(BASE)];
        written.encode(&mut bytes, BASE);
        let mut noted = Header::decode(&bytes, BASE);
        noted.marks.set(Marks::FETCHED, true);
        noted.touch(Time(1_700_000_000_000));
        note(&mut bytes, &noted);
        assert_eq!(Header::decode(&bytes, BASE), noted);
        kill(&mut bytes);
        assert!(Header::decode(&bytes, BASE).marks.has(Marks::DEAD));
    }

    #[test]
    fn last_access_is_exact_within_months_of_now() {
        let mut header = header(0, NEVER, 0, None, 0);
        header.touch(Time(1_700_000_123_456));
        for days in [-90, -1, 0, 1, 90] {
            let now = Time(1_700_000_123_000u64.saturating_add_signed(days * 86_400_000));
            assert_eq!(header.last_access(now), Time(1_700_000_123_000), "{days} days");
        }
    }
}
