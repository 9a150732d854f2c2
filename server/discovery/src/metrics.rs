//! What a discovery counts, each name with its meaning.

use evanesce_topology::NodeState;

/// A metric's name and meaning.
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    help: &'static str,
}

const fn metric(name: &'static str, help: &'static str) -> Metric {
    Metric { name, help }
}

pub(crate) const REGISTRATIONS: Metric =
    metric("evanesce_discovery_registrations_total", "registrations accepted, repeated ones included");
pub(crate) const RENEWALS: Metric = metric("evanesce_discovery_renewals_total", "leases renewed");
pub(crate) const RETURNS: Metric = metric("evanesce_discovery_returns_total", "leases given back");
pub(crate) const REFUSALS: Metric =
    metric("evanesce_discovery_refusals_total", "calls refused, by gRPC code");
pub(crate) const LAPSES: Metric = metric("evanesce_discovery_lapses_total", "leases that lapsed");
pub(crate) const MASS_LAPSES: Metric =
    metric("evanesce_discovery_mass_lapses_total", "times that more than half of all nodes went missing");
pub(crate) const STALLS: Metric = metric(
    "evanesce_discovery_stalls_total",
    "times that the discovery itself stood still, and prolonged all leases",
);
pub(crate) const PUBLICATIONS: Metric =
    metric("evanesce_discovery_publications_total", "times that topologies were published under new epochs");
pub(crate) const PERSIST_FAILURES: Metric =
    metric("evanesce_discovery_persist_failures_total", "failed attempts to write the state to disk");
pub(crate) const NODES: Metric = metric("evanesce_discovery_nodes", "nodes, by state");
pub(crate) const WATCHERS: Metric = metric("evanesce_discovery_watchers", "open watch streams");
pub(crate) const EPOCH: Metric = metric("evanesce_discovery_epoch", "the newest epoch, by cluster");
pub(crate) const MASS_LAPSE: Metric = metric(
    "evanesce_discovery_mass_lapse_active",
    "1 while lapsed nodes are kept because too many are missing",
);
pub(crate) const SETTLED: Metric =
    metric("evanesce_discovery_settled", "1 once topologies are published after a start");

/// The counters.
const COUNTERS: [&Metric; 9] = [
    &REGISTRATIONS,
    &RENEWALS,
    &RETURNS,
    &REFUSALS,
    &LAPSES,
    &MASS_LAPSES,
    &STALLS,
    &PUBLICATIONS,
    &PERSIST_FAILURES,
];

/// The gauges.
const GAUGES: [&Metric; 5] = [&NODES, &WATCHERS, &EPOCH, &MASS_LAPSE, &SETTLED];

/// All states, in the order of a node's life.
pub(crate) const STATES: [NodeState; 5] =
    [NodeState::Joining, NodeState::Warming, NodeState::Serving, NodeState::Draining, NodeState::Down];

/// Tells the recorder what each metric means, and shows the plain counters at 0.
pub(crate) fn describe() {
    for metric in COUNTERS {
        metrics::describe_counter!(metric.name, metric.help);
        if metric.name != REFUSALS.name {
            count(metric, 0);
        }
    }
    for metric in GAUGES {
        metrics::describe_gauge!(metric.name, metric.help);
    }
}

/// Adds to a counter without labels.
pub(crate) fn count(metric: &Metric, by: u64) {
    metrics::counter!(metric.name).increment(by);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_metric_name_repeats() {
        let mut names: Vec<_> = COUNTERS.iter().chain(&GAUGES).map(|metric| metric.name).collect();
        names.sort_unstable();
        let total = names.len();
        names.dedup();
        assert_eq!(names.len(), total);
        assert!(names.iter().all(|name| name.starts_with("evanesce_discovery_")));
    }
}
