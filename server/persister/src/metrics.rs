//! The tier's metrics, published at each scrape.

use std::collections::BTreeSet;

use metrics::{counter, describe_counter, describe_gauge, gauge};

use crate::persister::{Number, Owner, Persister};

/// Whether a number only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Total,
    Now,
}

/// A metric that was set, its label and whose it is.
pub(crate) type Gauge = (&'static str, &'static str, String);

/// What each number of a namespace is called and means. The first column is the number's name in `stats persister`.
const OF_NAMESPACES: &[(&str, &str, Kind, &str)] = &[
    ("misses", "evanesce_persister_misses_total", Kind::Total, "Reads that waited for a load."),
    (
        "coalesced",
        "evanesce_persister_coalesced_total",
        Kind::Total,
        "Of them those that another's load served.",
    ),
    ("loads", "evanesce_persister_loads_total", Kind::Total, "Keys that the store was to be asked for."),
    ("loads_absent", "evanesce_persister_loads_absent_total", Kind::Total, "Loads that found nothing."),
    (
        "load_failures",
        "evanesce_persister_load_failures_total",
        Kind::Total,
        "Loads that failed or were refused.",
    ),
    (
        "negative_hits",
        "evanesce_persister_negative_hits_total",
        Kind::Total,
        "Reads of keys remembered as absent.",
    ),
    ("stale_served", "evanesce_persister_stale_served_total", Kind::Total, "Reads served beyond their TTL."),
    (
        "from_log",
        "evanesce_persister_log_loads_total",
        Kind::Total,
        "Loads that the write-behind log answered.",
    ),
    ("writes", "evanesce_persister_writes_total", Kind::Total, "Writes that the store or the log took."),
    ("write_failures", "evanesce_persister_write_failures_total", Kind::Total, "Writes refused or failed."),
    (
        "superseded",
        "evanesce_persister_superseded_total",
        Kind::Total,
        "Writes the store had a newer one than.",
    ),
    (
        "drained",
        "evanesce_persister_log_drained_total",
        Kind::Total,
        "Writes taken from the log to the store.",
    ),
    ("retries", "evanesce_persister_log_retries_total", Kind::Total, "Writes of the log that go again."),
    ("buried", "evanesce_persister_log_buried_total", Kind::Total, "Writes that became dead letters."),
    ("log_waiting", "evanesce_persister_log_waiting", Kind::Now, "Writes that wait for the store."),
    ("log_waiting_bytes", "evanesce_persister_log_waiting_bytes", Kind::Now, "Their bytes."),
    ("log_file_bytes", "evanesce_persister_log_file_bytes", Kind::Now, "Bytes of the log's files."),
    (
        "log_oldest_age_ms",
        "evanesce_persister_log_oldest_age_seconds",
        Kind::Now,
        "How long the oldest waits.",
    ),
    (
        "log_dead_letters",
        "evanesce_persister_log_dead_letters",
        Kind::Now,
        "Writes an operator must decide on.",
    ),
    ("log_failed", "evanesce_persister_log_failed", Kind::Now, "1 when the log takes no more writes."),
];

/// The same of a store.
const OF_STORES: &[(&str, &str, Kind, &str)] = &[
    ("loads", "evanesce_store_loads_total", Kind::Total, "Keys that the store was asked for."),
    ("load_calls", "evanesce_store_load_calls_total", Kind::Total, "In so many calls."),
    ("writes", "evanesce_store_writes_total", Kind::Total, "Changes that the store was given."),
    ("write_calls", "evanesce_store_write_calls_total", Kind::Total, "In so many calls."),
    ("refused", "evanesce_store_refused_total", Kind::Total, "Keys refused before the store was asked."),
    (
        "timed_out",
        "evanesce_store_timed_out_total",
        Kind::Total,
        "Keys whose callers went before their turn.",
    ),
    (
        "errors_transient",
        "evanesce_store_errors_transient_total",
        Kind::Total,
        "Keys that failed for a while.",
    ),
    ("errors_permanent", "evanesce_store_errors_permanent_total", Kind::Total, "Keys that failed for good."),
    (
        "errors_credentials",
        "evanesce_store_errors_credentials_total",
        Kind::Total,
        "Keys the store refused us.",
    ),
    (
        "errors_overload",
        "evanesce_store_errors_overload_total",
        Kind::Total,
        "Keys the store was too busy for.",
    ),
    (
        "breaker_opened",
        "evanesce_store_breaker_opened_total",
        Kind::Total,
        "How often the store was left alone.",
    ),
    ("calls_under_way", "evanesce_store_calls", Kind::Now, "Calls under way."),
    ("breaker_is_open", "evanesce_store_breaker_open", Kind::Now, "1 while the store is left alone."),
];

/// Milliseconds of a second: metrics are in base units.
const MS: f64 = 1000.0;

impl Persister {
    /// Says what the metrics mean, to the recorder of the process.
    pub fn describe_metrics() {
        for (_, name, kind, help) in OF_NAMESPACES.iter().chain(OF_STORES) {
            match kind {
                Kind::Total => describe_counter!(*name, *help),
                Kind::Now => describe_gauge!(*name, *help),
            }
        }
    }

    /// Sets all metrics from the counts. What a namespace or store had at a time that is there no more is 0 from then on: a gauge
    /// would keep its last value.
    pub fn publish_metrics(&self) {
        let mut now = BTreeSet::new();
        for Number { owner, name, value } in self.numbers() {
            let (table, label, owner) = match owner {
                Owner::Namespace(namespace) => (OF_NAMESPACES, "namespace", namespace),
                Owner::Store(store) => (OF_STORES, "store", store),
            };
            let Some((_, metric, kind, _)) = table.iter().find(|(known, ..)| *known == name) else {
                continue;
            };
            let in_base = if name.ends_with("_ms") { value as f64 / MS } else { value as f64 };
            match kind {
                Kind::Total => counter!(*metric, label => owner).absolute(value),
                Kind::Now => {
                    gauge!(*metric, label => owner.clone()).set(in_base);
                    now.insert((*metric, label, owner));
                }
            }
        }
        for (metric, label, owner) in gone(&mut self.gauges.lock(), now) {
            gauge!(metric, label => owner).set(0.0);
        }
    }
}

/// What was set before, and is not set now.
fn gone(before: &mut BTreeSet<Gauge>, now: BTreeSet<Gauge>) -> Vec<Gauge> {
    let gone = before.difference(&now).cloned().collect();
    *before = now;
    gone
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::GateCounts;
    use crate::tier::TierCounts;

    /// What was seen: of a namespace that was taken away the gauges stayed, and an alert on what waits in its log with them.
    #[test]
    fn gauge_of_what_is_there_no_more_is_given_back_once() {
        let of = |names: &[&str]| {
            names.iter().map(|name| ("waiting", "namespace", (*name).to_owned())).collect::<BTreeSet<_>>()
        };
        let mut before = of(&["a", "b"]);
        assert_eq!(gone(&mut before, of(&["b", "c"])), Vec::from_iter(of(&["a"])));
        assert_eq!(gone(&mut before, of(&["b", "c"])), []);
    }

    #[test]
    fn every_count_has_a_metric_and_no_name_repeats() {
        let namespaces = TierCounts::default().list();
        assert!(namespaces.iter().all(|(count, _)| OF_NAMESPACES.iter().any(|(known, ..)| known == count)));
        let stores = GateCounts::default().list();
        assert!(stores.iter().all(|(count, _)| OF_STORES.iter().any(|(known, ..)| known == count)));
        let mut names: Vec<&str> = OF_NAMESPACES.iter().chain(OF_STORES).map(|(_, name, ..)| *name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), OF_NAMESPACES.len() + OF_STORES.len());
    }
}
