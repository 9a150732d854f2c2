//! What writes answer.

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
}

/// What `add` and `replace` came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StoreOutcome {
    /// The home zone stored it, and it went to the other server groups as a set.
    Stored(Written),
    /// The home zone did not: the key is there (`add`), or is not (`replace`).
    NotStored,
}

impl StoreOutcome {
    /// Whether it was stored.
    #[must_use]
    pub fn is_stored(&self) -> bool {
        matches!(self, Self::Stored(_))
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
