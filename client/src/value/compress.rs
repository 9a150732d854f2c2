//! Values compressed with zstd where it pays.

use bytes::Bytes;
use thiserror::Error;

use super::flags::{COMPRESSION_MASK, RESERVED, ZSTD};

/// From this size on a value is compressed. zstd takes 5 us to compress even 1 KiB, and 3 us to undo it: more than a
/// read costs the client. At 4 KiB of JSON the bytes saved take as long on a link of 10 Gb/s as undoing it does, 3 us,
/// and four fifths of the node's memory are saved on top.
const BYTES_MIN: usize = 4 << 10;

/// What is kept must be at least this share smaller, as 1 / 10: less is not worth undoing at each read.
const SAVED_SHARE: usize = 10;

/// zstd's level: higher ones cost writes up to twice as much, and save nothing on values of some kilobytes.
#[cfg(feature = "zstd")]
const LEVEL: i32 = 1;

/// Which values are compressed. The default is from 4 KiB on, where the feature `zstd` is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Compression {
    bytes_min: Option<usize>,
}

impl Default for Compression {
    fn default() -> Self {
        Self { bytes_min: cfg!(feature = "zstd").then_some(BYTES_MIN) }
    }
}

impl Compression {
    /// None: for values that are appended to, that servers of others read, or that are compressed already.
    pub(crate) fn off() -> Self {
        Self { bytes_min: None }
    }

    /// Values of so many bytes and more. Without the feature `zstd` it is still none.
    pub(crate) fn from_bytes(bytes_min: usize) -> Self {
        Self { bytes_min: cfg!(feature = "zstd").then_some(bytes_min) }
    }

    /// The value as it is stored, and its flags. It stays as it is when it is small, when little is saved, or when it
    /// is too large to be read back.
    pub(crate) fn compress(self, value: Bytes, flags: u32) -> (Bytes, u32) {
        let wanted = self.bytes_min.is_some_and(|least| value.len() >= least);
        if !wanted || value.is_empty() || value.len() > super::VALUE_BYTES_MAX {
            return (value, flags);
        }
        match zstd_compress(&value) {
            Some(smaller) if smaller.len() <= value.len() - value.len().div_ceil(SAVED_SHARE) => {
                (smaller.into(), flags | ZSTD)
            }
            _ => (value, flags),
        }
    }
}

/// Why a stored value cannot be decompressed. Retrying does not help; storing it anew does.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub(crate) enum DecompressError {
    /// Its content is larger than the reader takes.
    #[error(
        "the value has {bytes} bytes when decompressed, more than {bytes_max}: raise the limit, or split it"
    )]
    TooLarge {
        /// What it says it has.
        bytes: u64,
        /// The limit.
        bytes_max: usize,
    },
    /// It is no frame of zstd, or a damaged one.
    #[error(
        "the value is marked as zstd and is none: was it appended to, or written with these flags by others"
    )]
    Damaged,
    /// A newer client wrote it.
    #[error(
        "the value is stored in a way this client does not know, flags {flags:#010x}: upgrade the client"
    )]
    Unknown {
        /// The item's flags.
        flags: u32,
    },
    /// This client was built without zstd.
    #[error("the value is compressed and this client was built without the feature zstd: switch it on")]
    NotBuilt,
}

/// The value as it was given to [`Compression::compress`], and its flags. Of `bytes_max` bytes at most, whatever the
/// stored bytes say: nothing larger is allocated.
pub(crate) fn decompress(
    stored: Bytes,
    flags: u32,
    bytes_max: usize,
) -> Result<(Bytes, u32), DecompressError> {
    if flags & RESERVED != 0 {
        return Err(DecompressError::Unknown { flags });
    }
    match flags & COMPRESSION_MASK {
        0 => Ok((stored, flags)),
        ZSTD => Ok((zstd_decompress(&stored, bytes_max)?.into(), flags & !COMPRESSION_MASK)),
        _ => Err(DecompressError::Unknown { flags }),
    }
}

#[cfg(not(feature = "zstd"))]
fn zstd_compress(_: &[u8]) -> Option<Vec<u8>> {
    None
}

#[cfg(not(feature = "zstd"))]
fn zstd_decompress(_: &[u8], _: usize) -> Result<Vec<u8>, DecompressError> {
    Err(DecompressError::NotBuilt)
}

#[cfg(feature = "zstd")]
thread_local! {
    // A new context costs three times what a small value does. One of each for a thread that uses it, and nothing in
    // it outlives a call.
    static COMPRESSOR: std::cell::RefCell<Option<zstd::bulk::Compressor<'static>>> =
        const { std::cell::RefCell::new(None) };
    static DECOMPRESSOR: std::cell::RefCell<Option<zstd::bulk::Decompressor<'static>>> =
        const { std::cell::RefCell::new(None) };
}

/// `None` when zstd cannot, which is for want of memory.
#[cfg(feature = "zstd")]
fn zstd_compress(value: &[u8]) -> Option<Vec<u8>> {
    COMPRESSOR.with_borrow_mut(|compressor| {
        if compressor.is_none() {
            *compressor = zstd::bulk::Compressor::new(LEVEL).ok();
        }
        compressor.as_mut()?.compress(value).ok()
    })
}

#[cfg(feature = "zstd")]
fn zstd_decompress(stored: &[u8], bytes_max: usize) -> Result<Vec<u8>, DecompressError> {
    let bytes = match zstd::zstd_safe::get_frame_content_size(stored) {
        Ok(Some(bytes)) => bytes,
        _ => return Err(DecompressError::Damaged),
    };
    let Some(capacity) = usize::try_from(bytes).ok().filter(|&capacity| capacity <= bytes_max) else {
        return Err(DecompressError::TooLarge { bytes, bytes_max });
    };
    let value = DECOMPRESSOR.with_borrow_mut(|decompressor| {
        if decompressor.is_none() {
            *decompressor = zstd::bulk::Decompressor::new().ok();
        }
        decompressor.as_mut()?.decompress(stored, capacity).ok()
    });
    value.filter(|value| value.len() == capacity).ok_or(DecompressError::Damaged)
}

#[cfg(all(test, not(feature = "zstd")))]
mod tests_without {
    use super::*;

    #[test]
    fn without_the_feature_values_stay_and_compressed_ones_are_an_error() {
        let value = Bytes::from(vec![b'a'; 1 << 20]);
        for compression in [Compression::default(), Compression::off(), Compression::from_bytes(1)] {
            assert_eq!(compression.compress(value.clone(), 0), (value.clone(), 0));
        }
        assert_eq!(decompress(value.clone(), 7, 100), Ok((value.clone(), 7)));
        assert_eq!(decompress(value, ZSTD, 100), Err(DecompressError::NotBuilt));
        assert_eq!(zstd_compress(b"x"), None);
        let other = DecompressError::TooLarge { bytes: 2, bytes_max: 1 };
        assert_ne!(other, DecompressError::Damaged);
    }
}

#[cfg(all(test, feature = "zstd"))]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::value::VALUE_BYTES_MAX;

    const FLAGS: u32 = 0x0100_0007;

    fn compressed(value: &Bytes) -> (Bytes, u32) {
        Compression::from_bytes(1).compress(value.clone(), FLAGS)
    }

    /// As zstd would write it, whatever is saved.
    fn frame(value: &[u8]) -> Bytes {
        zstd_compress(value).expect("memory for a context").into()
    }

    #[test]
    fn large_value_is_stored_smaller_and_comes_back() {
        let value = Bytes::from("the same words again and again, ".repeat(1_000));
        let (stored, flags) = Compression::default().compress(value.clone(), FLAGS);
        assert!(stored.len() < value.len() / 20, "{}", stored.len());
        assert_eq!(flags, FLAGS | ZSTD);
        assert_eq!(decompress(stored, flags, VALUE_BYTES_MAX), Ok((value, FLAGS)));
    }

    #[test]
    fn small_value_stays_as_it_is() {
        let below = Bytes::from(vec![b'a'; BYTES_MIN - 1]);
        assert_eq!(Compression::default().compress(below.clone(), FLAGS), (below, FLAGS));
        let (_, flags) = Compression::default().compress(vec![b'a'; BYTES_MIN].into(), FLAGS);
        assert_eq!(flags, FLAGS | ZSTD);
        let value = Bytes::from(vec![b'a'; 1 << 20]);
        assert_eq!(Compression::off().compress(value.clone(), 0), (value, 0));
    }

    #[test]
    fn value_that_hardly_shrinks_stays_as_it_is() {
        let mut random = 1_u64;
        let noise: Vec<u8> = (0..10_000)
            .map(|_| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (random >> 56) as u8
            })
            .collect();
        assert_eq!(compressed(&noise.clone().into()), (noise.into(), FLAGS));
    }

    #[test]
    fn content_beyond_the_limit_is_refused_before_it_is_allocated() {
        let bomb = frame(&vec![0; VALUE_BYTES_MAX + 1]);
        assert!(bomb.len() < 20_000, "{}", bomb.len());
        let (bytes, bytes_max) = (VALUE_BYTES_MAX as u64 + 1, VALUE_BYTES_MAX);
        assert_eq!(decompress(bomb, ZSTD, bytes_max), Err(DecompressError::TooLarge { bytes, bytes_max }));
    }

    #[test]
    fn second_frame_behind_the_first_is_refused() {
        let one = frame(&[7; 5_000]);
        let two = Bytes::from([one.clone(), one.clone()].concat());
        assert_eq!(decompress(two, ZSTD, VALUE_BYTES_MAX), Err(DecompressError::Damaged));
        let appended = Bytes::from([&one[..], b"tail"].concat());
        assert_eq!(decompress(appended, ZSTD, VALUE_BYTES_MAX), Err(DecompressError::Damaged));
    }

    #[test]
    fn value_of_others_that_only_has_the_flags_is_an_error() {
        assert_eq!(decompress("plain".into(), ZSTD, 100), Err(DecompressError::Damaged));
        assert_eq!(decompress(Bytes::new(), ZSTD, 100), Err(DecompressError::Damaged));
    }

    #[test]
    fn errors_say_what_to_do() {
        assert!(DecompressError::NotBuilt.to_string().ends_with("switch it on"));
    }

    #[test]
    fn unknown_form_is_refused() {
        for flags in [0x0020_0000, 0x00f0_0000, RESERVED, RESERVED | ZSTD] {
            assert_eq!(decompress("x".into(), flags, 100), Err(DecompressError::Unknown { flags }));
        }
    }

    proptest! {
        #[test]
        fn any_value_comes_back(
            piece in proptest::collection::vec(any::<u8>(), 0..300),
            times in 0..60_usize,
            flags in any::<u32>().prop_map(|flags| flags & !super::super::flags::STORED_FORM_MASK),
        ) {
            let value = Bytes::from(piece.repeat(times));
            let (stored, marked) = Compression::from_bytes(0).compress(value.clone(), flags);
            prop_assert!(stored.len() <= value.len());
            prop_assert_eq!(decompress(stored, marked, value.len()), Ok((value, flags)));
        }

        /// Whatever was done to a frame: an error, or a value within the limit.
        #[test]
        fn damaged_frame_never_exceeds_the_limit(
            at in any::<prop::sample::Index>(),
            to in any::<u8>(),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut stored = frame(&b"0123456789".repeat(50)).to_vec();
            *at.get_mut(&mut stored) = to;
            stored.truncate(cut.index(stored.len()) + 1);
            if let Ok((value, _)) = decompress(stored.into(), ZSTD, 1_000) {
                prop_assert!(value.len() <= 1_000);
            }
        }

        #[test]
        fn noise_never_panics(stored in proptest::collection::vec(any::<u8>(), 0..200), flags in any::<u32>()) {
            let mut marked = b"\x28\xb5\x2f\xfd".to_vec();
            marked.extend(&stored);
            for stored in [stored, marked] {
                if let Ok((value, _)) = decompress(stored.clone().into(), flags, 4_096) {
                    prop_assert!(value.len() <= 4_096.max(stored.len()));
                }
            }
        }
    }
}
