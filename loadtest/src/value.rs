//! Values that prove what they are: each carries its key and a checksum.
//!
//! ```text
//! 0        8         10            10 + key
//! | xxh3   | key     | key ...     | filler up to the size |
//! | of all | length  |             | drawn from the key    |
//! | behind | (LE)    |             |                       |
//! ```

use bytes::Bytes;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::args::ValueSize;

/// Checksum and key length.
pub(crate) const HEADER_BYTES: usize = 8 + 2;
/// Seed of the size draw: sizes must not follow the hash that deals keys to workers.
const SIZE_SEED: u64 = 0x5173;
/// Seed of the filler.
const FILLER_SEED: u64 = 0xF111;
/// Words of filler written at once: a cache line or two, as copying is cheapest.
const FILLER_WORDS: usize = 16;

/// Makes and checks values of given sizes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Values {
    size: ValueSize,
}

impl Values {
    /// Values of these sizes. One that is too small for header and key is as long as these.
    pub(crate) fn new(size: ValueSize) -> Values {
        Values { size }
    }

    /// The one value of a key.
    pub(crate) fn make(&self, key: &[u8]) -> Bytes {
        let mut value = Vec::new();
        self.write(key, &mut value);
        Bytes::from(value)
    }

    /// Appends the one value of a key.
    pub(crate) fn write(&self, key: &[u8], out: &mut Vec<u8>) {
        let (start, bytes) = (out.len(), self.bytes(key));
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&u16::try_from(key.len()).expect("a key has at most 250 bytes").to_le_bytes());
        out.extend_from_slice(key);
        let filler = [xxh3_64_with_seed(key, FILLER_SEED).to_le_bytes(); FILLER_WORDS];
        let filler = filler.as_flattened();
        let mut left = bytes - (out.len() - start);
        while left > 0 {
            let part = left.min(filler.len());
            out.extend_from_slice(&filler[..part]);
            left -= part;
        }
        let checksum = xxh3_64(&out[start + 8..]);
        out[start..start + 8].copy_from_slice(&checksum.to_le_bytes());
    }

    /// Whether a value is the one of the key: its length, its checksum and the key in it.
    pub(crate) fn is_right(&self, key: &[u8], value: &[u8]) -> bool {
        let Some((checksum, rest)) = value.split_first_chunk::<8>() else { return false };
        let Some((length, rest)) = rest.split_first_chunk::<2>() else { return false };
        usize::from(u16::from_le_bytes(*length)) == key.len()
            && rest.starts_with(key)
            && value.len() == self.bytes(key)
            && u64::from_le_bytes(*checksum) == xxh3_64(&value[8..])
    }

    fn bytes(&self, key: &[u8]) -> usize {
        let span = (self.size.bytes_max - self.size.bytes_min) as u64 + 1;
        let drawn = self.size.bytes_min + (xxh3_64_with_seed(key, SIZE_SEED) % span) as usize;
        drawn.max(HEADER_BYTES + key.len())
    }
}

#[cfg(test)]
mod tests {
    use super::Values;
    use crate::args::ValueSize;

    const DEFAULT: ValueSize = ValueSize { bytes_min: 100, bytes_max: 4096 };

    #[test]
    fn value_is_right_for_its_key_only() {
        let values = Values::new(DEFAULT);
        for number in 0..1000_u32 {
            let (key, other) = (number.to_string(), (number + 1).to_string());
            let value = values.make(key.as_bytes());
            assert!((100..=4096).contains(&value.len()));
            assert!(values.is_right(key.as_bytes(), &value));
            assert!(!values.is_right(other.as_bytes(), &value));
        }
    }

    #[test]
    fn any_changed_byte_and_any_cut_is_wrong() {
        let values = Values::new(ValueSize { bytes_min: 40, bytes_max: 40 });
        let value = values.make(b"key");
        for at in 0..value.len() {
            let mut changed = value.to_vec();
            changed[at] ^= 1;
            assert!(!values.is_right(b"key", &changed));
            assert!(!values.is_right(b"key", &value[..at]));
        }
    }

    #[test]
    fn sizes_spread_over_the_range_and_stay_with_the_key() {
        let values = Values::new(DEFAULT);
        let size = |number: u32| values.make(number.to_string().as_bytes()).len();
        let mean = (0..10_000).map(size).sum::<usize>() / 10_000;
        assert!((2000..2200).contains(&mean), "mean {mean}");
        assert_eq!(size(7), size(7));
    }

    #[test]
    fn value_smaller_than_its_header_is_made_longer() {
        let values = Values::new(ValueSize { bytes_min: 1, bytes_max: 1 });
        assert_eq!(values.make(b"key").len(), 13);
        assert!(values.is_right(b"key", &values.make(b"key")));
    }
}
