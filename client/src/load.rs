//! Loading what is not there: once, however many ask.
//!
//! ```text
//!  read ── fresh ──> that is the answer
//!    │ stale, or early: the answer too, and one flight in the background
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
mod loader;
mod time;
mod waiter;

use std::sync::Arc;
use std::time::Duration;

pub(crate) use flight::Flights;
pub(crate) use loader::{Gathering, Loader, ManyLoaded, ManyLoader};
pub(crate) use time::Loads;
pub(crate) use waiter::{Waiter, wait};

use crate::codec::ABSENT_FLAGS;
use crate::error::LoadError;
use crate::item::{Item, LoadedItem};
use crate::policy::{Age, LatchPolicy, Refresh};
use crate::ttl::Ttl;
use crate::value::Form;

/// What a loader said, encoded: a value with its flags, or that there is none.
pub(crate) type Loaded = Result<Option<LoadedItem>, LoadError>;

/// Why a key is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// It is not there: somebody waits.
    Missing,
    /// It is there, beyond its TTL.
    Stale,
    /// It is there with so much of its life left, and will not be there for long.
    Early {
        /// As the node told it.
        left: Duration,
    },
}

/// What is done about a key that the loader knows nothing of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Absent {
    /// It is asked for again next time.
    Forgotten,
    /// It is remembered for so long.
    For(Duration),
    /// It is remembered for a share of the TTL.
    ForShare,
}

/// How a key is loaded and kept.
#[derive(Debug, Clone)]
pub(crate) struct LoadPlan {
    pub(crate) ttl: Ttl,
    /// Up to which share of the TTL it is shortened, so that keys loaded together do not expire together.
    pub(crate) jitter: f64,
    /// How long an item lives beyond its TTL, served while it is loaded anew.
    pub(crate) stale: Duration,
    /// How many load times ahead of its end an item is loaded anew, on average; 0 is never.
    pub(crate) early: f64,
    pub(crate) absent: Absent,
    /// A write stamped up to so long before the load began wins over what was loaded.
    pub(crate) yields_to: Duration,
    /// How long the loader may take.
    pub(crate) load_timeout: Duration,
    pub(crate) latch: LatchPolicy,
    pub(crate) form: Form,
    /// Of the key's namespace.
    pub(crate) loads: Arc<Loads>,
}

impl LoadPlan {
    fn refresh(&self) -> Refresh {
        Refresh::new(self.jitter, self.stale, self.early)
    }

    /// Why an item that is there is loaded anew; `None` when it is not. `random` is from 0 up to but not 1.
    pub(crate) fn wish(&self, item: &Item, random: f64) -> Option<Wish> {
        if item.flags == ABSENT_FLAGS {
            return None;
        }
        match self.refresh().age(item.ttl, self.loads.average(), random) {
            Age::Fresh => None,
            Age::Early => Some(Wish::Early { left: item.ttl.unwrap_or_default() }),
            Age::Stale => Some(Wish::Stale),
        }
    }

    /// Whether an item that somebody else has stored makes the load needless.
    fn is_granted_by(&self, item: &Item, wish: Wish) -> bool {
        if item.flags == ABSENT_FLAGS {
            return true;
        }
        match wish {
            Wish::Early { left } => item.ttl.is_none_or(|now| now > left),
            Wish::Missing | Wish::Stale => {
                let refresh = Refresh::new(self.jitter, self.stale, 0.0);
                refresh.age(item.ttl, Duration::ZERO, 0.0) != Age::Stale
            }
        }
    }

    /// How long a value lives on the nodes that has `left` of its life where it was loaded. `random` is from 0 to 1.
    fn kept(&self, left: Option<Duration>, random: f64) -> Ttl {
        match (self.ttl, left) {
            (Ttl::After(ttl), left) => {
                let stored_for = self.refresh().stored_for(ttl, random);
                Ttl::After(left.map_or(stored_for, |left| stored_for.min(left)))
            }
            (_, Some(left)) => Ttl::After(left),
            (other, None) => other,
        }
    }

    /// How long it is remembered that there is no value; `None` when it is not.
    fn absent_for(&self, random: f64) -> Option<Ttl> {
        let present = if let Ttl::After(ttl) = self.ttl { ttl } else { Duration::MAX };
        match self.absent {
            Absent::Forgotten => None,
            Absent::For(ttl) => Some(Ttl::After(ttl)),
            Absent::ForShare => Some(Ttl::After(self.refresh().absent_for(present, random))),
        }
    }
}

/// What a hit means to who loads: a value, or that it is known that there is none.
pub(crate) fn value_of(item: Item) -> Option<LoadedItem> {
    let Item { value, flags, ttl, .. } = item;
    (flags != ABSENT_FLAGS).then_some(LoadedItem { value, flags, ttl })
}

/// What a loader's future came to, as an error of ours.
pub(crate) fn loader_error(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> LoadError {
    LoadError::Loader(Arc::from(error.into()))
}

#[cfg(test)]
pub(crate) mod tests {
    use bytes::Bytes;

    use super::*;

    pub(crate) fn plan(ttl: Ttl, jitter: f64, stale: u64) -> LoadPlan {
        LoadPlan {
            ttl,
            jitter,
            stale: Duration::from_secs(stale),
            early: 1.0,
            absent: Absent::Forgotten,
            yields_to: Duration::ZERO,
            load_timeout: Duration::from_secs(1),
            latch: LatchPolicy::Local,
            form: Form::verbatim(),
            loads: Arc::default(),
        }
    }

    fn item(ttl: Option<u64>, flags: u32) -> Item {
        Item {
            value: Bytes::new(),
            flags,
            cas: 0,
            ttl: ttl.map(Duration::from_secs),
            version: None,
            until_secs: None,
        }
    }

    #[test]
    fn item_is_stale_in_the_last_part_of_its_life() {
        let plan = plan(Ttl::After(Duration::from_secs(100)), 0.0, 30);
        let wish = |left, flags| plan.wish(&item(left, flags), 0.5);
        assert_eq!(wish(Some(29), 0), Some(Wish::Stale));
        assert_eq!(wish(Some(31), 0), None);
        assert_eq!(wish(None, 0), None, "it does not expire");
        assert_eq!(wish(Some(1), ABSENT_FLAGS), None);
        assert!(plan.is_granted_by(&item(Some(30), 0), Wish::Missing));
        assert!(!plan.is_granted_by(&item(Some(29), 0), Wish::Stale));
    }

    #[test]
    fn item_is_loaded_early_when_loads_take_as_long_as_it_has_left() {
        let plan = plan(Ttl::After(Duration::from_secs(100)), 0.0, 30);
        plan.loads.on_loaded(Duration::from_secs(10));
        let left = Duration::from_secs(35);
        assert_eq!(plan.wish(&item(Some(35), 0), 0.5), Some(Wish::Early { left }));
        assert_eq!(plan.wish(&item(Some(40), 0), 0.5), None);
        let wish = Wish::Early { left };
        assert!(!plan.is_granted_by(&item(Some(34), 0), wish), "it is the same item");
        assert!(plan.is_granted_by(&item(Some(36), 0), wish), "somebody has renewed it");
        assert!(plan.is_granted_by(&item(None, 0), wish));
    }

    #[test]
    fn absent_key_is_remembered_as_told() {
        let plan = plan(Ttl::After(Duration::from_secs(100)), 0.0, 30);
        let absent = |absent| LoadPlan { absent, ..plan.clone() }.absent_for(0.5);
        assert_eq!(absent(Absent::Forgotten), None);
        assert_eq!(absent(Absent::For(Duration::from_secs(7))), Some(Ttl::After(Duration::from_secs(7))));
        assert_eq!(absent(Absent::ForShare), Some(Ttl::After(Duration::from_secs(10))));
    }

    #[test]
    fn jitter_shortens_the_ttl_and_leaves_the_stale_time() {
        let plan = plan(Ttl::After(Duration::from_secs(100)), 0.1, 30);
        assert_eq!(plan.kept(None, 0.0), Ttl::After(Duration::from_secs(130)));
        assert_eq!(plan.kept(None, 1.0), Ttl::After(Duration::from_secs(120)));
        assert_eq!(super::tests::plan(Ttl::Never, 0.1, 30).kept(None, 1.0), Ttl::Never);
        let left = Some(Duration::from_secs(7));
        assert_eq!(
            plan.kept(left, 0.0),
            Ttl::After(Duration::from_secs(7)),
            "no longer than where it comes from"
        );
        assert_eq!(
            super::tests::plan(Ttl::Never, 0.1, 30).kept(left, 1.0),
            Ttl::After(Duration::from_secs(7))
        );
    }

    #[test]
    fn absent_item_is_known_to_have_no_value() {
        assert_eq!(value_of(item(None, ABSENT_FLAGS)), None);
        assert_eq!(value_of(item(None, 7)), Some(LoadedItem { flags: 7, ..LoadedItem::default() }));
    }
}
