//! Requests to replay, made beforehand, and the keys and values they stand for.

mod synthetic;
mod trace;

use std::path::PathBuf;

use anyhow::Result;
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;

pub(crate) use synthetic::{LogNormalSizes, zipf_ranks};

/// Bytes of a key in replays.
pub(crate) const KEY_BYTES: usize = 32;
/// A value starts with its key's number.
pub(crate) const VALUE_BYTES_MIN: usize = 8;
/// The largest value in replays: below the 1 MiB of memcached, whose header and key count too.
pub(crate) const VALUE_BYTES_MAX: usize = (1 << 20) - 1024;

/// Whatever draws at random draws from this, which stays the same in every version.
pub(crate) type Random = Xoshiro256PlusPlus;

/// The random numbers of a seed.
pub(crate) fn random(seed: u64) -> Random {
    Random::seed_from_u64(seed)
}

/// One cache-aside request: get the key; on a miss set it with a value of this size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Request {
    /// The key's number, below [`Load::keys`].
    pub(crate) key: u32,
    /// Bytes of the value.
    pub(crate) value_bytes: u32,
}

/// A load, made whole before it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Load {
    /// What the tables call it.
    pub(crate) name: String,
    /// The requests in their order.
    pub(crate) requests: Vec<Request>,
    /// Keys are numbered below this.
    pub(crate) keys: u32,
}

/// What to make a load of.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Source {
    /// A trace file, so many copies of it side by side.
    Trace {
        /// The file.
        path: PathBuf,
        /// Copies with keys of their own, interleaved.
        scale: u32,
    },
    /// Keys by Zipf's law, log-normal values.
    Zipf(Synthetic),
    /// Likewise, with every fifth request in the mean for a key that never comes again.
    Scan(Synthetic),
}

/// Sizes of a synthetic load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Synthetic {
    /// Keys that come again.
    pub(crate) keys: u32,
    /// Requests.
    pub(crate) requests: usize,
    /// What all that is drawn depends on.
    pub(crate) seed: u64,
}

impl Source {
    /// Makes the load.
    ///
    /// # Errors
    /// When a trace cannot be read.
    pub(crate) fn load(&self) -> Result<Load> {
        match self {
            Source::Trace { path, scale } => trace::load(path, *scale),
            Source::Zipf(sizes) => Ok(synthetic::zipf(sizes)),
            Source::Scan(sizes) => Ok(synthetic::scan(sizes)),
        }
    }
}

impl Load {
    /// Keys that occur, and what a cache needs to hold them all at `overhead_bytes` an item. A key counts with the
    /// size of its first request.
    pub(crate) fn footprint(&self, overhead_bytes: usize) -> Footprint {
        let mut seen = vec![false; self.keys as usize];
        let mut sum = Footprint::default();
        for request in &self.requests {
            if !std::mem::replace(&mut seen[request.key as usize], true) {
                sum.keys += 1;
                sum.bytes += (KEY_BYTES + request.value_bytes as usize + overhead_bytes) as u64;
                sum.value_bytes_max = sum.value_bytes_max.max(request.value_bytes as usize);
            }
        }
        sum
    }
}

/// What a load would fill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Footprint {
    /// Keys that occur.
    pub(crate) keys: u64,
    /// Bytes of all their items.
    pub(crate) bytes: u64,
    /// The largest value.
    pub(crate) value_bytes_max: usize,
}

/// Writes a key: its number in decimal, with letters before it.
pub(crate) fn write_key(number: u64, key: &mut [u8]) {
    let mut rest = number;
    for (at, byte) in key.iter_mut().rev().enumerate() {
        // Ten digits are enough for any load here; the letters keep keys of one length.
        *byte = if at < 10 { b'0' + (rest % 10) as u8 } else { b'k' };
        rest /= 10;
    }
}

/// Values of any size up to a limit, each carrying its key's number.
pub(crate) struct Payload(Vec<u8>);

impl Payload {
    /// For values of at most so many bytes.
    pub(crate) fn new(value_bytes_max: usize) -> Payload {
        Payload((0..value_bytes_max.max(VALUE_BYTES_MIN)).map(|at| (at % 251) as u8).collect())
    }

    /// The value of a key; at least [`VALUE_BYTES_MIN`] long.
    pub(crate) fn value(&mut self, number: u64, bytes: usize) -> &[u8] {
        self.0[..VALUE_BYTES_MIN].copy_from_slice(&number.to_le_bytes());
        &self.0[..bytes.max(VALUE_BYTES_MIN)]
    }

    /// Whether a value that was found is this key's.
    pub(crate) fn is_right(value: &[u8], number: u64) -> bool {
        let tail_is_right = || {
            let last = value.len() - 1;
            last < VALUE_BYTES_MIN || value[last] == (last % 251) as u8
        };
        value.starts_with(&number.to_le_bytes()) && tail_is_right()
    }
}

#[cfg(test)]
mod tests {
    use super::{Load, Payload, Request, write_key};

    #[test]
    fn keys_of_different_numbers_differ() {
        let (mut key, mut other) = ([0; 16], [0; 16]);
        write_key(1_234_567_890, &mut key);
        assert_eq!(&key, b"kkkkkk1234567890");
        write_key(0, &mut other);
        assert_eq!(&other, b"kkkkkk0000000000");
    }

    #[test]
    fn value_of_another_key_or_cut_short_is_wrong() {
        let mut payload = Payload::new(100);
        let value = payload.value(7, 50).to_vec();
        assert!(Payload::is_right(&value, 7) && !Payload::is_right(&value, 8));
        assert!(!Payload::is_right(&value[..7], 7));
        let mut torn = value;
        torn[49] ^= 1;
        assert!(!Payload::is_right(&torn, 7));
        assert!(Payload::is_right(payload.value(9, 0), 9), "a value is never shorter than its number");
    }

    #[test]
    fn footprint_counts_each_key_once() {
        let request = |key, value_bytes| Request { key, value_bytes };
        let requests = vec![request(0, 100), request(2, 10), request(0, 100)];
        let footprint = Load { name: String::new(), requests, keys: 3 }.footprint(24);
        assert_eq!((footprint.keys, footprint.bytes, footprint.value_bytes_max), (2, 110 + 2 * 56, 100));
    }
}
