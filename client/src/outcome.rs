//! What writes answer.

use bytes::Bytes;

use crate::error::WriteError;
use crate::version::Version;

/// How far a write came by the time its latch policy was met. Counts server groups that are read and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub struct Written {
    /// Replicas that said they executed it.
    pub acked: usize,
    /// Replicas that failed, or could not be reached.
    pub failed: usize,
    /// Replicas that have not answered yet. Their writes go on.
    pub pending: usize,
    /// What it was stamped with; `None` where no replica keeps versions, and for a touch.
    pub version: Option<Version>,
    /// A replica knew of a newer write, delete or flush, which this one lost against, there and in the end everywhere.
    /// An outcome, not an error: it is as if the other had come right after.
    pub superseded_by: Option<Version>,
}

impl Written {
    /// Whether something newer was known of the key.
    #[must_use]
    pub fn is_superseded(&self) -> bool {
        self.superseded_by.is_some()
    }
}

/// What a bulk write came to. Each key given is in exactly one of the two, and once, in the order of their ends.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct WriteMany {
    /// Keys (without their namespace) whose latch was met, and how far they came.
    pub written: Vec<(Bytes, Written)>,
    /// Keys whose latch was not met.
    pub failed: Vec<(Bytes, WriteError)>,
}

impl WriteMany {
    /// The failed keys that may be sent again without harm, in the order of their ends: nobody has what was written, or writing it
    /// once more is the same. The others are the caller's fault.
    pub fn retryable(&self) -> impl Iterator<Item = &Bytes> {
        self.failed.iter().filter(|(_, error)| error.may_retry()).map(|(key, _)| key)
    }

    /// The failed keys that it is of no use to send again, and why.
    pub fn lost(&self) -> impl Iterator<Item = &(Bytes, WriteError)> {
        self.failed.iter().filter(|(_, error)| !error.may_retry())
    }

    /// Whether no key failed.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.failed.is_empty()
    }
}

/// What `add`, `replace`, `append` and `prepend` came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StoreOutcome {
    /// The home zone stored it, and it went to the other server groups as a set.
    Stored(Written),
    /// The home zone did not: the key is there (`add`), or is not (the others).
    NotStored,
}

impl StoreOutcome {
    /// Whether it was stored.
    #[must_use]
    pub fn is_stored(&self) -> bool {
        matches!(self, Self::Stored(_))
    }
}

/// What `compare_and_set` came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CompareAndSetOutcome {
    /// The home zone stored it, and it went to the other server groups as a set.
    Stored(Written),
    /// Somebody changed the item since its token was read.
    Exists,
    /// There is no such item any more.
    NotFound,
}

/// What `incr` and `decr` came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ArithmeticOutcome {
    /// The home zone counted, and what it has went to the other server groups as a set.
    Counted {
        /// The number now.
        number: u64,
        /// How far it came.
        written: Written,
    },
    /// There is no such item, and none was to be made.
    NotFound,
    /// The item's value is no number of 64 bits.
    NotANumber,
}

impl ArithmeticOutcome {
    /// The number now, if it was counted.
    #[must_use]
    pub fn number(self) -> Option<u64> {
        match self {
            Self::Counted { number, .. } => Some(number),
            Self::NotFound | Self::NotANumber => None,
        }
    }
}

/// What `delete` came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Deleted {
    /// Whether any replica that had answered by then held the item. False with `LatchPolicy::None`.
    pub found: bool,
    /// How far it came.
    pub written: Written,
}

/// What `touch` came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Touched {
    /// Whether any replica that had answered by then held the item. False with `LatchPolicy::None`.
    pub found: bool,
    /// How far it came.
    pub written: Written,
}
