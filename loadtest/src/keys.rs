//! A space of numbered keys: computed, not kept, so that ten million cost no memory and no cache miss.

use xxhash_rust::xxh3::xxh3_64;

/// Shortest key: 16 hexadecimal digits tell 2^64 keys apart.
pub(crate) const KEY_BYTES_MIN: usize = 16;

/// Keys 0 to `count`, all of one length.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeySpace {
    count: u64,
    key_bytes: usize,
}

impl KeySpace {
    /// `count` keys of `key_bytes` each.
    ///
    /// # Panics
    /// When keys are shorter than [`KEY_BYTES_MIN`] or there are none; the command line refuses both.
    pub(crate) fn new(count: u64, key_bytes: usize) -> KeySpace {
        assert!(count > 0 && key_bytes >= KEY_BYTES_MIN, "the command line checks both");
        KeySpace { count, key_bytes }
    }

    /// How many keys there are.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Length of each.
    pub(crate) fn key_bytes(&self) -> usize {
        self.key_bytes
    }

    /// Writes key `index` over `out`, which has the length of a key. No two of them are the same.
    pub(crate) fn write(&self, index: u64, out: &mut [u8]) {
        debug_assert_eq!(out.len(), self.key_bytes);
        let mut word = mixed(index);
        for part in out.chunks_mut(16) {
            let digits = hexadecimal(word);
            part.copy_from_slice(&digits[..part.len()]);
            word = mixed(word);
        }
    }

    /// The key that a drawn number stands for: even over all keys.
    pub(crate) fn index_of(&self, drawn: u64) -> u64 {
        ((u128::from(drawn) * u128::from(self.count)) >> 64) as u64
    }
}

/// A bijection that scatters (the finalizer of SplitMix64): different numbers stay different.
pub(crate) fn mixed(number: u64) -> u64 {
    let mut word = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

/// A seed from a name, the same in every run.
pub(crate) fn seed_of(name: &str) -> u64 {
    xxh3_64(name.as_bytes())
}

/// All 16 digits, without a table and without a branch.
fn hexadecimal(word: u64) -> [u8; 16] {
    // Each of 16 nibbles into a byte of its own, then '0'..'9' or 'a'..'f'.
    let mut spread = u128::from(word);
    spread = (spread | (spread << 32)) & 0x0000_0000_FFFF_FFFF_0000_0000_FFFF_FFFF;
    spread = (spread | (spread << 16)) & 0x0000_FFFF_0000_FFFF_0000_FFFF_0000_FFFF;
    spread = (spread | (spread << 8)) & 0x00FF_00FF_00FF_00FF_00FF_00FF_00FF_00FF;
    spread = (spread | (spread << 4)) & 0x0F0F_0F0F_0F0F_0F0F_0F0F_0F0F_0F0F_0F0F;
    const ONES: u128 = 0x0101_0101_0101_0101_0101_0101_0101_0101;
    let letters = ((spread + ONES * 6) >> 4) & ONES;
    (spread + ONES * u128::from(b'0') + letters * u128::from(b'a' - b'0' - 10)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::{KeySpace, hexadecimal};
    use std::collections::HashSet;

    #[test]
    fn digits_are_those_of_the_standard_library() {
        for word in [0, 1, 0x0123_4567_89ab_cdef, u64::MAX, 0xdead_beef_0000_9a0f] {
            assert_eq!(hexadecimal(word), *format!("{word:016x}").as_bytes());
        }
    }

    #[test]
    fn keys_differ_and_have_their_length() {
        for key_bytes in [16, 17, 32, 250] {
            let keys = KeySpace::new(1000, key_bytes);
            let key = |index| {
                let mut key = vec![0; key_bytes];
                keys.write(index, &mut key);
                key
            };
            let all: HashSet<Vec<u8>> = (0..1000).map(key).collect();
            assert_eq!(all.len(), 1000);
            assert!(all.iter().flatten().all(u8::is_ascii_hexdigit));
        }
    }

    #[test]
    fn drawn_numbers_cover_every_key() {
        let keys = KeySpace::new(10, 16);
        assert_eq!((keys.index_of(0), keys.index_of(u64::MAX)), (0, 9));
        assert_eq!(keys.index_of(u64::MAX / 2 + 1), 5);
    }
}
