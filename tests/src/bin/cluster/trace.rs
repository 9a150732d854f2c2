//! A trace of our own, where none is given: Zipf-distributed keys, one a line.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rand_distr::Zipf;

/// Different keys: some 60 MB of values at the usual sizes.
const KEYS: f64 = 30_000.0;
/// Skew of a usual cache trace.
const ALPHA: f64 = 0.9;
/// Always the same trace.
const SEED: u64 = 20_030_331;

/// Writes a trace of this many requests.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn synthetic(directory: &Path, requests: usize) -> anyhow::Result<PathBuf> {
    let path = directory.join("zipf.keys");
    let mut random = SmallRng::seed_from_u64(SEED);
    let zipf = Zipf::new(KEYS, ALPHA).context("the distribution is well formed")?;
    let mut text = String::new();
    for _ in 0..requests {
        let rank: f64 = random.sample(zipf);
        writeln!(text, "item:{rank}").expect("writing to memory does not fail");
    }
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}
