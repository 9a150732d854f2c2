//! Values on their way to items and back: those too large for one go in chunks before their manifest, and are joined
//! from chunks after it.
//!
//! ```text
//!  put    value ── packed ── fits ────────────────────────────> set of its key
//!                    │ too large
//!                    └── chunks, each a set to every zone ────> set of its key: the manifest
//!
//!  get    item ── no manifest ──> value
//!          │ manifest
//!          └── all chunks at once, from the same zone first ──> value, or a miss
//! ```
//!
//! See [`crate::value`] for the forms, and [`crate::value::chunk`] for what keeps two writers apart.

use std::sync::Arc;

use bytes::Bytes;
use evanesce_wire::request::{Exptime, SetMode};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::core::Core;
use crate::error::WriteError;
use crate::key::{Key, KeyError};
use crate::policy::LatchPolicy;
use crate::request::Change;
use crate::spread::{Slot, Spread, SpreadPlan, spread};
use crate::value::Form;
use crate::value::chunk::{CHUNK_FLAGS, Manifest, manifest_flags};
use crate::version::Version;

mod home;
mod join;
mod touch;

pub(crate) use home::{join_at_home, put_at_home};
pub(crate) use join::{assemble, assemble_many, get};
pub(crate) use touch::touch_chunks;

/// Chunks of one value that are on their way at once. That many are 2 MiB: they keep the nodes of a zone busy.
const CHUNKS_IN_FLIGHT: usize = 8;

/// Chunks on their way at once in one client: half of what may wait for one node by default, so that they leave room for
/// others even if all of them go there.
pub(crate) const CHUNK_WRITES_MAX: usize = 16;

/// A value to be stored.
pub(crate) struct Put {
    pub(crate) key: Key,
    pub(crate) value: Bytes,
    pub(crate) flags: u32,
    pub(crate) exptime: Exptime,
    /// What somebody else has stamped it with; `None` to stamp it here. Chunks have it in their keys, and are stamped with
    /// versions of their own: nothing else is ever stored there.
    pub(crate) version: Option<Version>,
    pub(crate) latch: LatchPolicy,
    pub(crate) deadline: Instant,
}

/// What goes under a value's key.
pub(crate) struct Staged {
    pub(crate) value: Bytes,
    pub(crate) flags: u32,
    /// Where its chunks are.
    chunks: Vec<Key>,
}

/// Stores a value in every server group. Nothing is sent before the first poll. A large one that is dropped in the middle
/// is not stored, and its key keeps what it had.
pub(crate) async fn put(
    core: &Arc<Core>,
    cluster: &Arc<Cluster>,
    form: Form,
    put: Put,
) -> Result<Spread, WriteError> {
    put_in_slot(core, cluster, form, put, None).await
}

/// The same in a place among the writes of a bulk operation.
pub(crate) async fn put_in_slot(
    core: &Arc<Core>,
    cluster: &Arc<Cluster>,
    form: Form,
    put: Put,
    slot: Option<Slot>,
) -> Result<Spread, WriteError> {
    let put = put.packed(form)?;
    let Staged { value, flags, .. } = put.stage(core, cluster, form).await?;
    let Put { key, exptime, version, latch, deadline, .. } = put;
    let change = Change::Store { mode: SetMode::Set, value, flags, exptime, compare: None };
    let plan = SpreadPlan::of_all(key, change, latch, deadline);
    spread(core, cluster, SpreadPlan { version, slot, ..plan }).await
}

impl Put {
    /// The same with its value as it is stored.
    pub(crate) fn packed(self, form: Form) -> Result<Self, WriteError> {
        let (value, flags) = form.pack(self.value, self.flags)?;
        Ok(Self { value, flags, ..self })
    }

    /// Makes what goes under the key from a packed value. The chunks of a large one are stored by then.
    pub(crate) async fn stage(
        &self,
        core: &Arc<Core>,
        cluster: &Arc<Cluster>,
        form: Form,
    ) -> Result<Staged, WriteError> {
        if !form.splits(&self.value) {
            let (value, flags) = Form::seal(&self.key, self.value.clone(), self.flags);
            return Ok(Staged { value, flags, chunks: Vec::new() });
        }
        let version = self.version.unwrap_or_else(|| core.clock.stamp(core.now()));
        let manifest = form.split(&self.value, version.as_u64())?.expect("it is too large for one item");
        let keys = chunk_keys(&manifest, &self.key)?;
        // Boxed, so that writes of small values carry no room for it.
        Box::pin(self.store_chunks(core, cluster, &keys, &manifest)).await.map_err(not_applied)?;
        let (value, flags) = Form::seal(&self.key, manifest.encode(), manifest_flags(self.flags));
        Ok(Staged { value, flags, chunks: keys })
    }

    async fn store_chunks(
        &self,
        core: &Arc<Core>,
        cluster: &Arc<Cluster>,
        keys: &[Key],
        manifest: &Manifest,
    ) -> Result<(), WriteError> {
        let store = async |(key, value): (&Key, Bytes)| {
            // Never closed.
            let _permit = core.chunk_writes.acquire().await;
            let exptime = self.exptime;
            let change =
                Change::Store { mode: SetMode::Set, value, flags: CHUNK_FLAGS, exptime, compare: None };
            let plan = SpreadPlan::of_all(key.clone(), change, self.latch, self.deadline);
            spread(core, cluster, plan).await.map(drop)
        };
        let chunks = stream::iter(keys.iter().zip(manifest.cut(&self.value)));
        chunks.map(store).buffer_unordered(CHUNKS_IN_FLIGHT).try_collect().await
    }
}

impl Staged {
    /// The value was not stored under its key: its chunks are of no use, and nobody waits for their end.
    pub(crate) async fn discard(self, core: &Arc<Core>, cluster: &Arc<Cluster>) {
        for key in self.chunks {
            let plan = SpreadPlan::of_all(key, Change::Delete, LatchPolicy::None, Instant::now());
            // What is not deleted expires.
            let _ = spread(core, cluster, plan).await;
        }
    }
}

/// The keys of all chunks of the value of `key`, in their order.
fn chunk_keys(manifest: &Manifest, key: &Key) -> Result<Vec<Key>, KeyError> {
    manifest.keys(key.whole())?.map(|wire| Key::new(b"", &wire)).collect()
}

/// A chunk that is not where it should be leaves the value as it was: its manifest is not stored.
fn not_applied(mut error: WriteError) -> WriteError {
    if let WriteError::NotAcknowledged { maybe_applied, .. } = &mut error {
        *maybe_applied = false;
    }
    error
}
