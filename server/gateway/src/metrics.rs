//! The gateway's metrics, published at each scrape.

use std::collections::BTreeMap;

use evanesce_front::FrontStats;
use evanesce_persister::{ClusterState, Persister, Reach};
use metrics::{counter, describe_counter, describe_gauge, gauge};

use crate::counts::sums;
use crate::service::Shared;

/// What each count is called and means. The first column is the count's name in `stats`.
const TOTALS: &[(&str, &str, &str)] = &[
    ("cmd_get", "evanesce_gateway_lookups_total", "Keys looked up."),
    ("cmd_set", "evanesce_gateway_writes_total", "Store commands."),
    ("cmd_touch", "evanesce_gateway_touches_total", "Keys touched, lookups with a new expiry included."),
    ("cmd_delete", "evanesce_gateway_deletes_total", "Deletes."),
    ("cmd_flush", "evanesce_gateway_flushes_total", "Flushes of the whole cluster."),
    ("evanesce_arithmetic", "evanesce_gateway_arithmetic_total", "Numbers counted up or down."),
    ("get_hits", "evanesce_gateway_hits_total", "Lookups that found an item in some zone."),
    ("get_misses", "evanesce_gateway_misses_total", "Lookups that found none."),
    ("evanesce_read_errors", "evanesce_gateway_read_errors_total", "Reads that no zone could answer."),
    (
        "evanesce_write_errors",
        "evanesce_gateway_write_errors_total",
        "Writes that did not meet their latch policy.",
    ),
    (
        "evanesce_unsupported",
        "evanesce_gateway_unsupported_total",
        "Requests that the gateway does not offer.",
    ),
    ("evanesce_busy", "evanesce_gateway_busy_total", "Requests refused since their turn did not come."),
];

/// Says what the metrics mean.
pub(crate) fn describe() {
    for (_, name, help) in TOTALS {
        describe_counter!(*name, *help);
    }
    describe_counter!("evanesce_gateway_tls_handshakes_total", "TLS handshakes that came to their end.");
    describe_counter!(
        "evanesce_gateway_tls_refused_total",
        "TLS handshakes that were refused or given up, by reason."
    );
    describe_counter!(
        "evanesce_gateway_authentications_total",
        "Names and passwords looked at, by outcome; and requests that were missing them."
    );
    describe_counter!(
        "evanesce_gateway_reloads_total",
        "Changed files of certificates or users, by what became of them."
    );
    describe_gauge!("evanesce_gateway_connections", "Connections open.");
    describe_gauge!("evanesce_gateway_epoch", "Epoch of the topology in force; 0 for none.");
    describe_gauge!(
        "evanesce_gateway_cluster_reached",
        "1 where another cluster that namespaces live in is reached; 0 where it is not, or none lives there any more."
    );
}

/// Sets all metrics from the counts.
pub(crate) fn publish(shared: &Shared) {
    let sums = sums(&shared.counts);
    for (count, name, _) in TOTALS {
        let total = sums.iter().find(|(known, _)| known == count).map_or(0, |(_, total)| *total);
        counter!(*name).absolute(total);
    }
    let front = shared.front.stats();
    publish_protection(&front);
    gauge!("evanesce_gateway_connections").set(front.curr_connections as f64);
    let epoch = shared.client.topology().map_or(0, |topology| topology.epoch.0);
    gauge!("evanesce_gateway_epoch").set(epoch as f64);
    let clusters = shared.persister().map(Persister::clusters).unwrap_or_default();
    for (cluster, is_reached) in reached(clusters, &mut shared.clusters_told.lock()) {
        gauge!("evanesce_gateway_cluster_reached", "cluster" => cluster).set(f64::from(is_reached));
    }
}

/// Whether each is reached that namespaces live in, or have lived in when it was `told` before: a gauge keeps its last value.
fn reached(clusters: Vec<ClusterState>, told: &mut BTreeMap<String, bool>) -> BTreeMap<String, bool> {
    told.values_mut().for_each(|is_reached| *is_reached = false);
    let now = clusters.into_iter();
    told.extend(now.map(|state| (state.cluster, matches!(state.reach, Reach::Reached(_)))));
    told.clone()
}

/// Who was let in, and who was not.
fn publish_protection(front: &FrontStats) {
    counter!("evanesce_gateway_tls_handshakes_total").absolute(front.tls_handshakes);
    for (reason, count) in front.tls_refusals() {
        counter!("evanesce_gateway_tls_refused_total", "reason" => reason).absolute(count);
    }
    let admitted = front.auth_cmds.saturating_sub(front.auth_errors);
    let outcomes = [("admitted", admitted), ("refused", front.auth_errors), ("missing", front.auth_missing)];
    for (outcome, count) in outcomes {
        counter!("evanesce_gateway_authentications_total", "outcome" => outcome).absolute(count);
    }
    for (outcome, count) in [("in_force", front.reloads), ("unusable", front.reload_errors)] {
        counter!("evanesce_gateway_reloads_total", "outcome" => outcome).absolute(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was seen: the gauge of a cluster that no namespace lived in any more stayed 1.
    #[test]
    fn cluster_that_is_named_no_more_is_told_as_not_reached() {
        let of = |cluster: &str| ClusterState {
            name: "sessions".to_owned(),
            cluster: cluster.to_owned(),
            reach: Reach::Unreached("it is away".into()),
        };
        let mut told = BTreeMap::from([("GONE".to_owned(), true)]);
        let gone = ("GONE".to_owned(), false);
        assert_eq!(reached(vec![of("AWAY")], &mut told), BTreeMap::from([("AWAY".to_owned(), false), gone]));
        assert!(reached(Vec::new(), &mut told).contains_key("GONE"), "for as long as the process lives");
    }

    #[test]
    fn every_count_has_a_metric_and_no_name_repeats() {
        let counts: Vec<&str> = sums(&[]).iter().map(|(name, _)| *name).collect();
        let published: Vec<&str> = TOTALS.iter().map(|(count, ..)| *count).collect();
        assert_eq!(counts, published);
        let mut names: Vec<&str> = TOTALS.iter().map(|(_, name, _)| *name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), TOTALS.len());
    }
}
