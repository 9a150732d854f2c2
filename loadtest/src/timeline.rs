//! One JSON line per interval, so that a fault's effect and its end can be read off afterwards.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::tally::Tally;

/// A timeline file.
pub(crate) struct Timeline {
    out: BufWriter<File>,
}

/// One line. Latencies are in microseconds, of reads that ended in the interval.
#[derive(Debug, Serialize)]
struct Line {
    /// Seconds from the start of the replay to the end of the interval.
    t: f64,
    /// The same instant on the wall clock, to find what happened then.
    unix_ms: u64,
    requests: u64,
    hits: u64,
    errors: u64,
    wrong: u64,
    late: u64,
    p50: u64,
    p99: u64,
    max: u64,
    write_max: u64,
}

impl Timeline {
    /// Makes the file, or empties it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn create(path: &Path) -> io::Result<Timeline> {
        Ok(Timeline { out: BufWriter::new(File::create(path)?) })
    }

    /// Writes the line of an interval that ended `at` after the start.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn push(&mut self, at: Duration, tally: &Tally) -> io::Result<()> {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let line = Line {
            t: (at.as_secs_f64() * 1000.0).round() / 1000.0,
            unix_ms: u64::try_from(unix.as_millis()).unwrap_or(u64::MAX),
            requests: tally.requests,
            hits: tally.hits,
            errors: tally.read_errors + tally.write_errors,
            wrong: tally.wrong,
            late: tally.late,
            p50: tally.read_us.value_at_quantile(0.5),
            p99: tally.read_us.value_at_quantile(0.99),
            max: tally.read_us.max(),
            write_max: tally.write_us.max(),
        };
        serde_json::to_writer(&mut self.out, &line)?;
        // Line by line to the file: whoever watches a run reads it while it grows.
        self.out.write_all(b"\n").and_then(|()| self.out.flush())
    }
}
