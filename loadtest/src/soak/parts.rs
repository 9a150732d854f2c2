//! Values that prove whose they are, whatever was appended or prepended: any number of parts, each with the key and a
//! checksum.
//!
//! ```text
//! 0        8         12        14            14 + key
//! | xxh3   | length  | key     | key ...     | filler up to the length |
//! | of all | of all  | length  |             | drawn from the checksum |
//! | behind | (LE)    | (LE)    |             | of the part's number    |
//! ```

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Checksum, length, length of the key.
const HEADER_BYTES: usize = 8 + 4 + 2;
/// Seed of checksums.
const SEED: u64 = 0x50A4;
/// Words of filler written at once.
const FILLER_WORDS: usize = 16;

/// Appends a part of about `bytes` bytes for a key; different numbers give different filler.
pub(super) fn write(key: &[u8], bytes: usize, number: u64, out: &mut Vec<u8>) {
    let (start, bytes) = (out.len(), bytes.max(HEADER_BYTES + key.len()));
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&u32::try_from(bytes).expect("a value is shorter than 4 GiB").to_le_bytes());
    out.extend_from_slice(&u16::try_from(key.len()).expect("a key has at most 250 bytes").to_le_bytes());
    out.extend_from_slice(key);
    let filler = [number.to_le_bytes(); FILLER_WORDS];
    let filler = filler.as_flattened();
    while out.len() < start + bytes {
        let part = filler.len().min(start + bytes - out.len());
        out.extend_from_slice(&filler[..part]);
    }
    let checksum = xxh3_64_with_seed(&out[start + 8..], SEED);
    out[start..start + 8].copy_from_slice(&checksum.to_le_bytes());
}

/// What is wrong with a value of a key; `None` when it is one or more whole parts of that key.
pub(super) fn fault(key: &[u8], mut value: &[u8]) -> Option<&'static str> {
    if value.is_empty() {
        return Some("an empty value");
    }
    while !value.is_empty() {
        let Some((length, held)) = beginning(value) else { return Some("a value cut short") };
        if xxh3_64_with_seed(&value[8..length], SEED).to_le_bytes() != value[..8] {
            return Some("a value with a bad checksum");
        }
        if held != key {
            return Some("a value of another key");
        }
        value = &value[length..];
    }
    None
}

/// Length and key of the part at the front, if it can be whole.
fn beginning(value: &[u8]) -> Option<(usize, &[u8])> {
    let (length, rest) = value.get(8..)?.split_first_chunk::<4>()?;
    let (key_bytes, rest) = rest.split_first_chunk::<2>()?;
    let length = u32::from_le_bytes(*length) as usize;
    let key = rest.get(..usize::from(u16::from_le_bytes(*key_bytes)))?;
    (HEADER_BYTES + key.len() <= length && length <= value.len()).then_some((length, key))
}

#[cfg(test)]
mod tests {
    use super::{fault, write};

    fn value(key: &[u8], sizes: &[usize]) -> Vec<u8> {
        let mut out = Vec::new();
        for (number, bytes) in sizes.iter().enumerate() {
            write(key, *bytes, number as u64, &mut out);
        }
        out
    }

    #[test]
    fn parts_pass_alone_and_together() {
        assert_eq!(fault(b"key", &value(b"key", &[10])), None);
        assert_eq!(fault(b"key", &value(b"key", &[10, 1000, 77])), None);
        assert_eq!(value(b"key", &[1000]).len(), 1000);
    }

    #[test]
    fn other_keys_are_told() {
        assert_eq!(fault(b"kez", &value(b"key", &[50])), Some("a value of another key"));
        let mixed = [value(b"key", &[50]), value(b"kez", &[50])].concat();
        assert_eq!(fault(b"key", &mixed), Some("a value of another key"));
    }

    #[test]
    fn any_changed_byte_and_any_cut_is_a_fault() {
        let value = value(b"key", &[40, 60]);
        for at in 0..value.len() {
            let mut changed = value.clone();
            changed[at] ^= 1;
            assert!(fault(b"key", &changed).is_some(), "byte {at}");
            // A cut between two parts leaves a value that could have been written.
            assert_eq!(fault(b"key", &value[..at]).is_none(), at == 40, "cut at {at}");
        }
    }
}
