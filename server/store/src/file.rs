//! A store whose memory is a file, and which therefore finds its items again when it starts anew.
//!
//! ```text
//!  0         4 KiB                             a multiple of 64 KiB
//! +--------+--------+-----+--------+----------+---------+-----+---------+
//! | header | shard  | ... | shard  | segments | segment | ... | segment |
//! +--------+--------+-----+--------+----------+---------+-----+---------+
//!          '------------ ledger -------------'            the items
//! ```
//!
//! - The *header* says what made the file: see [`Fixed`]. Nothing in the file depends on a build: numbers of 64 bits in the
//!   order of the machine's bytes, items as [`crate::item::Header`] draws them, places as [`Location`] packs them.
//! - The *ledger* is kept up with every change: [`Ledger`]. It holds no address.
//! - The *segments* are the memory itself, mapped shared: items, pieces of large values, and the slots of the table, which the
//!   labels of its chunks put together again.
//!
//! # What survives
//!
//! A process that ends, in whatever way, leaves every item behind that it had acknowledged and not evicted, but for the one
//! that each of its threads was at work on; deletes, flushes and what repairs are refused by survive with them.
//!
//! Each operation that changes a shard says so in the ledger before it begins and when it is done. So the next start knows of
//! which shards the table is whole, and goes on with it at once: pages are looked through as they are first used
//! ([`crate::look`]), and then all of them and all items while it serves ([`crate::check`]). Of a
//! shard that was being changed, which are as many as threads at most, and of one in which something does not add up, it
//! reads all items and makes the table anew: [`recover`]. What cannot be told apart from damage is dropped, for a miss is right
//! and a wrong value is not. Of two items of one key the later version stays.
//!
//! Statistics do not survive. Neither does anything survive the machine: the file is of use only while the
//! system runs that it was written under, since nobody knows what of it had reached a disk. A place for it is a file
//! system in memory; on a disk the system also writes to it all the time.
//!
//! # Time
//!
//! Expiries and versions are wall time, so they mean the same after a start as before. What had expired by the time at
//! which the store last ran is dropped even if the clock was set back since. New versions are later than all that are found.
//!
//! # Versions of the format
//!
//! A release reads the format of the release before. What is added without a new number lies in cells that were 0.

mod keep;
mod ledger;
mod open;
mod recover;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use thiserror::Error;

use crate::Time;

pub(crate) use self::ledger::{Change, Geometry, Kept, Ledger};
pub(crate) use self::open::{Found, open};
pub(crate) use self::recover::recover;

#[cfg(doc)]
use self::open::Fixed;
#[cfg(doc)]
use crate::segment::Location;

/// How a store began.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Start {
    /// Without a memory file.
    Memory,
    /// Empty, with a memory file that was made for it.
    NewFile,
    /// Empty, for the memory file that was there is of no use, and was made anew unless it is foreign.
    Refused(Refusal),
    /// With the items of a memory file.
    Warm(Warm),
}

/// What a memory file held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Warm {
    /// Items that are there again.
    pub items: u64,
    /// Their bytes: headers, keys, values; of large values, which lie in pieces, the list of them only.
    pub item_bytes: u64,
    /// Shards whose items had to be read one by one, for something was at work on them when the store ended.
    pub shards_read: u64,
    /// Places at which something was damaged, and was dropped.
    pub damaged: u64,
    /// Items that the memory had no room for any more.
    pub without_room: u64,
    /// When the store last ran, as far as it was told the time.
    pub ran: Time,
}

/// How far the check of a memory file's items has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checked {
    /// All was looked through.
    pub all: bool,
    /// How often something was found damaged since the start, and a shard's items were read one by one.
    pub mended: u64,
}

/// Why a memory file is of no use.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It is something else. It is left as it is, and the store keeps nothing.
    #[error("it is no memory file of this program: name another, or delete it")]
    Foreign,
    /// It was made by a release that is too far from this one.
    #[error("its format is {0}, and this release reads format {FORMAT}")]
    Format(u64),
    /// Its header is damaged, or it is cut short.
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
    /// It was made with another configuration.
    #[error("it was made with another {0}, under which its items lie elsewhere")]
    Configured(&'static str),
    /// The machine was started anew since.
    #[error("the system was started anew since, and what had reached the disk is not known")]
    OtherBoot,
}

/// Why a memory file cannot be had at all.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MemoryFileError {
    /// Another process has it.
    #[error("memory file {} is in use by another process: end that one, or name another file", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// There is not enough room for it.
    #[error(
        "memory file {} needs {bytes} bytes, which its file system refuses ({kind}): make room, give less memory, or name a \
         file elsewhere",
        path.display()
    )]
    NoRoom {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: usize,
        /// The system's reason.
        kind: std::io::ErrorKind,
    },
    /// The system refuses something else.
    #[error("cannot {action} memory file {}: {kind}", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The system's reason.
        kind: std::io::ErrorKind,
    },
}

/// The format that is written, and the one that is read.
pub(crate) const FORMAT: u64 = 2;
