//! Metrics of each namespace, `default` among them: as many series as there are configured, whatever keys come.

use metrics::{Label, counter, describe_counter, describe_gauge, gauge};

use crate::namespaces::Namespace;

/// A counter of each namespace.
pub(super) struct Total {
    pub(super) name: &'static str,
    help: &'static str,
    /// A label beside the namespace's, and for each of its values the count.
    label: &'static str,
    read: fn(&Namespace) -> Vec<(&'static str, u64)>,
}

/// A gauge of each namespace.
pub(super) struct Level {
    pub(super) name: &'static str,
    help: &'static str,
    /// `None` where it does not apply.
    read: fn(&Namespace) -> Option<u64>,
}

/// Counters. A label's name is empty where there is none but the namespace's.
pub(super) const TOTALS: &[Total] = &[
    Total {
        name: "evanesce_node_namespace_lookups_total",
        help: "Keys of the namespace looked up, by outcome.",
        label: "outcome",
        read: |n| vec![("hit", n.stats.hits), ("miss", n.stats.misses)],
    },
    Total {
        name: "evanesce_node_namespace_items_stored_total",
        help: "Items of the namespace stored.",
        label: "",
        read: |n| vec![("", n.stats.stored)],
    },
    Total {
        name: "evanesce_node_namespace_items_dropped_total",
        help: "Items of the namespace that left the store without a delete or a flush, by reason.",
        label: "reason",
        read: |n| vec![("evicted", n.stats.evictions), ("expired", n.stats.expired)],
    },
];

/// Gauges.
pub(super) const LEVELS: &[Level] = &[
    Level {
        name: "evanesce_node_namespace_items",
        help: "Items of the namespace in the store.",
        read: |n| Some(n.stats.items),
    },
    Level {
        name: "evanesce_node_namespace_item_bytes",
        help: "Bytes of the namespace's items: headers, keys, values.",
        read: |n| Some(n.stats.item_bytes),
    },
    Level {
        name: "evanesce_node_namespace_segment_bytes",
        help: "Bytes of memory that only the namespace uses, which its limit is for; 0 without a guarantee or a limit.",
        read: |n| Some(n.stats.segment_bytes),
    },
    Level {
        name: "evanesce_node_namespace_guarantee_bytes",
        help: "Bytes of memory that others cannot take from the namespace.",
        read: |n| Some(n.guarantee_bytes),
    },
    Level {
        name: "evanesce_node_namespace_limit_bytes",
        help: "Bytes of memory that the namespace may use at most; absent without a limit.",
        read: |n| n.limit_bytes,
    },
];

/// Tells the recorder what each metric means.
pub(super) fn describe() {
    TOTALS.iter().for_each(|total| describe_counter!(total.name, total.help));
    LEVELS.iter().for_each(|level| describe_gauge!(level.name, level.help));
}

/// Shows the counts of one namespace as they are now.
pub(super) fn publish(namespace: &Namespace) {
    let of = || Label::new("namespace", namespace.stats.name.clone());
    for total in TOTALS {
        for (value, count) in (total.read)(namespace) {
            let label = (!value.is_empty()).then(|| Label::from_static_parts(total.label, value));
            counter!(total.name, [of()].into_iter().chain(label).collect::<Vec<_>>()).absolute(count);
        }
    }
    for level in LEVELS {
        if let Some(number) = (level.read)(namespace) {
            gauge!(level.name, vec![of()]).set(number as f64);
        }
    }
}
