//! The node's metrics, each declared once: name, meaning and where the number comes from.

mod namespaces;

use metrics::{Label, counter, describe_counter, describe_gauge, gauge};

use crate::shared::{Counts, Shared};

/// A counter of the node.
struct Total {
    name: &'static str,
    help: &'static str,
    /// A label, and for each of its values the count.
    label: &'static str,
    read: fn(&Counts) -> Vec<(&'static str, u64)>,
}

/// A gauge of the node.
struct Level {
    name: &'static str,
    help: &'static str,
    read: fn(&Counts) -> u64,
}

/// Counters. A label's name is empty where there is none.
const TOTALS: &[Total] = &[
    Total {
        name: "evanesce_node_lookups_total",
        help: "Keys looked up, by outcome.",
        label: "outcome",
        read: |c| vec![("hit", c.commands.get_hits), ("miss", c.commands.get_misses)],
    },
    Total {
        name: "evanesce_node_touches_total",
        help: "Keys touched, lookups with a new expiry included, by outcome.",
        label: "outcome",
        read: |c| vec![("hit", c.commands.touch_hits), ("miss", c.commands.touch_misses)],
    },
    Total {
        name: "evanesce_node_writes_total",
        help: "Store commands that reached the store, stored or not.",
        label: "",
        read: |c| vec![("", c.commands.cmd_set)],
    },
    Total {
        name: "evanesce_node_writes_refused_total",
        help: "Store commands refused, by reason.",
        label: "reason",
        read: |c| vec![("too_large", c.commands.store_too_large), ("no_memory", c.commands.store_no_memory)],
    },
    Total {
        name: "evanesce_node_versions_refused_total",
        help: "Writes and deletes refused for their versions: superseded by something newer, or ahead of the clock.",
        label: "reason",
        read: |c| vec![("superseded", c.commands.superseded), ("clock", c.commands.clock_refused)],
    },
    Total {
        name: "evanesce_node_watch_lines_total",
        help: "Lines for those who watch events, by what became of them; what a watcher is too slow for is dropped.",
        label: "outcome",
        read: |c| vec![("sent", c.watch.sent), ("dropped", c.watch.skipped)],
    },
    Total {
        name: "evanesce_node_forwards_total",
        help: "Changes to be told to a key's other owner while the group is resized, by outcome; dropped are those beyond the queue's room.",
        label: "outcome",
        read: |c| vec![("sent", c.resize.forwarded), ("dropped", c.resize.forward_dropped)],
    },
    Total {
        name: "evanesce_node_foreign_dropped_total",
        help: "Items dropped because the node does not own them any more.",
        label: "",
        read: |c| vec![("", c.resize.dropped)],
    },
    Total {
        name: "evanesce_node_warm_up_items_total",
        help: "Items that siblings gave this node for its warm-up, by outcome; refused are those that were older than what it had.",
        label: "outcome",
        read: |c| vec![("stored", c.warm.taken), ("refused", c.warm.refused)],
    },
    Total {
        name: "evanesce_node_warm_up_bytes_total",
        help: "Bytes of keys and values that siblings gave this node for its warm-up.",
        label: "",
        read: |c| vec![("", c.warm.bytes)],
    },
    Total {
        name: "evanesce_node_given_items_total",
        help: "Items given to siblings for their warm-up.",
        label: "",
        read: |c| vec![("", c.warm.given)],
    },
    Total {
        name: "evanesce_node_given_bytes_total",
        help: "Bytes of keys and values given to siblings for their warm-up.",
        label: "",
        read: |c| vec![("", c.warm.given_bytes)],
    },
    Total {
        name: "evanesce_node_compares_total",
        help: "Writes and deletes that demanded a CAS token, by outcome.",
        label: "outcome",
        read: |c| {
            let commands = &c.commands;
            vec![
                ("stored", commands.cas_hits),
                ("exists", commands.cas_badval),
                ("not_found", commands.cas_misses),
            ]
        },
    },
    Total {
        name: "evanesce_node_deletes_total",
        help: "Deletes, by outcome.",
        label: "outcome",
        read: |c| vec![("hit", c.commands.delete_hits), ("miss", c.commands.delete_misses)],
    },
    Total {
        name: "evanesce_node_increments_total",
        help: "Increments, by outcome.",
        label: "outcome",
        read: |c| vec![("hit", c.commands.incr_hits), ("miss", c.commands.incr_misses)],
    },
    Total {
        name: "evanesce_node_decrements_total",
        help: "Decrements, by outcome.",
        label: "outcome",
        read: |c| vec![("hit", c.commands.decr_hits), ("miss", c.commands.decr_misses)],
    },
    Total {
        name: "evanesce_node_flushes_total",
        help: "Flushes asked for.",
        label: "",
        read: |c| vec![("", c.commands.cmd_flush)],
    },
    Total {
        name: "evanesce_node_requests_total",
        help: "Requests executed.",
        label: "",
        read: |c| vec![("", c.front.requests)],
    },
    Total {
        name: "evanesce_node_batches_total",
        help: "Batches of requests executed; requests per batch say how well clients pipeline.",
        label: "",
        read: |c| vec![("", c.front.batches)],
    },
    Total {
        name: "evanesce_node_requests_refused_total",
        help: "Requests answered with an error before they were executed, by reason.",
        label: "reason",
        read: |c| vec![("malformed", c.front.refused_requests), ("input_budget", c.front.input_exhausted)],
    },
    Total {
        name: "evanesce_node_received_bytes_total",
        help: "Bytes read from memcached connections.",
        label: "",
        read: |c| vec![("", c.front.bytes_read)],
    },
    Total {
        name: "evanesce_node_sent_bytes_total",
        help: "Bytes written to memcached connections.",
        label: "",
        read: |c| vec![("", c.front.bytes_written)],
    },
    Total {
        name: "evanesce_node_connections_accepted_total",
        help: "Memcached connections accepted and served.",
        label: "",
        read: |c| vec![("", c.front.total_connections)],
    },
    Total {
        name: "evanesce_node_connections_closed_total",
        help: "Memcached connections that the node closed, by reason.",
        label: "reason",
        read: |c| {
            let front = &c.front;
            vec![
                ("too_many", front.rejected_connections),
                ("stalled", front.stalled_connections),
                ("idle", front.idle_connections),
                ("output_budget", front.output_exhausted),
            ]
        },
    },
    Total {
        name: "evanesce_node_tls_handshakes_total",
        help: "TLS handshakes that came to their end.",
        label: "",
        read: |c| vec![("", c.front.tls_handshakes)],
    },
    Total {
        name: "evanesce_node_tls_refused_total",
        help: "TLS handshakes that were refused or given up, by reason.",
        label: "reason",
        read: |c| c.front.tls_refusals().collect(),
    },
    Total {
        name: "evanesce_node_authentications_total",
        help: "Names and passwords looked at, by outcome; and requests that were missing them.",
        label: "outcome",
        read: |c| {
            let (all, refused) = (c.front.auth_cmds, c.front.auth_errors);
            let admitted = all.saturating_sub(refused);
            vec![("admitted", admitted), ("refused", refused), ("missing", c.front.auth_missing)]
        },
    },
    Total {
        name: "evanesce_node_reloads_total",
        help: "Changed files of certificates or users, by what became of them.",
        label: "outcome",
        read: |c| vec![("in_force", c.front.reloads), ("unusable", c.front.reload_errors)],
    },
    Total {
        name: "evanesce_node_accept_errors_total",
        help: "Failures to accept a connection, such as too few file descriptors.",
        label: "",
        read: |c| vec![("", c.front.accept_errors)],
    },
    Total {
        name: "evanesce_node_items_stored_total",
        help: "Items stored.",
        label: "",
        read: |c| vec![("", c.store.items_total)],
    },
    Total {
        name: "evanesce_node_items_dropped_total",
        help: "Items that left the store without a delete, by reason.",
        label: "reason",
        read: |c| {
            vec![("evicted", c.store.evictions), ("expired", c.store.expired), ("flushed", c.store.flushed)]
        },
    },
    Total {
        name: "evanesce_node_items_unread_total",
        help: "Items that left the store without ever having been read, by reason.",
        label: "reason",
        read: |c| vec![("evicted", c.store.evicted_unfetched), ("expired", c.store.expired_unfetched)],
    },
    Total {
        name: "evanesce_divergence_rounds_total",
        help: "Comparisons with all siblings, by whether every one of them answered.",
        label: "outcome",
        read: |c| vec![("whole", c.divergence.rounds), ("broken", c.divergence.broken)],
    },
    Total {
        name: "evanesce_divergence_compared_total",
        help: "Items compared with those of siblings.",
        label: "",
        read: |c| vec![("", c.divergence.all.compared)],
    },
    Total {
        name: "evanesce_divergence_exchanged_total",
        help: "What siblings knew and this node did not, by what became of it: items taken or refused, items deleted as \
               elsewhere, items dropped because nobody knows whether they were deleted while the node was away.",
        label: "outcome",
        read: |c| {
            let all = &c.divergence.all;
            vec![
                ("taken", all.taken),
                ("refused", all.refused),
                ("deleted", all.deleted),
                ("dropped", all.dropped),
            ]
        },
    },
    Total {
        name: "evanesce_divergence_received_bytes_total",
        help: "Bytes of keys and values that siblings sent because they were newer.",
        label: "",
        read: |c| vec![("", c.divergence.all.bytes)],
    },
];

/// Gauges.
const LEVELS: &[Level] = &[
    Level {
        name: "evanesce_node_rings",
        help: "Rings in force in the node's group: 2 while it is resized.",
        read: |c| c.resize.rings,
    },
    Level {
        name: "evanesce_node_forwards_pending",
        help: "Changes that wait to be told to a key's other owner.",
        read: |c| c.resize.forward_pending,
    },
    Level {
        name: "evanesce_node_fill_verified_items",
        help: "After the last fill for another ring: items compared with those of the nodes that gave them.",
        read: |c| c.resize.verified[0],
    },
    Level {
        name: "evanesce_node_fill_verified_mended",
        help: "After the last fill for another ring: differences from the nodes that gave, taken over.",
        read: |c| c.resize.verified[1],
    },
    Level {
        name: "evanesce_node_fill_verified_left",
        help: "After the last fill for another ring: differences that the last comparison still found.",
        read: |c| c.resize.verified[2],
    },
    Level { name: "evanesce_node_items", help: "Items in the store.", read: |c| c.store.items },
    Level {
        name: "evanesce_node_item_bytes",
        help: "Bytes of the items in the store: headers, keys, values.",
        read: |c| c.store.item_bytes,
    },
    Level {
        name: "evanesce_node_memory_bytes",
        help: "Bytes of the store's budget in use.",
        read: |c| c.store.bytes,
    },
    Level {
        name: "evanesce_node_memory_limit_bytes",
        help: "The store's budget in bytes.",
        read: |c| c.store.limit_bytes,
    },
    Level {
        name: "evanesce_node_connections",
        help: "Memcached connections open.",
        read: |c| c.front.curr_connections,
    },
    Level {
        name: "evanesce_node_connections_limit",
        help: "Memcached connections that may be open at once.",
        read: |c| c.front.connections_max,
    },
    Level {
        name: "evanesce_node_input_bytes",
        help: "Bytes held by requests that arrive in pieces.",
        read: |c| c.front.input_bytes,
    },
    Level {
        name: "evanesce_node_output_bytes",
        help: "Bytes held by replies that their readers have not taken.",
        read: |c| c.front.output_bytes,
    },
    Level {
        name: "evanesce_divergence_differing_per_million",
        help: "Keys of a million of which this node or a sibling lacked the newest write, in the last comparison.",
        read: |c| c.divergence.differing_per_million,
    },
    Level {
        name: "evanesce_divergence_absent_per_million",
        help: "Keys of a million that a sibling lacks, in the last comparison: evicted, expired or missed there.",
        read: |c| c.divergence.absent_per_million,
    },
    Level { name: "evanesce_node_threads", help: "Worker threads.", read: |c| c.front.threads as u64 },
];

/// Tells the recorder what each metric means.
pub(crate) fn describe() {
    TOTALS.iter().for_each(|total| describe_counter!(total.name, total.help));
    LEVELS.iter().for_each(|level| describe_gauge!(level.name, level.help));
    namespaces::describe();
    describe_gauge!("evanesce_node_uptime_seconds", "Seconds since the node started.");
    describe_gauge!(
        "evanesce_divergence_oldest_seconds",
        "Age of the oldest difference that the last comparison found; 0 without one."
    );
    describe_gauge!("evanesce_node_leases", "Discoveries that hold a lease of this node.");
}

/// Shows the counters as they are now.
pub(crate) fn publish(shared: &Shared, leases: usize) {
    let counts = shared.counts();
    for total in TOTALS {
        for (value, count) in (total.read)(&counts) {
            let labels = (!value.is_empty()).then(|| Label::from_static_parts(total.label, value));
            counter!(total.name, labels.into_iter().collect::<Vec<_>>()).absolute(count);
        }
    }
    for level in LEVELS {
        gauge!(level.name).set((level.read)(&counts) as f64);
    }
    shared.namespaces().iter().for_each(namespaces::publish);
    gauge!("evanesce_node_uptime_seconds").set(shared.clock.uptime_ms() as f64 / 1000.0);
    gauge!("evanesce_divergence_oldest_seconds").set(counts.divergence.oldest_ms as f64 / 1000.0);
    gauge!("evanesce_node_leases").set(leases as f64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_metric_is_declared_twice_and_counters_end_in_total() {
        let mut names: Vec<_> = LEVELS.iter().map(|level| level.name).collect();
        names.extend(namespaces::LEVELS.iter().map(|level| level.name));
        let totals = TOTALS.iter().map(|total| total.name);
        let totals: Vec<_> = totals.chain(namespaces::TOTALS.iter().map(|total| total.name)).collect();
        assert!(totals.iter().all(|total| total.ends_with("_total")));
        names.extend(totals);
        let declared = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), declared);
    }
}
