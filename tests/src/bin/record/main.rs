//! Records golden transcripts: puts what a memcached answers into the files of `tests/conformance/golden`.
//!
//! `tests/conformance/record` builds and calls it.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use evanesce_tests::golden::{File, play};
use evanesce_tests::{Programs, start_memcached};

/// Memory of the memcached that is recorded, in MiB: nothing of a transcript is ever evicted.
const MEMORY_MIB: u64 = 64;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [memcached, home] = &arguments[..] else { bail!("usage: record MEMCACHED DIRECTORY") };
    let programs =
        Programs { memcached: memcached.clone(), evanesce: PathBuf::new(), loadtest: PathBuf::new() };
    let (_memcached, address) = start_memcached(&programs, &std::env::temp_dir(), MEMORY_MIB, &[])?;
    let mut recorded = 0;
    for path in files(home)? {
        let name = path.file_stem().context("a file has a name")?.to_string_lossy().into_owned();
        let file = File::parse(&name, &std::fs::read_to_string(&path)?)?;
        let cases = file.cases();
        let replies: Vec<Vec<String>> =
            cases.iter().map(|case| play(address, case)).collect::<anyhow::Result<_>>()?;
        recorded += replies.iter().map(Vec::len).sum::<usize>();
        std::fs::write(&path, file.with_replies(&replies))?;
    }
    println!("{recorded} replies recorded");
    Ok(())
}

fn files(home: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(home).with_context(|| format!("no {}", home.display()))?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<Vec<_>>>()?;
    files.sort();
    Ok(files)
}
