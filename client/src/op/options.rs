//! What a caller says of one call, beside what it is to do.

use std::time::Duration;

use tokio::time::Instant;

use crate::core::{Core, TIMEOUT_MAX};
use crate::error::WriteError;
use crate::lanes::Lane;
use crate::namespace::Namespace;
use crate::read::ReadPlan;
use crate::request::Want;

/// When a call ends: after its timeout, or at its deadline if that comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) timeout: Duration,
    pub(crate) deadline: Option<Instant>,
}

impl Limit {
    pub(crate) fn of(timeout: Duration) -> Self {
        Self { timeout, deadline: None }
    }

    pub(crate) fn of_read(namespace: &Namespace) -> Self {
        Self::of(namespace.core.settings.read_timeout)
    }

    pub(crate) fn of_write(namespace: &Namespace) -> Self {
        Self::of(namespace.core.settings.write_timeout)
    }

    /// What a call that begins now has.
    pub(crate) fn left(self, now: Instant) -> Duration {
        let timeout = self.timeout.min(TIMEOUT_MAX);
        self.deadline.map_or(timeout, |deadline| timeout.min(deadline.saturating_duration_since(now)))
    }

    /// What a call that begins at this moment has. The clock is looked at only where there is a deadline.
    pub(crate) fn left_at_once(self) -> Duration {
        match self.deadline {
            None => self.timeout.min(TIMEOUT_MAX),
            Some(_) => self.left(Instant::now()),
        }
    }

    /// When a call that begins now ends.
    pub(crate) fn end(self, now: Instant) -> Instant {
        now + self.left(now)
    }

    /// The same for a write, which is not begun when its deadline has passed.
    pub(crate) fn end_of_write(self, now: Instant) -> Result<Instant, WriteError> {
        match self.deadline {
            Some(deadline) if deadline <= now => Err(WriteError::TooLate),
            _ => Ok(self.end(now)),
        }
    }
}

/// What a caller says of one read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReadOptions {
    pub(crate) limit: Limit,
    /// Whether the near cache may answer.
    pub(crate) near: bool,
    /// Whether another zone may be asked after a miss.
    pub(crate) falls_back: bool,
    /// Where it comes from, if that has connections of its own.
    pub(crate) lane: Option<Lane>,
}

impl ReadOptions {
    /// What reads through this handle do unless told otherwise.
    pub(crate) fn of(namespace: &Namespace) -> Self {
        Self {
            limit: Limit::of_read(namespace),
            near: namespace.near,
            falls_back: true,
            lane: namespace.lane,
        }
    }

    pub(crate) fn plan(self, core: &Core, want: Want) -> ReadPlan {
        let Self { limit, near, falls_back, lane } = self;
        ReadPlan { near, falls_back, lane, ..ReadPlan::new(core, want, limit.left_at_once()) }
    }
}

/// `timeout` and `deadline` of an operation, which is told where its [`Limit`] is and what `timeout` means to it.
macro_rules! limit_options {
    ($timeout:literal, $($limit:ident).+) => {
        #[doc = $timeout]
        pub fn timeout(mut self, timeout: std::time::Duration) -> Self {
            self.$($limit).+.timeout = timeout;
            self
        }

        /// When it ends at the latest, whatever its timeout: for callers who have a deadline of their own. Default none.
        /// Takes an instant of tokio's or the standard library's. A write whose deadline has passed is not sent.
        pub fn deadline(mut self, deadline: impl Into<tokio::time::Instant>) -> Self {
            self.$($limit).+.deadline = Some(deadline.into());
            self
        }
    };
}

/// `no_fallback` of a read that has [`ReadOptions`].
macro_rules! fallback_option {
    () => {
        /// A miss is the answer: no other zone is asked then, whatever its budget would allow. One that does not answer is
        /// still replaced by the next.
        pub fn no_fallback(mut self) -> Self {
            self.options.falls_back = false;
            self
        }
    };
}

/// `skip_near_cache` of a read that has [`ReadOptions`].
macro_rules! near_option {
    () => {
        /// Asks the nodes, whatever the near cache holds; what they answer takes its place there.
        pub fn skip_near_cache(mut self) -> Self {
            self.options.near = false;
            self
        }
    };
}

/// `latch` of an operation that has one.
macro_rules! latch_option {
    () => {
        /// How many acknowledgements to wait for. Default the namespace's.
        pub fn latch(mut self, latch: crate::policy::LatchPolicy) -> Self {
            self.latch = latch;
            self
        }
    };
}

/// `version` of a write that may be stamped by its caller.
macro_rules! version_option {
    () => {
        /// What it is stamped with, from [`Client::stamp`](crate::Client::stamp): for those who write the same to another place
        /// under the same version. Default a stamp of its own, taken when it is sent. One that nodes refuse, for it lies too far
        /// ahead of their clocks, is not stamped anew.
        pub fn version(mut self, version: crate::version::Version) -> Self {
            self.version = Some(version);
            self
        }
    };
}

pub(super) use {fallback_option, latch_option, limit_options, near_option, version_option};

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn timeout_or_deadline_ends_a_call_whichever_comes_first() {
        let now = Instant::now();
        let limit = |deadline| Limit { timeout: 2 * SECOND, deadline: Some(deadline) };
        assert_eq!(Limit::of(2 * SECOND).end(now), now + 2 * SECOND);
        assert_eq!(limit(now + SECOND).left(now), SECOND);
        assert_eq!(limit(now + 3 * SECOND).left(now), 2 * SECOND);
        assert_eq!(Limit::of(Duration::MAX).left(now), TIMEOUT_MAX);
    }

    #[test]
    fn write_whose_deadline_has_passed_is_not_begun() {
        let now = Instant::now();
        let limit = |deadline| Limit { timeout: SECOND, deadline };
        assert_eq!(limit(Some(now)).end_of_write(now), Err(WriteError::TooLate));
        assert_eq!(limit(Some(now + SECOND / 2)).end_of_write(now), Ok(now + SECOND / 2));
        assert_eq!(limit(None).end_of_write(now), Ok(now + SECOND));
    }
}
