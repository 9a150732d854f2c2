//! What a caller says of loads, of one key or of many.

use std::sync::Arc;
use std::time::Duration;

use crate::load::{Absent, LoadPlan};
use crate::namespace::Namespace;

/// How long a loader may take before others may try: some attempts at a slow database.
const LOAD_TIMEOUT: Duration = Duration::from_secs(5);

/// Longer is no load.
pub(super) const LOAD_TIMEOUT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Spreads what was loaded together over a tenth of its life.
const JITTER: f64 = 0.1;

/// What XFetch's authors found best: few loads are early, and fewer still too late.
const EARLY: f64 = 1.0;

impl LoadPlan {
    /// What loads through this handle do unless told otherwise.
    pub(super) fn of(namespace: &Namespace) -> Self {
        Self {
            ttl: namespace.ttl,
            jitter: JITTER,
            stale: Duration::ZERO,
            early: EARLY,
            absent: Absent::Forgotten,
            yields_to: Duration::ZERO,
            load_timeout: LOAD_TIMEOUT,
            latch: namespace.latch,
            form: namespace.form(),
            loads: Arc::clone(&namespace.loads),
        }
    }
}

/// The options of an operation that loads: it has a `plan`, read `options`, and the `limit` of its caller.
macro_rules! load_options {
    () => {
        /// How long a loaded item is fresh. Default the namespace's.
        pub fn ttl(mut self, ttl: impl Into<crate::ttl::Ttl>) -> Self {
            self.plan.ttl = ttl.into();
            self
        }

        /// For so long after its TTL an item is served all the same, while one caller loads it anew: nobody waits.
        /// Default zero. All readers of a key should say the same: an item in the last such part of its life is stale.
        pub fn stale(mut self, time: std::time::Duration) -> Self {
            self.plan.stale = time;
            self
        }

        /// How many load times before its TTL ends an item is loaded anew, on average, by one of those who read it: it is
        /// served meanwhile, and nobody waits. Default 1; 0 is never. The more a key is read the surer somebody does in time.
        ///
        /// It is XFetch, of Vattani, Chierichetti and Lowenstein, 2015. Load times are averages of the namespace in this
        /// client.
        pub fn early(mut self, load_times: f64) -> Self {
            self.plan.early = load_times;
            self
        }

        /// For how long it is remembered that the loader found nothing. Default not at all. To other operations
        /// such a key is a miss.
        pub fn absent_ttl(mut self, ttl: std::time::Duration) -> Self {
            self.plan.absent = crate::load::Absent::For(ttl);
            self
        }

        /// Remembers that the loader found nothing, for a tenth of the TTL: at least 1 s, at most 30 s.
        pub fn remember_absent(mut self) -> Self {
            self.plan.absent = crate::load::Absent::ForShare;
            self
        }

        /// Up to which share of the TTL, 0 to 1, it is shortened at random, so that what was loaded together does not
        /// expire together. Default 0.1.
        pub fn jitter(mut self, share: f64) -> Self {
            self.plan.jitter = share.clamp(0.0, 1.0);
            self
        }

        /// A write or delete of the key stamped up to so long before the load began wins over what was loaded, too: for those
        /// who write to the cluster before, or while, they write to what the loader reads. Default zero: those stamped since.
        pub fn yields_to_writes_of(mut self, last: std::time::Duration) -> Self {
            self.plan.yields_to = last;
            self
        }

        /// How long the loader may take; then it is ended. Default 5 s.
        pub fn load_timeout(mut self, timeout: std::time::Duration) -> Self {
            self.plan.load_timeout = timeout.min(super::load_options::LOAD_TIMEOUT_MAX);
            self
        }

        /// How many acknowledgements the fill is counted good with. Default the namespace's. Nobody waits for them.
        pub fn latch(mut self, latch: crate::policy::LatchPolicy) -> Self {
            self.plan.latch = latch;
            self
        }

        super::options::limit_options!(
            "How long this caller waits in all, the load included, which goes on after that. Default without end: the load \
             has one.",
            limit
        );
        super::options::fallback_option!();
        super::options::near_option!();
    };
}

pub(super) use load_options;
