//! Trace files: what they may look like, and the keys in them.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;

use thiserror::Error;

/// First bytes of a zstd frame.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Longest line that is read: no format here needs more, and a binary file must not fill memory.
const LINE_BYTES_MAX: u64 = 4096;
/// Longest key of memcached's protocol.
const KEY_BYTES_MAX: usize = 250;

/// Why a trace cannot be read. Always the caller's file; never worth a retry.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum TraceError {
    /// The file cannot be read, or is damaged.
    #[error("cannot read the trace: {0}")]
    Io(#[from] io::Error),
    /// It has no line.
    #[error("the trace is empty")]
    Empty,
    /// A line is not what the first lines promised.
    #[error("line {line} of the trace is not {expected}")]
    Line {
        /// The line, from 1.
        line: u64,
        /// What it should be.
        expected: &'static str,
    },
}

/// A trace, read once from its start.
pub(crate) struct Trace {
    lines: Lines,
    format: Format,
    /// The first line, read to tell the format, when it holds requests.
    pending: Option<Vec<u8>>,
}

/// How lines are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    /// `first_block count 0 request_number`, and what is left of the last line.
    Arc { block: u64, left: u64 },
    /// CSV; the key is this column.
    Csv { column: usize },
    /// One key per line.
    Keys,
}

impl Trace {
    /// Opens a file; compression and format are told by what is in it.
    ///
    /// # Errors
    /// [`TraceError`] when it cannot be read or is empty.
    pub(crate) fn open(path: &Path) -> Result<Trace, TraceError> {
        let mut file = BufReader::new(File::open(path)?);
        let packed = file.fill_buf()?.starts_with(&ZSTD_MAGIC);
        let input: Box<dyn BufRead + Send> = match packed {
            true => Box::new(BufReader::new(zstd::stream::read::Decoder::with_buffer(file)?)),
            false => Box::new(file),
        };
        Trace::new(input)
    }

    fn new(input: Box<dyn BufRead + Send>) -> Result<Trace, TraceError> {
        let mut lines = Lines { input, number: 0 };
        let mut first = Vec::new();
        if !lines.next(&mut first)? {
            return Err(TraceError::Empty);
        }
        let format = Format::of(&first);
        let pending = (!matches!(format, Format::Csv { .. })).then_some(first);
        Ok(Trace { lines, format, pending })
    }

    /// Puts the next request's key into `key`; `false` at the end.
    ///
    /// # Errors
    /// [`TraceError`] when the file is damaged or a line is not of the trace's format.
    pub(crate) fn next_key(&mut self, key: &mut Vec<u8>) -> Result<bool, TraceError> {
        loop {
            if let Format::Arc { block, left: left @ 1.. } = &mut self.format {
                key.clear();
                write!(key, "{block}").expect("writing to memory does not fail");
                *block += 1;
                *left -= 1;
                return Ok(true);
            }
            match self.pending.take() {
                Some(first) => *key = first,
                None if !self.lines.next(key)? => return Ok(false),
                None => {}
            }
            if self.read_line(key)? {
                return Ok(true);
            }
        }
    }

    /// Turns a line into its key. `false` when the line leaves its requests in the format's state.
    fn read_line(&mut self, line: &mut Vec<u8>) -> Result<bool, TraceError> {
        let wrong = |expected| TraceError::Line { line: self.lines.number, expected };
        match &mut self.format {
            Format::Arc { block, left } => {
                let numbers = numbers(line).ok_or_else(|| wrong("`first_block count 0 request_number`"))?;
                (*block, *left) = (numbers[0], numbers[1]);
                return Ok(false);
            }
            Format::Csv { column } => {
                let cell = line.split(|&byte| byte == b',').nth(*column).map(<[u8]>::trim_ascii);
                *line = cell.ok_or_else(|| wrong("a row with the key's column"))?.to_vec();
            }
            Format::Keys => {}
        }
        let fits = (1..=KEY_BYTES_MAX).contains(&line.len());
        if !fits || line.iter().any(|byte| byte.is_ascii_control() || *byte == b' ') {
            return Err(wrong("a key of 1 to 250 bytes without blanks"));
        }
        Ok(true)
    }

    /// Number of requests in a file, by reading it.
    ///
    /// # Errors
    /// As for reading it.
    pub(crate) fn count(path: &Path) -> Result<u64, TraceError> {
        let mut trace = Trace::open(path)?;
        let (mut key, mut count) = (Vec::new(), 0);
        while trace.next_key(&mut key)? {
            count += 1;
        }
        Ok(count)
    }
}

impl Format {
    fn of(first: &[u8]) -> Format {
        if numbers(first).is_some() {
            return Format::Arc { block: 0, left: 0 };
        }
        let column = first.split(|&byte| byte == b',').position(|name| name.trim_ascii() == b"lbn");
        column.map_or(Format::Keys, |column| Format::Csv { column })
    }
}

/// The four numbers of a line of an ARC trace.
fn numbers(line: &[u8]) -> Option<[u64; 4]> {
    let mut words = str::from_utf8(line).ok()?.split_ascii_whitespace();
    let mut numbers = [0; 4];
    for number in &mut numbers {
        *number = words.next()?.parse().ok()?;
    }
    words.next().is_none().then_some(numbers)
}

/// Lines without their ends; empty ones are left out.
struct Lines {
    input: Box<dyn BufRead + Send>,
    number: u64,
}

impl Lines {
    fn next(&mut self, line: &mut Vec<u8>) -> Result<bool, TraceError> {
        loop {
            line.clear();
            if (&mut self.input).take(LINE_BYTES_MAX).read_until(b'\n', line)? == 0 {
                return Ok(false);
            }
            self.number += 1;
            if line.len() as u64 == LINE_BYTES_MAX {
                return Err(TraceError::Line {
                    line: self.number,
                    expected: "a line of less than 4096 bytes",
                });
            }
            line.truncate(line.trim_ascii_end().len());
            if !line.is_empty() {
                return Ok(true);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Trace, TraceError};
    use std::io::Write;

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.write_all(bytes).expect("written");
        file
    }

    fn keys(bytes: &[u8]) -> Result<Vec<String>, TraceError> {
        let file = file(bytes);
        let mut trace = Trace::open(file.path())?;
        let (mut key, mut found) = (Vec::new(), Vec::new());
        while trace.next_key(&mut key)? {
            found.push(String::from_utf8(key.clone()).expect("text"));
        }
        assert_eq!(Trace::count(file.path())?, found.len() as u64);
        Ok(found)
    }

    #[test]
    fn arc_line_stands_for_count_consecutive_requests() {
        let found = keys(b"5 1 0 0\n7 3 0 1\n9 0 0 2\n2 1 0 3\n").expect("reads");
        assert_eq!(found, ["5", "7", "8", "9", "2"]);
    }

    #[test]
    fn csv_key_is_the_lbn_column_wherever_it_is() {
        let usual = b"version,time,op,size,lbn\n1,5633898,2a,512,42932745\n1,5633899,2a,512,7\n";
        assert_eq!(keys(usual).expect("reads"), ["42932745", "7"]);
        assert_eq!(keys(b"lbn,size\r\n3,512\r\n\r\n4,512\r\n").expect("reads"), ["3", "4"]);
    }

    #[test]
    fn any_other_text_is_one_key_per_line() {
        assert_eq!(keys(b"user:1\nuser:2\nuser:1").expect("reads"), ["user:1", "user:2", "user:1"]);
        assert_eq!(keys(b"17\n18\n").expect("reads"), ["17", "18"]);
    }

    #[test]
    fn zstd_is_told_by_content() {
        let packed = zstd::encode_all(&b"1 2 0 0\n"[..], 1).expect("packs");
        assert_eq!(keys(&packed).expect("reads"), ["1", "2"]);
    }

    #[test]
    fn damaged_traces_are_refused_with_their_line() {
        let message = |bytes: &[u8]| keys(bytes).expect_err("refused").to_string();
        assert_eq!(message(b""), "the trace is empty");
        assert_eq!(
            message(b"1 1 0 0\n1 1 0\n"),
            "line 2 of the trace is not `first_block count 0 request_number`"
        );
        assert_eq!(message(b"size,lbn\n1\n"), "line 2 of the trace is not a row with the key's column");
        let long = [b"ok\n", "k".repeat(251).as_bytes()].concat();
        assert_eq!(message(&long), "line 2 of the trace is not a key of 1 to 250 bytes without blanks");
        assert!(message(&[b'x'; 5000]).contains("less than 4096"));
        let mut cut = zstd::encode_all(&b"1 2 0 0\n"[..], 1).expect("packs");
        cut.truncate(cut.len() - 2);
        assert!(message(&cut).starts_with("cannot read the trace"));
    }
}
