//! What a client counts of itself, by the names of its metrics.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use metrics::atomics::AtomicU64;
use metrics::{
    Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit, with_local_recorder,
};
use parking_lot::Mutex;

/// Counters of one client, each the sum over its labels.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    by_name: Mutex<BTreeMap<String, Arc<AtomicU64>>>,
}

impl Counted {
    /// Whatever `make` makes on this thread counts here.
    pub(crate) fn of<T>(make: impl FnOnce() -> T) -> (T, Arc<Self>) {
        let counted = Arc::new(Self::default());
        let made = with_local_recorder(&*counted, make);
        (made, counted)
    }

    /// None when nobody counts it.
    pub(crate) fn count(&self, name: &str) -> Option<u64> {
        Some(self.by_name.lock().get(name)?.load(Ordering::Relaxed))
    }
}

impl Recorder for Counted {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(Arc::clone(self.by_name.lock().entry(key.name().to_owned()).or_default()))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[cfg(test)]
mod tests {
    use super::Counted;

    #[test]
    fn labels_of_a_name_are_summed() {
        let (handles, counted) =
            Counted::of(|| ["hit", "miss"].map(|outcome| metrics::counter!("reads", "outcome" => outcome)));
        handles.iter().for_each(|handle| handle.increment(2));
        assert_eq!(counted.count("reads"), Some(4));
        assert_eq!(counted.count("hedges"), None);
    }
}
