//! Sizes of memory on the command line and in tables.

use std::fmt;
use std::str::FromStr;

use bytesize::ByteSize;

/// Bytes of memory, or a share of what a load would fill.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Memory {
    /// So many bytes.
    Bytes(u64),
    /// So many percent of the load's footprint.
    Percent(f64),
}

impl Memory {
    /// In bytes, given what the load would fill.
    pub(crate) fn bytes(self, footprint_bytes: u64) -> u64 {
        match self {
            Memory::Bytes(bytes) => bytes,
            Memory::Percent(percent) => (footprint_bytes as f64 * percent / 100.0) as u64,
        }
    }
}

impl FromStr for Memory {
    type Err = String;

    fn from_str(text: &str) -> Result<Memory, String> {
        if let Some(percent) = text.strip_suffix('%') {
            let percent = percent.trim().parse().ok().filter(|percent| *percent > 0.0);
            return percent.map(Memory::Percent).ok_or(format!("{text:?} is no share: write 5%"));
        }
        bytes(text).map(Memory::Bytes)
    }
}

/// Parses `64MiB`.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let size: Result<ByteSize, _> = text.parse();
    size.ok()
        .map(|size| size.as_u64())
        .filter(|bytes| *bytes > 0)
        .ok_or(format!("{text:?} is no size: write 64MiB"))
}

/// Shows bytes as people say them.
pub(crate) struct Shown(pub(crate) u64);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, name) in [(1_u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")] {
            if self.0 >= unit {
                let decimals = if self.0.is_multiple_of(unit) { 0 } else { 1 };
                return write!(f, "{:.decimals$} {name}", self.0 as f64 / unit as f64);
            }
        }
        write!(f, "{} B", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{Memory, Shown};

    #[test]
    fn sizes_and_shares_are_read_and_nonsense_is_not() {
        assert_eq!("64MiB".parse(), Ok(Memory::Bytes(64 << 20)));
        assert_eq!("2.5%".parse(), Ok(Memory::Percent(2.5)));
        assert_eq!(Memory::Percent(2.5).bytes(1000), 25);
        for nonsense in ["", "x", "0", "-3%", "%", "0%"] {
            assert!(nonsense.parse::<Memory>().is_err(), "{nonsense}");
        }
    }

    #[test]
    fn sizes_are_shown_in_the_largest_unit_that_fits() {
        let shown = |bytes| Shown(bytes).to_string();
        assert_eq!([shown(5), shown(64 << 20), shown(3 << 29)], ["5 B", "64 MiB", "1.5 GiB"]);
    }
}
