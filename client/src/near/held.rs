//! Which namespaces have a near cache, and what is allowed in it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use parking_lot::Mutex;
use tracing::warn;

use super::Looked;
use super::kept::{Kept, Pass};
use crate::diagnostics::NearCacheDiagnostics;
use crate::item::Item;
use crate::key::{Key, namespace_prefix};
use crate::metrics::NearMetrics;
use crate::value::Form;

/// Near caches in one client: names are few in any sane program, and each takes some kilobytes before it holds anything.
const NEAR_CACHES_MAX: usize = 256;

/// What most can bear of others' writes, and long enough that a key read a thousand times a second is asked for once.
const NEAR_TTL: Duration = Duration::from_secs(1);

/// Longer is no near cache.
const NEAR_TTL_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// What metrics and diagnostics call the near cache of all namespaces that have none of their own.
const OTHERS: &str = "default";

/// How large a near cache is, and for how long it serves what it holds.
///
/// What is read through one is kept in this process, whole and as bytes: not compressed, not split, not decoded. Reads of it ask no
/// node. A write, delete, touch, count or flush of this client invalidates what it writes to; those of other processes do not, so
/// that what they wrote over is served for up to the near TTL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NearCache {
    pub(super) bytes_max: usize,
    pub(super) ttl: Duration,
}

impl NearCache {
    /// One of so many bytes: keys, values and 500 bytes for each item. With 0 nothing is kept. A value of more than an
    /// eighth of that is not kept.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, ttl: NEAR_TTL }
    }

    /// For how long an item is served at most, up to a day: for so long this process may not see what others write. Default
    /// 1 s. It is never served beyond its own TTL: not at all in its last second, as nodes tell whole seconds.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl.min(NEAR_TTL_MAX);
        self
    }

    fn is_none(&self) -> bool {
        self.bytes_max == 0 || self.ttl.is_zero()
    }
}

/// What the builder settled.
#[derive(Debug, Clone, Default)]
pub(crate) struct NearSettings {
    /// For all keys of namespaces that have none of their own.
    pub(crate) others: Option<NearCache>,
    /// By name.
    pub(crate) of: Vec<(String, NearCache)>,
}

impl NearSettings {
    /// Whether all names can be a namespace's.
    pub(crate) fn is_sound(&self) -> bool {
        self.of.iter().all(|(name, _)| namespace_prefix(name).is_ok())
    }
}

/// All near caches of a client.
pub(crate) struct NearCaches {
    cluster: String,
    /// Whether there is any, so that clients without one do no more than ask.
    used: AtomicBool,
    all: ArcSwap<All>,
    /// Held while one is added.
    adding: Mutex<()>,
}

#[derive(Clone, Default)]
struct All {
    others: Option<Arc<Kept>>,
    by_prefix: HashMap<Bytes, Arc<Kept>>,
}

/// The right to keep what a read that began with it brings.
pub(crate) struct Ticket {
    kept: Arc<Kept>,
    pass: Pass,
}

impl NearCaches {
    pub(crate) fn new(cluster: &str, settings: &NearSettings) -> Self {
        let near = Self {
            cluster: cluster.to_owned(),
            used: AtomicBool::new(false),
            all: ArcSwap::default(),
            adding: Mutex::default(),
        };
        if let Some(options) = settings.others {
            near.add(&Bytes::new(), options);
        }
        for (name, options) in &settings.of {
            namespace_prefix(name).iter().for_each(|prefix| near.add(prefix, *options));
        }
        near
    }

    /// Gives the namespace of this prefix a near cache, unless it has one; the empty one is for all others.
    pub(crate) fn add(&self, prefix: &Bytes, options: NearCache) {
        if options.is_none() {
            return;
        }
        let adding = self.adding.lock();
        let all = self.all.load();
        let known = if prefix.is_empty() { all.others.is_some() } else { all.by_prefix.contains_key(prefix) };
        if known {
            return;
        }
        if all.by_prefix.len() >= NEAR_CACHES_MAX {
            warn!(cluster = %self.cluster, most = NEAR_CACHES_MAX, "a namespace gets no near cache: there are too many");
            return;
        }
        let metrics = NearMetrics::register(&self.cluster, &name_of(prefix));
        let kept = Arc::new(Kept::new(options, metrics));
        let mut all = All::clone(&all);
        match prefix.is_empty() {
            true => all.others = Some(kept),
            false => _ = all.by_prefix.insert(prefix.clone(), kept),
        }
        self.all.store(Arc::new(all));
        self.used.store(true, Ordering::Release);
        drop(adding);
    }

    /// Whether any namespace has one.
    pub(crate) fn is_used(&self) -> bool {
        self.used.load(Ordering::Acquire)
    }

    /// What each holds, by name.
    pub(crate) fn diagnostics(&self) -> Vec<NearCacheDiagnostics> {
        let all = self.all.load();
        let none = Bytes::new();
        let others = all.others.iter().map(|kept| (&none, kept));
        let all = others.chain(&all.by_prefix).map(|(prefix, kept)| kept.diagnostics(name_of(prefix)));
        let mut all: Vec<_> = all.collect();
        all.sort_by(|one, other| one.namespace.cmp(&other.namespace));
        all
    }

    /// Looks for the key, if the near cache may answer; if not, what the nodes answer is kept all the same.
    pub(super) fn look(&self, form: Form, key: &Key, may_answer: bool) -> Looked {
        if !self.is_used() {
            return Looked::Miss(None);
        }
        let all = self.all.load();
        let Some(kept) = all.of(key) else { return Looked::Miss(None) };
        let found = if may_answer { kept.find(form, key) } else { Err(kept.pass(key)) };
        match found {
            Ok(item) => Looked::Hit(item),
            Err(pass) => Looked::Miss(Some(Ticket { kept: Arc::clone(kept), pass })),
        }
    }

    /// Keeps what a read with this ticket has brought; after a miss, nothing.
    pub(super) fn keep(&self, ticket: &Ticket, form: Form, key: &Key, item: Option<&Item>) {
        match item {
            Some(item) => ticket.kept.keep(ticket.pass, form, key, item),
            None => ticket.kept.drop_missed(ticket.pass, key),
        }
    }

    pub(super) fn invalidate(&self, key: &Key) {
        if self.is_used()
            && let Some(kept) = self.all.load().of(key)
        {
            kept.invalidate(key);
        }
    }

    pub(super) fn invalidate_all(&self) {
        let all = self.all.load();
        all.others.iter().chain(all.by_prefix.values()).for_each(|kept| kept.invalidate_all());
    }
}

impl All {
    /// The near cache of the key's namespace, whatever handle it comes through.
    fn of(&self, key: &Key) -> Option<&Arc<Kept>> {
        let own = key.namespace().and_then(|prefix| self.by_prefix.get(prefix));
        own.or(self.others.as_ref())
    }
}

/// What a namespace's near cache is called where it is told of.
fn name_of(prefix: &Bytes) -> String {
    prefix.strip_suffix(b":").map_or(OTHERS.into(), String::from_utf8_lossy).into_owned()
}

#[cfg(test)]
mod tests;
