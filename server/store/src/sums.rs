//! Digests of many slices of the keys at once, by which nodes find out where they differ.
//!
//! A node's own order of hashes is secret, since keys come from the network, so two nodes cannot compare ranges of it. What
//! they compare instead goes by another hash, of a salt that they agree on for one comparison: nobody can know beforehand
//! which keys meet in a slice, or make two items that look alike in the next comparison, too.

use arrayvec::ArrayVec;
use bytes::Bytes;
use rapidhash::v3::{RapidSecrets, rapidhash_v3_micro_inline};

use crate::{Digest, Hit, Value};

/// The most slices: a megabyte of digests.
pub const SLICES_MAX: usize = 1 << 16;

/// Of a longer value only so many bytes at each end are looked at, so that a comparison costs as much for large values as for
/// small ones; its length counts, too. Two writes of one version are rare, and of one length and ends rarer still.
const ENDS_BYTES: usize = 256;

/// For what both sides of a comparison hash without a salt.
const FIXED: RapidSecrets = RapidSecrets::seed(0);

/// The digests of one comparison. Pure.
#[derive(Debug, Clone)]
pub struct Sums {
    secrets: RapidSecrets,
    digests: Vec<Digest>,
}

impl Sums {
    /// Of so many slices, at least 1 and at most [`SLICES_MAX`], of which there is nothing yet.
    #[must_use]
    pub fn new(salt: u64, slices: usize) -> Self {
        let digests = vec![Digest::default(); slices.clamp(1, SLICES_MAX)];
        Self { secrets: RapidSecrets::seed(salt), digests }
    }

    /// Adds an item.
    pub fn add(&mut self, key: &[u8], hit: &Hit<'_>) {
        let hash = self.hash(key);
        let slice = self.slice_of(hash);
        // What is mixed with the version is 64 bits that nobody can foresee.
        self.digests[slice].add(hash ^ fingerprint(hit), hit.version);
    }

    /// The slice of a key.
    #[must_use]
    pub fn slice(&self, key: &[u8]) -> usize {
        self.slice_of(self.hash(key))
    }

    /// The digest of each slice.
    #[must_use]
    pub fn digests(&self) -> &[Digest] {
        &self.digests
    }

    fn hash(&self, key: &[u8]) -> u64 {
        rapidhash_v3_micro_inline::<true, true>(key, &self.secrets)
    }

    fn slice_of(&self, hash: u64) -> usize {
        ((u128::from(hash) * self.digests.len() as u128) >> 64) as usize
    }
}

/// What tells two items of one version apart: flags and value; of a long value its length and both ends.
#[must_use]
pub fn fingerprint(hit: &Hit<'_>) -> u64 {
    let hash = |bytes: &[u8]| rapidhash_v3_micro_inline::<true, true>(bytes, &FIXED);
    let both = |first: &[u8], last: &[u8]| hash(first).rotate_left(1) ^ hash(last);
    let ends = match &hit.value {
        Value::Inline(value) => both(head(value), tail(value)),
        // Another store may have cut it into other pieces, or not at all.
        Value::Pinned(pieces) => both(&first(pieces), &last(pieces)),
    };
    let sizes = (hit.value.len() as u64) << 32 | u64::from(hit.flags);
    ends ^ hash(&sizes.to_le_bytes())
}

fn first(pieces: &[Bytes]) -> ArrayVec<u8, ENDS_BYTES> {
    pieces.iter().flatten().copied().take(ENDS_BYTES).collect()
}

fn last(pieces: &[Bytes]) -> ArrayVec<u8, ENDS_BYTES> {
    let backwards = pieces.iter().rev().flat_map(|piece| piece.iter().rev());
    let mut end: ArrayVec<u8, ENDS_BYTES> = backwards.copied().take(ENDS_BYTES).collect();
    end.reverse();
    end
}

fn head(value: &[u8]) -> &[u8] {
    &value[..value.len().min(ENDS_BYTES)]
}

fn tail(value: &[u8]) -> &[u8] {
    &value[value.len() - value.len().min(ENDS_BYTES)..]
}
