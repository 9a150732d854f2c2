//! How long the loads of a namespace take and whether they succeed: shared by all handles of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::policy::LoadTime;

/// Namespaces whose loads are measured together; those beyond are measured for each handle. Names are few in any sane
/// program, and each takes some hundred bytes.
const NAMESPACES_MAX: usize = 4096;

/// After a load that failed nothing that is there is loaded anew for so long: its value is served all the same, and a
/// loader that is ill is left alone by all but those who need it.
const PAUSE: Duration = Duration::from_secs(1);

/// What is known of the loads of one namespace.
#[derive(Debug, Default)]
pub(crate) struct Loads {
    /// The average, for readers: no lock on the way of a hit.
    nanos: AtomicU64,
    /// Lock order: alone.
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    time: LoadTime,
    failed: Option<Instant>,
}

impl Loads {
    pub(crate) fn average(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::Relaxed))
    }

    /// A load succeeded after `took`.
    pub(crate) fn on_loaded(&self, took: Duration) {
        let mut known = self.known.lock();
        known.failed = None;
        known.time.on_loaded(took);
        let nanos = u64::try_from(known.time.average().as_nanos()).unwrap_or(u64::MAX);
        self.nanos.store(nanos, Ordering::Relaxed);
    }

    /// A load failed.
    pub(crate) fn on_failed(&self, now: Instant) {
        self.known.lock().failed = Some(now);
    }

    /// Whether what is there may be loaded anew.
    pub(crate) fn may_refresh(&self, now: Instant) -> bool {
        self.known.lock().failed.is_none_or(|failed| now.saturating_duration_since(failed) >= PAUSE)
    }
}

/// The loads of all namespaces.
#[derive(Debug, Default)]
pub(super) struct ByNamespace {
    /// Lock order: alone.
    loads: Mutex<HashMap<Bytes, Arc<Loads>>>,
}

impl ByNamespace {
    /// Those of the namespace of this prefix.
    pub(super) fn of(&self, prefix: &Bytes) -> Arc<Loads> {
        let mut loads = self.loads.lock();
        if let Some(known) = loads.get(prefix) {
            return Arc::clone(known);
        }
        let new = Arc::new(Loads::default());
        if loads.len() < NAMESPACES_MAX {
            loads.insert(prefix.clone(), Arc::clone(&new));
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_of_a_namespace_share_what_is_known() {
        let all = ByNamespace::default();
        all.of(&"a:".into()).on_loaded(Duration::from_millis(200));
        assert_eq!(all.of(&"a:".into()).average(), Duration::from_millis(200));
        assert_eq!(all.of(&"b:".into()).average(), Duration::ZERO);
    }

    #[test]
    fn loader_that_fails_is_left_alone_for_a_while() {
        let (loads, now) = (Loads::default(), Instant::now());
        assert!(loads.may_refresh(now));
        loads.on_failed(now);
        assert!(!loads.may_refresh(now) && loads.may_refresh(now + PAUSE));
        loads.on_loaded(Duration::from_millis(1));
        assert!(loads.may_refresh(now));
    }
}
