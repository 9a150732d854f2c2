//! Loads from trace files.
//!
//! Two formats, told apart by the first line: lines of `first_block count 0 request_number` (ARC), where a line is
//! `count` requests and sizes are drawn from the key; and CSV with columns `size` and `lbn` (libCacheSim). Either
//! may be packed with zstd.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::{Load, Request, VALUE_BYTES_MAX, VALUE_BYTES_MIN};

/// First bytes of a zstd frame.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Sizes drawn for traces that have none: both ends included.
const DRAWN_BYTES: (u64, u64) = (100, 4096);
/// A line may stand for this many requests at most: a damaged file must not fill memory.
const LINE_REQUESTS_MAX: u64 = 1 << 20;

/// Reads a trace and lays `scale` copies of it side by side.
pub(super) fn load(path: &Path, scale: u32) -> Result<Load> {
    let context = || format!("cannot read the trace {}", path.display());
    let mut file = BufReader::new(File::open(path).with_context(context)?);
    let packed = file.fill_buf().with_context(context)?.starts_with(&ZSTD_MAGIC);
    let input: Box<dyn Read> = match packed {
        true => Box::new(zstd::stream::read::Decoder::with_buffer(file)?),
        false => Box::new(file),
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.split('.').next().unwrap_or_default();
    let name = if scale == 1 { name.to_owned() } else { format!("{name} x {scale}") };
    read(BufReader::new(input), name, scale).with_context(context)
}

fn read(mut input: impl BufRead, name: String, scale: u32) -> Result<Load> {
    let mut first = String::new();
    input.read_line(&mut first)?;
    let mut copies = Copies { scale, numbers: HashMap::new(), requests: Vec::new() };
    if numbers(&first).is_some() {
        for (at, line) in std::iter::once(Ok(first)).chain(input.lines()).enumerate() {
            let Some((block, count)) = numbers(&line?) else { bail!("line {} is not numbers", at + 1) };
            ensure!(count <= LINE_REQUESTS_MAX, "line {} stands for {count} requests", at + 1);
            (block..block + count).try_for_each(|block| copies.push(block, drawn_bytes))?;
        }
    } else {
        let columns: Vec<&str> = first.trim().split(',').collect();
        let column = |name| columns.iter().position(|column| *column == name);
        let (Some(size), Some(block)) = (column("size"), column("lbn")) else {
            bail!("line 1 has neither numbers nor columns `size` and `lbn`")
        };
        for (at, line) in input.lines().enumerate() {
            let cells: Vec<Option<u64>> = line?.split(',').map(|cell| cell.trim().parse().ok()).collect();
            let number = |at: usize| cells.get(at).copied().flatten();
            let (Some(size), Some(block)) = (number(size), number(block)) else {
                bail!("line {} lacks size or block", at + 2)
            };
            copies.push(block, |_| size)?;
        }
    }
    let keys = u32::try_from(copies.numbers.len())? * scale;
    Ok(Load { name, requests: copies.requests, keys })
}

/// The requests so far.
struct Copies {
    scale: u32,
    /// Blocks in the order of their first request.
    numbers: HashMap<u64, u32>,
    requests: Vec<Request>,
}

impl Copies {
    /// Adds one request to each copy. Copies share nothing but the order.
    fn push(&mut self, block: u64, value_bytes: impl Fn(u64) -> u64) -> Result<()> {
        let next = self.numbers.len();
        let number = match self.numbers.entry(block) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => *new.insert(u32::try_from(next)?),
        };
        let first = number.checked_mul(self.scale).context("too many keys: choose a smaller scale")?;
        for key in first..first + self.scale {
            let bytes = value_bytes(u64::from(key)).clamp(VALUE_BYTES_MIN as u64, VALUE_BYTES_MAX as u64);
            self.requests.push(Request { key, value_bytes: bytes as u32 });
        }
        Ok(())
    }
}

/// The first two numbers of a line that has at least these.
fn numbers(line: &str) -> Option<(u64, u64)> {
    let mut numbers = line.split_whitespace().map_while(|number| number.parse().ok());
    Some((numbers.next()?, numbers.next()?))
}

/// The size of a key's value where the trace has none: any of the range, the same each time.
fn drawn_bytes(key: u64) -> u64 {
    let mut mixed = key.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    let (least, most) = DRAWN_BYTES;
    least + mixed % (most - least + 1)
}

#[cfg(test)]
mod tests {
    use super::{DRAWN_BYTES, read};

    #[test]
    fn line_of_several_blocks_is_several_requests_of_drawn_sizes() {
        let load = read(&b"10 3 0 0\n11 1 0 1\n"[..], "x".to_owned(), 1).unwrap();
        let keys: Vec<u32> = load.requests.iter().map(|request| request.key).collect();
        assert_eq!((keys, load.keys), (vec![0, 1, 2, 1], 3));
        let (least, most) = DRAWN_BYTES;
        assert!(load.requests.iter().all(|request| (least..=most).contains(&u64::from(request.value_bytes))));
        assert_eq!(load.requests[1].value_bytes, load.requests[3].value_bytes);
    }

    #[test]
    fn csv_brings_its_sizes() {
        let csv = "version,time,op,size,lbn\n1,5,2a,512,9\n1,6,2a,6656,7\n1,7,2a,3,9\n";
        let load = read(csv.as_bytes(), "x".to_owned(), 1).unwrap();
        let requests: Vec<(u32, u32)> = load.requests.iter().map(|r| (r.key, r.value_bytes)).collect();
        assert_eq!(requests, [(0, 512), (1, 6656), (0, 8)]);
    }

    #[test]
    fn copies_have_keys_of_their_own_and_go_side_by_side() {
        let load = read(&b"5 1 0 0\n6 1 0 1\n5 1 0 2\n"[..], "x".to_owned(), 2).unwrap();
        let keys: Vec<u32> = load.requests.iter().map(|request| request.key).collect();
        assert_eq!((keys, load.keys), (vec![0, 1, 2, 3, 0, 1], 4));
    }

    #[test]
    fn damaged_lines_are_named() {
        for (text, line) in
            [("1 2 0 0\nx\n", "line 2"), ("a,b\n1,2\n", "line 1"), ("size,lbn\n1\n", "line 2")]
        {
            let error = read(text.as_bytes(), "x".to_owned(), 1).unwrap_err();
            assert!(error.to_string().starts_with(line), "{error}");
        }
    }
}
