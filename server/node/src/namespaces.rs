//! Namespaces as an operator sees them: what each holds, was asked, and may hold.

use evanesce_store::{NamespaceConfig, NamespaceError, NamespaceStats, Store, StoreConfig, StoreConfigError};

/// What is wrong with namespaces in this memory, all of it: what a store would refuse.
#[must_use]
pub fn namespace_faults(namespaces: &[NamespaceConfig], memory_bytes: usize) -> Vec<NamespaceError> {
    // A store says only the first fault, so one store is tried after the other, each without what was at fault.
    let mut left = namespaces.to_vec();
    let mut faults = Vec::new();
    while let Some(fault) = fault_of(&left, memory_bytes) {
        let named = match &fault {
            NamespaceError::Name(name)
            | NamespaceError::Twice(name)
            | NamespaceError::GuaranteeAboveLimit(name) => Some(name.as_str()),
            NamespaceError::Default => Some("default"),
            _ => None,
        };
        let at = left.iter().rposition(|namespace| Some(namespace.name.as_str()) == named);
        match at {
            Some(at) => _ = left.remove(at),
            // It is about all of them.
            None => left.clear(),
        }
        faults.push(fault);
    }
    faults
}

fn fault_of(namespaces: &[NamespaceConfig], memory_bytes: usize) -> Option<NamespaceError> {
    let shards = 1.try_into().expect("1 is not 0");
    let namespaces = namespaces.to_vec();
    let config =
        StoreConfig { memory_bytes, item_bytes_max: 1, shards, namespaces, ..StoreConfig::default() };
    match Store::new(config) {
        Err(StoreConfigError::Namespace(fault)) => Some(fault),
        // Memory that cannot be had here and now is another matter.
        _ => None,
    }
}

/// One namespace: what it holds and what it was configured with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Namespace {
    pub(crate) stats: NamespaceStats,
    pub(crate) guarantee_bytes: u64,
    pub(crate) limit_bytes: Option<u64>,
}

/// All namespaces of a store, `default` first.
pub(crate) fn namespaces(store: &Store, configs: &[NamespaceConfig]) -> Vec<Namespace> {
    let with_config = |stats: NamespaceStats| {
        let config = configs.iter().find(|config| config.name == stats.name);
        Namespace {
            guarantee_bytes: config.map_or(0, |config| config.guarantee_bytes as u64),
            limit_bytes: config.and_then(|config| config.limit_bytes).map(|bytes| bytes as u64),
            stats,
        }
    };
    store.namespace_stats().into_iter().map(with_config).collect()
}

impl Namespace {
    /// What `stats namespaces` tells of it, counted since `before`.
    pub(crate) fn told(&self, before: &NamespaceStats) -> [(String, String); 10] {
        let Self { stats: now, guarantee_bytes, limit_bytes } = self;
        let since = |now: u64, before: u64| now.saturating_sub(before);
        [
            ("items", now.items),
            ("bytes", now.item_bytes),
            ("hits", since(now.hits, before.hits)),
            ("misses", since(now.misses, before.misses)),
            ("sets", since(now.stored, before.stored)),
            ("evictions", since(now.evictions, before.evictions)),
            ("expired", since(now.expired, before.expired)),
            ("segment_bytes", now.segment_bytes),
            ("guarantee", *guarantee_bytes),
            ("limit", limit_bytes.unwrap_or(0)),
        ]
        .map(|(name, number)| (format!("{}:{name}", now.name), number.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, guarantee_bytes: usize) -> NamespaceConfig {
        NamespaceConfig { name: name.to_owned(), guarantee_bytes, limit_bytes: Some(4 << 20) }
    }

    #[test]
    fn all_faults_of_namespaces_are_found() {
        let good = [named("a", 1 << 20), named("b", 2 << 20)];
        assert_eq!(namespace_faults(&good, 16 << 20), []);
        let wrong = [named("default", 0), named("a", 5 << 20), named("b c", 0), named("d", 0), named("d", 0)];
        let faults = namespace_faults(&wrong, 16 << 20);
        let expected = [
            NamespaceError::Default,
            NamespaceError::GuaranteeAboveLimit("a".to_owned()),
            NamespaceError::Name("b c".to_owned()),
            NamespaceError::Twice("d".to_owned()),
        ];
        assert_eq!(faults, expected);
        let many = [named("a", 4 << 20), named("b", 4 << 20)];
        let faults = namespace_faults(&many, 8 << 20);
        assert!(matches!(faults[..], [NamespaceError::GuaranteesTooLarge { .. }]), "{faults:?}");
    }
}
