//! From what is found under a key to its value.

use std::sync::Arc;

use futures_util::future::{Either, ready};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::Instant;
use tracing::debug;

use super::chunk_keys;
use crate::cluster::{Cluster, Walk};
use crate::core::Core;
use crate::error::ReadError;
use crate::item::Item;
use crate::key::Key;
use crate::member::Member;
use crate::read::{Hit, ReadPlan, copy_at_once, read};
use crate::read_many::{Found, read_many};
use crate::request::Want;
use crate::value::chunk::{CHUNK_FLAGS, Manifest, manifest_flags};
use crate::value::{Form, Opened, unpacked};

/// Values of a bulk read that are joined at once: each asks for all of its chunks, up to 64 MiB.
const JOINS_AT_ONCE: usize = 4;

/// Reads a value as its caller stored it.
pub(crate) fn get<'a>(
    core: &'a Core,
    cluster: &'a Cluster,
    form: Form,
    key: &'a Key,
    plan: &'a ReadPlan,
) -> impl Future<Output = Result<Option<Item>, ReadError>> + Send + use<'a> {
    let now = Instant::now();
    // What such a block takes along is there once; what a function that waits is given, twice.
    async move {
        match read(core, cluster, key, plan, now).await? {
            Some(hit) => assemble(core, cluster, form, key, hit, now + plan.timeout).await,
            None => Ok(None),
        }
    }
}

/// The value of what was found under `key`. `None` is a miss: it is another key's, or chunks are missing.
pub(crate) fn assemble<'a>(
    core: &'a Core,
    cluster: &'a Cluster,
    form: Form,
    key: &'a Key,
    hit: Hit<'a>,
    deadline: Instant,
) -> impl Future<Output = Result<Option<Item>, ReadError>> + Send + use<'a> {
    Either::Left(ready(match form.open(key, hit.item) {
        Ok(Opened::Whole(item)) => Ok(Some(item)),
        Ok(Opened::Foreign) => Ok(None),
        Ok(Opened::Split(manifest, item)) => {
            let split = Split { form, key, manifest, item, from: hit.from };
            // Boxed, so that reads of small values carry no room for it.
            return Either::Right(Box::pin(split.join_here_or_elsewhere(core, cluster, deadline)));
        }
        Err(error) => Err(error.into()),
    }))
}

/// The same for many, in their order, each in the form and until the deadline that its place has, as `show` makes it. Those that
/// need no chunks wait for none.
pub(crate) async fn assemble_many<'a, T>(
    core: &Core,
    cluster: &Cluster,
    form: impl Fn(usize) -> Form,
    deadline: impl Fn(usize) -> Instant,
    keys: &'a [Key],
    mut found: Vec<Found<'a>>,
    show: impl Fn(Item) -> Result<Option<T>, ReadError>,
) -> Vec<Result<Option<T>, ReadError>> {
    let mut split = Vec::new();
    for (at, found) in found.iter_mut().enumerate() {
        let (key, form) = (&keys[at], form(at));
        let is_closed = |hit: &mut Hit<'_>| !form.is_open(key, hit.item.flags);
        let Some(Hit { item, from }) = found.as_mut().ok().and_then(|hit| hit.take_if(is_closed)) else {
            continue;
        };
        match form.open(key, item) {
            Ok(Opened::Whole(item)) => *found = Ok(Some(Hit { item, from })),
            Ok(Opened::Foreign) => {}
            Ok(Opened::Split(manifest, item)) => split.push((at, Split { form, key, manifest, item, from })),
            Err(error) => *found = Err(error.into()),
        }
    }
    if !split.is_empty() {
        join_all(core, cluster, deadline, split, &mut found).await;
    }
    // Showing them may take its time, which is not the chunks'.
    found.into_iter().map(|found| found?.map_or(Ok(None), |hit| show(hit.item))).collect()
}

/// Puts the values in chunks that belong to some places there, a few at once.
async fn join_all<'a>(
    core: &Core,
    cluster: &Cluster,
    deadline: impl Fn(usize) -> Instant,
    split: Vec<(usize, Split<'a>)>,
    found: &mut [Found<'a>],
) {
    let mut waiting = split.into_iter();
    let mut joins = FuturesUnordered::new();
    loop {
        while joins.len() < JOINS_AT_ONCE {
            let Some((at, split)) = waiting.next() else { break };
            joins.push(split.join_at(at, core, cluster, deadline(at)));
        }
        match joins.next().await {
            Some((at, joined)) => found[at] = joined,
            None => return,
        }
    }
}

/// A value in chunks, by its manifest.
struct Split<'a> {
    form: Form,
    key: &'a Key,
    manifest: Manifest,
    /// The manifest's, without its mark.
    item: Item,
    /// Who has the manifest.
    from: &'a Member,
}

impl<'a> Split<'a> {
    /// The value that belongs there.
    async fn join_at(
        self,
        at: usize,
        core: &Core,
        cluster: &Cluster,
        deadline: Instant,
    ) -> (usize, Found<'a>) {
        let from = self.from;
        let joined = self.join_here_or_elsewhere(core, cluster, deadline).await;
        (at, joined.map(|item| item.map(|item| Hit { item, from })))
    }

    /// The value. Where chunks are missing another zone may have another manifest, of a write that this zone has missed or
    /// not seen yet, under the budget of all misses.
    async fn join_here_or_elsewhere(
        self,
        core: &Core,
        cluster: &Cluster,
        deadline: Instant,
    ) -> Result<Option<Item>, ReadError> {
        let joined = self.join(core, cluster, deadline).await?;
        if joined.is_some() {
            return Ok(joined);
        }
        let Some(other) = self.another(core, cluster).filter(|_| core.falls_back_on_miss()) else {
            return Ok(None);
        };
        let plan = ReadPlan::new(core, Want::Item, deadline.saturating_duration_since(Instant::now()));
        let found = other.get(self.key, &plan, deadline.min(Instant::now() + plan.attempt_timeout)).await;
        let opened = match found {
            Ok(Some(item)) => self.form.open(self.key, item)?,
            _ => Opened::Foreign,
        };
        let joined = match opened {
            Opened::Whole(item) => Some(item),
            Opened::Split(manifest, item) if manifest != self.manifest => {
                Split { manifest, item, from: other, ..self }.join(core, cluster, deadline).await?
            }
            Opened::Split(..) | Opened::Foreign => None,
        };
        core.miss_fallback_answered(joined.is_some());
        Ok(joined)
    }

    /// The next node that is well and not the one that has this manifest.
    fn another<'b>(&'b self, core: &'b Core, cluster: &'b Cluster) -> Option<&'b Arc<Member>> {
        let mut walk = Walk::new(core, cluster, self.key);
        let now = Instant::now();
        std::iter::from_fn(|| walk.next_well(now)).find(|member| member.group != self.from.group)
    }

    /// Asks for all chunks at once, each in the manifest's own zone first.
    async fn join(
        &self,
        core: &Core,
        cluster: &Cluster,
        deadline: Instant,
    ) -> Result<Option<Item>, ReadError> {
        let keys = chunk_keys(&self.manifest, self.key)?;
        let left = deadline.saturating_duration_since(Instant::now());
        let lacks_it = self.who_lacks_it(cluster);
        // Each is a reply of its own then, so that those in hand count when others are late.
        let plan = ReadPlan::new(core, Want::Item, left);
        // Chunks are many bytes: they take longer than an item does, and one zone may have half of the time.
        let plan = ReadPlan { attempt_timeout: plan.attempt_timeout.max(left / 2), ..plan };
        let near = cluster.nearest(self.from);
        let found: Vec<Option<Hit<'_>>> =
            read_many(core, &near, &keys, &plan).await.into_iter().collect::<Result<_, _>>()?;
        let chunk = |hit: &Hit<'_>| (hit.item.flags == CHUNK_FLAGS).then(|| hit.item.value.clone());
        let chunks: Vec<_> = found.iter().map(|hit| hit.as_ref().and_then(chunk)).collect();
        match self.manifest.join(&chunks) {
            Ok(value) => {
                if let Some(group) = lacks_it {
                    self.copy_all(core, cluster, group, &keys, &found);
                }
                Ok(Some(unpacked(Item { value, ..self.item.clone() })?))
            }
            Err(error) => {
                debug!(%error, version = self.manifest.version(), "a large value is a miss");
                Ok(None)
            }
        }
    }

    /// The server group that is read first, when the manifest is another's.
    fn who_lacks_it(&self, cluster: &Cluster) -> Option<usize> {
        let &group = cluster.read_order().first()?;
        let hash = cluster.placement().key_hash(self.key.as_bytes());
        let owner = cluster.owner(group, hash)?;
        (owner.group != self.from.group && !owner.link.is_suspect()).then_some(group)
    }

    /// Gives a server group the chunks, and the manifest behind them.
    fn copy_all(
        &self,
        core: &Core,
        cluster: &Cluster,
        group: usize,
        keys: &[Key],
        found: &[Option<Hit<'_>>],
    ) {
        let owner = |key: &Key| cluster.owner(group, cluster.placement().key_hash(key.as_bytes()));
        for (key, hit) in keys.iter().zip(found) {
            if let (Some(hit), Some(owner)) = (hit, owner(key)) {
                copy_at_once(core, key, &hit.item, hit.from, owner);
            }
        }
        if let Some(owner) = owner(self.key) {
            copy_at_once(core, self.key, &self.stored(), self.from, owner);
        }
    }

    /// The manifest's item as it is stored.
    fn stored(&self) -> Item {
        let flags = manifest_flags(self.item.flags);
        let (value, flags) = Form::seal(self.key, self.manifest.encode(), flags);
        Item { value, flags, ..self.item.clone() }
    }
}
