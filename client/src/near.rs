//! The near cache: what was read a moment ago, in this process.
//!
//! ```text
//!  read ── near hit ──────────────────────────────────────────> that is the answer
//!    │ near miss: takes a ticket
//!    └── cluster ──> answer ── ticket still good ──> kept for the near TTL, at most for what is left of the item's life
//!                                   │
//!  write, of this client ───────────┴── its end voids the tickets of its key and invalidates what is kept of it
//! ```
//!
//! A ticket is good until a write of its key, or a flush, ends: so a read that began before the write keeps nothing. One that
//! begins after it goes to each node behind it, on the same connection, or once it is answered. Writes of other processes are
//! not seen: what they wrote over is served for the near TTL at most.
//!
//! Without the feature `near-cache` nothing is kept: [`none`] stands in.

#[cfg(feature = "near-cache")]
mod held;
#[cfg(feature = "near-cache")]
mod kept;
#[cfg(not(feature = "near-cache"))]
mod none;

use tokio::time::Instant;

#[cfg(feature = "near-cache")]
pub use held::NearCache;
#[cfg(feature = "near-cache")]
pub(crate) use held::{NearCaches, NearSettings, Ticket};
#[cfg(not(feature = "near-cache"))]
pub(crate) use none::{NearCaches, Ticket};

use crate::cluster::Cluster;
use crate::core::{Core, TIMEOUT_MAX};
use crate::error::ReadError;
use crate::item::Item;
use crate::key::Key;
use crate::large::{self, assemble_many};
use crate::read::ReadPlan;
use crate::read_many::{Terms, read_each};
use crate::request::Want;
use crate::value::Form;

/// What a look into the near cache came to.
pub(crate) enum Looked {
    /// It is there.
    #[cfg_attr(
        not(feature = "near-cache"),
        expect(dead_code, reason = "nothing is kept without the feature")
    )]
    Hit(Item),
    /// It is not. What the cluster answers may be kept with the ticket, if its namespace has a near cache.
    Miss(Option<Ticket>),
}

/// A write of a key, from before it is sent until its caller is told: however it ends, what is kept of the key goes then.
pub(crate) struct Writing<'a> {
    near: &'a NearCaches,
    /// `None` is all keys.
    key: Option<&'a Key>,
}

impl NearCaches {
    /// A write of this key begins.
    pub(crate) fn writing<'a>(&'a self, key: &'a Key) -> Writing<'a> {
        Writing { near: self, key: Some(key) }
    }

    /// A flush begins.
    pub(crate) fn flushing(&self) -> Writing<'_> {
        Writing { near: self, key: None }
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        match self.key {
            Some(key) => self.near.invalidate(key),
            None => self.near.invalidate_all(),
        }
    }
}

/// Reads a value as its caller stored it: from the near cache, if the plan allows, or else from the cluster.
pub(crate) async fn get(
    core: &Core,
    cluster: &Cluster,
    form: Form,
    key: &Key,
    plan: &ReadPlan,
) -> Result<Option<Item>, ReadError> {
    let ticket = match core.near.look(form, key, plan.near) {
        Looked::Hit(item) => return Ok(Some(item)),
        Looked::Miss(None) => return large::get(core, cluster, form, key, plan).await,
        Looked::Miss(Some(ticket)) => ticket,
    };
    // What is left of its life is asked for, too. Boxed, so that reads without a near cache carry no room for it.
    let plan = ReadPlan { want: Want::Item, ..*plan };
    let found = Box::pin(large::get(core, cluster, form, key, &plan)).await?;
    core.near.keep(&ticket, form, key, found.as_ref());
    Ok(found)
}

/// How one of many keys is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) form: Form,
    /// Whether the near cache may answer.
    pub(crate) near: bool,
    pub(crate) terms: Terms,
}

/// The same for many keys, each as it is asked for; the outcomes are in their order, as `show` makes them.
pub(crate) async fn get_many<T>(
    core: &Core,
    cluster: &Cluster,
    asked: impl Fn(usize) -> Asked,
    keys: &[Key],
    plan: &ReadPlan,
    show: impl Fn(Item) -> Result<Option<T>, ReadError>,
) -> Vec<Result<Option<T>, ReadError>> {
    if !core.near.is_used() {
        return get_many_far(core, cluster, asked, keys, plan, show).await;
    }
    let mut answers: Vec<Result<Option<Item>, ReadError>> = Vec::with_capacity(keys.len());
    let (mut places, mut far, mut tickets) = (Vec::new(), Vec::new(), Vec::new());
    for (at, key) in keys.iter().enumerate() {
        let Asked { form, near, .. } = asked(at);
        answers.push(match core.near.look(form, key, near) {
            Looked::Hit(item) => Ok(Some(item)),
            Looked::Miss(ticket) => {
                places.push(at);
                far.push(key.clone());
                tickets.push(ticket);
                Ok(None)
            }
        });
    }
    let want = if tickets.iter().any(Option::is_some) { Want::Item } else { plan.want };
    let plan = ReadPlan { want, ..*plan };
    let found = get_many_far(core, cluster, |at| asked(places[at]), &far, &plan, as_it_is).await;
    for ((&at, ticket), found) in places.iter().zip(tickets).zip(found) {
        if let (Some(ticket), Ok(found)) = (ticket, &found) {
            core.near.keep(&ticket, asked(at).form, &keys[at], found.as_ref());
        }
        answers[at] = found;
    }
    answers.into_iter().map(|found| found?.map_or(Ok(None), &show)).collect()
}

/// Shows an item as the cluster has it.
pub(crate) fn as_it_is(item: Item) -> Result<Option<Item>, ReadError> {
    Ok(Some(item))
}

async fn get_many_far<T>(
    core: &Core,
    cluster: &Cluster,
    asked: impl Fn(usize) -> Asked,
    keys: &[Key],
    plan: &ReadPlan,
    show: impl Fn(Item) -> Result<Option<T>, ReadError>,
) -> Vec<Result<Option<T>, ReadError>> {
    if keys.is_empty() {
        return Vec::new();
    }
    let now = Instant::now();
    let found = read_each(core, cluster, keys, |at| asked(at).terms, plan).await;
    let deadline = |at| now + asked(at).terms.timeout.min(TIMEOUT_MAX);
    assemble_many(core, cluster, |at| asked(at).form, deadline, keys, found, show).await
}
