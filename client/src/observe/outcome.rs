//! What came of what, in one word.

use super::OperationOutcome;
use crate::attempt::{Answer, Attempted};
use crate::error::{LoadError, NodeError, ReadError, WriteError};
use crate::home::Verdict;
use crate::item;
use crate::outcome::{
    ArithmeticOutcome, CompareAndSetOutcome, Deleted, StoreOutcome, Touched, WriteMany, Written,
};
use crate::request::Done;
use crate::spread::Spread;

/// What an operation answers.
pub(crate) trait HasOutcome {
    fn outcome(&self) -> OperationOutcome;
}

impl<T: HasOutcome, E: HasOutcome> HasOutcome for Result<T, E> {
    fn outcome(&self) -> OperationOutcome {
        match self {
            Ok(answer) => answer.outcome(),
            Err(error) => error.outcome(),
        }
    }
}

impl<T: HasOutcome> HasOutcome for (T, item::Origin) {
    fn outcome(&self) -> OperationOutcome {
        self.0.outcome()
    }
}

impl<T> HasOutcome for Option<T> {
    fn outcome(&self) -> OperationOutcome {
        if self.is_some() { OperationOutcome::Hit } else { OperationOutcome::Miss }
    }
}

impl<V> HasOutcome for item::GetMany<V> {
    fn outcome(&self) -> OperationOutcome {
        OperationOutcome::of_many(self.hits.len(), self.misses.len(), self.failed.len())
    }
}

impl<V> HasOutcome for Vec<Result<Option<V>, ReadError>> {
    fn outcome(&self) -> OperationOutcome {
        let count = |is: fn(&Result<Option<V>, ReadError>) -> bool| self.iter().filter(|one| is(one)).count();
        let (hits, failed) = (count(|one| matches!(one, Ok(Some(_)))), count(Result::is_err));
        OperationOutcome::of_many(hits, self.len() - hits - failed, failed)
    }
}

impl<V> HasOutcome for item::LoadMany<V> {
    fn outcome(&self) -> OperationOutcome {
        OperationOutcome::of_many(self.hits.len(), self.absent.len(), self.failed.len())
    }
}

impl<V> HasOutcome for Vec<Result<(Option<V>, item::Origin), LoadError>> {
    fn outcome(&self) -> OperationOutcome {
        let hits = self.iter().filter(|found| matches!(found, Ok((Some(_), _)))).count();
        let failed = self.iter().filter(|found| found.is_err()).count();
        OperationOutcome::of_many(hits, self.len() - hits - failed, failed)
    }
}

impl HasOutcome for WriteMany {
    fn outcome(&self) -> OperationOutcome {
        match (self.written.len(), self.failed.len()) {
            (_, 0) => OperationOutcome::Done,
            (0, _) => OperationOutcome::Failed,
            _ => OperationOutcome::Partial,
        }
    }
}

impl HasOutcome for StoreOutcome {
    fn outcome(&self) -> OperationOutcome {
        if self.is_stored() { OperationOutcome::Done } else { OperationOutcome::NotDone }
    }
}

impl HasOutcome for CompareAndSetOutcome {
    fn outcome(&self) -> OperationOutcome {
        if matches!(self, Self::Stored(_)) { OperationOutcome::Done } else { OperationOutcome::NotDone }
    }
}

impl HasOutcome for ArithmeticOutcome {
    fn outcome(&self) -> OperationOutcome {
        if self.number().is_some() { OperationOutcome::Done } else { OperationOutcome::NotDone }
    }
}

macro_rules! done {
    ($($outcome:ty),+) => {$(
        impl HasOutcome for $outcome {
            fn outcome(&self) -> OperationOutcome {
                OperationOutcome::Done
            }
        }
    )+};
}

// The nodes that were flushed are a number.
done!(Written, Deleted, Touched, Spread, usize);

impl HasOutcome for ReadError {
    fn outcome(&self) -> OperationOutcome {
        if self.may_retry() { OperationOutcome::Failed } else { OperationOutcome::Unusable }
    }
}

impl HasOutcome for WriteError {
    fn outcome(&self) -> OperationOutcome {
        match self {
            Self::NotAcknowledged { .. } | Self::Busy => OperationOutcome::Failed,
            Self::MaybeApplied { .. } => OperationOutcome::MaybeApplied,
            _ => OperationOutcome::Unusable,
        }
    }
}

impl HasOutcome for LoadError {
    fn outcome(&self) -> OperationOutcome {
        match self {
            Self::Loader(_) | Self::LoaderPanicked | Self::Timeout | Self::Busy => OperationOutcome::Failed,
            _ => OperationOutcome::Unusable,
        }
    }
}

impl HasOutcome for Attempted<'_> {
    fn outcome(&self) -> OperationOutcome {
        match self {
            Self::Hit(_) => OperationOutcome::Hit,
            Self::Miss(_) => OperationOutcome::Miss,
            Self::Failed(_) => OperationOutcome::Failed,
        }
    }
}

/// One node's answers.
impl HasOutcome for Vec<Answer> {
    fn outcome(&self) -> OperationOutcome {
        let hits = self.iter().filter(|answer| matches!(answer, Ok(Some(_)))).count();
        let failed = self.iter().filter(|answer| answer.is_err()).count();
        OperationOutcome::of_many(hits, self.len() - hits - failed, failed)
    }
}

/// Which zone decided is beside the point.
impl HasOutcome for (usize, Verdict) {
    fn outcome(&self) -> OperationOutcome {
        self.1.done.outcome()
    }
}

impl HasOutcome for Done {
    fn outcome(&self) -> OperationOutcome {
        match self {
            Self::Yes => OperationOutcome::Done,
            Self::ClockAhead => OperationOutcome::Failed,
            _ => OperationOutcome::NotDone,
        }
    }
}

impl HasOutcome for NodeError {
    fn outcome(&self) -> OperationOutcome {
        if self.maybe_applied() { OperationOutcome::MaybeApplied } else { OperationOutcome::Failed }
    }
}
