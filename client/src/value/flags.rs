//! The bits of an item's flags that say how its value is stored.
//!
//! ```text
//!  31      24 23         20  19    18       17        16     15                    0
//! +----------+-------------+---+-------+----------+----------+-----------------------+
//! |  codec   | compression | 0 | chunk | full key | manifest |  the caller's, and    |
//! |          |             |   |       |          |          |  EVCache's own bits   |
//! +----------+-------------+---+-------+----------+----------+-----------------------+
//! ```
//!
//! Compression is a number: 0 none, 1 zstd, 2 to 15 reserved. Chunks carry bit 18 and nothing else. Bit 19 is reserved,
//! written as 0; an item that has it, or an unknown number, was written by a newer client and is refused.

/// How the value is compressed.
pub(crate) const COMPRESSION_MASK: u32 = 0x00f0_0000;

/// One frame of zstd that tells the size of its content.
pub(crate) const ZSTD: u32 = 0x0010_0000;

/// Must be 0.
pub(crate) const RESERVED: u32 = 0x0008_0000;

/// The value is one chunk of a larger one, and no answer to a read of its key.
pub(crate) const CHUNK: u32 = 0x0004_0000;

/// The full key stands in front of the value: the item's key is a hash.
pub(crate) const FULL_KEY: u32 = 0x0002_0000;

/// The value is a manifest: where the chunks are. The other bits tell of the joined value.
pub(crate) const MANIFEST: u32 = 0x0001_0000;

/// All bits of this crate but the codec's. A caller's flags must have none of them.
pub(crate) const STORED_FORM_MASK: u32 = 0x00ff_0000;

/// Whether these flags may be a caller's: none of the bits that say how a value is stored.
pub(crate) fn are_free(flags: u32) -> bool {
    flags & STORED_FORM_MASK == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::CODEC_FLAGS_MASK;

    #[test]
    fn bits_do_not_overlap_and_fill_their_byte() {
        let parts = [COMPRESSION_MASK, RESERVED, CHUNK, FULL_KEY, MANIFEST];
        assert_eq!(parts.iter().map(|part| part.count_ones()).sum::<u32>(), STORED_FORM_MASK.count_ones());
        assert_eq!(parts.iter().fold(0, |all, part| all | part), STORED_FORM_MASK);
        assert_eq!(STORED_FORM_MASK & CODEC_FLAGS_MASK, 0);
        assert_eq!(ZSTD & COMPRESSION_MASK, ZSTD);
    }

    #[test]
    fn callers_flags_are_the_lower_sixteen_and_the_codecs() {
        assert!(are_free(0x0100_ffff));
        assert!(!are_free(MANIFEST) && !are_free(ZSTD) && !are_free(RESERVED));
    }
}
