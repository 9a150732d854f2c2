//! Loading what is not there: once, however many ask.
//!
//! ```text
//!  read ── fresh ──> that is the answer
//!    │ stale: the answer too, and one flight in the background
//!    │ miss
//!    v
//!  flight, one a key in this process ── lease held elsewhere ──> waits until the key is there, or the lease is gone
//!    │ lease granted by the home zone, and the key still not there
//!    v
//!  loader ──> fill, stamped with the lease's version ──> every zone          a delete meanwhile is newer, and wins
//! ```
//!
//! After Nishtala et al., Scaling Memcache at Facebook, 2013, section 3.2.1; the lease is an item of its own beside the
//! key, so that any server that speaks meta grants it.

mod flight;
mod lease;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;

pub(crate) use flight::Flights;

use crate::codec::ABSENT_FLAGS;
use crate::error::LoadError;
use crate::item::Item;
use crate::policy::LatchPolicy;
use crate::ttl::Ttl;
use crate::value::Form;

/// What a loader said, encoded: a value with its flags, or that there is none.
pub(crate) type Loaded = Result<Option<(Bytes, u32)>, LoadError>;

/// A loader that has not been called.
pub(crate) type Loader = Box<dyn FnOnce() -> BoxFuture<'static, Loaded> + Send>;

/// How a key is loaded and kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LoadPlan {
    pub(crate) ttl: Ttl,
    /// Up to which share of the TTL it is shortened, so that keys loaded together do not expire together.
    pub(crate) jitter: f64,
    /// How long an item lives beyond its TTL, served while it is loaded anew.
    pub(crate) stale: Duration,
    /// How long it is remembered that there is no value; `None` for not at all.
    pub(crate) absent_ttl: Option<Duration>,
    /// How long the loader may take.
    pub(crate) load_timeout: Duration,
    pub(crate) latch: LatchPolicy,
    pub(crate) form: Form,
}

impl LoadPlan {
    /// Whether an item is in the last part of its life, in which it is served and loaded anew.
    pub(crate) fn is_stale(&self, item: &Item) -> bool {
        !self.stale.is_zero() && item.flags != ABSENT_FLAGS && item.ttl.is_some_and(|left| left < self.stale)
    }

    /// How long a value lives on the nodes. `random` is from 0 to 1.
    fn kept(&self, random: f64) -> Ttl {
        match self.ttl {
            Ttl::After(ttl) => {
                let ttl = ttl.mul_f64(1.0 - self.jitter * random.clamp(0.0, 1.0));
                Ttl::After(ttl.saturating_add(self.stale))
            }
            other => other,
        }
    }
}

/// What a hit means to who loads: a value, or that it is known that there is none.
pub(crate) fn value_of(item: Item) -> Option<(Bytes, u32)> {
    (item.flags != ABSENT_FLAGS).then_some((item.value, item.flags))
}

/// What a loader's future came to, as an error of ours.
pub(crate) fn loader_error(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> LoadError {
    LoadError::Loader(Arc::from(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(ttl: Ttl, jitter: f64, stale: u64) -> LoadPlan {
        LoadPlan {
            ttl,
            jitter,
            stale: Duration::from_secs(stale),
            absent_ttl: None,
            load_timeout: Duration::from_secs(1),
            latch: LatchPolicy::Local,
            form: Form::verbatim(),
        }
    }

    fn item(ttl: Option<u64>, flags: u32) -> Item {
        Item { value: Bytes::new(), flags, cas: 0, ttl: ttl.map(Duration::from_secs), version: None }
    }

    #[test]
    fn item_is_stale_in_the_last_part_of_its_life() {
        let plan = plan(Ttl::After(Duration::from_secs(100)), 0.0, 30);
        assert!(!plan.is_stale(&item(Some(30), 0)));
        assert!(plan.is_stale(&item(Some(29), 0)));
        assert!(!plan.is_stale(&item(None, 0)), "it does not expire");
        assert!(!plan.is_stale(&item(Some(1), ABSENT_FLAGS)));
    }

    #[test]
    fn jitter_shortens_the_ttl_and_leaves_the_stale_time() {
        let plan = plan(Ttl::After(Duration::from_secs(100)), 0.1, 30);
        assert_eq!(plan.kept(0.0), Ttl::After(Duration::from_secs(130)));
        assert_eq!(plan.kept(1.0), Ttl::After(Duration::from_secs(120)));
        assert_eq!(super::tests::plan(Ttl::Never, 0.1, 30).kept(1.0), Ttl::Never);
    }

    #[test]
    fn absent_item_is_known_to_have_no_value() {
        assert_eq!(value_of(item(None, ABSENT_FLAGS)), None);
        assert_eq!(value_of(item(None, 7)), Some((Bytes::new(), 7)));
    }
}
