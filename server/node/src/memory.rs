//! The store of a node as it starts: empty, or with what its memory file held.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use evanesce_store::{Checked, MemoryFileError, Start, Store, StoreConfigError};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use crate::config::NodeConfig;
use crate::node::StartError;
use crate::shared::Shared;

/// How long a memory file may still be another's: a process that was killed holds it until the kernel has taken all of
/// its memory down.
const TAKEN_MAX: Duration = Duration::from_secs(5);
/// Between two attempts meanwhile.
const RETRY_EVERY: Duration = Duration::from_millis(20);

/// Items that are checked at a time, to the end of their segment: some hundred microseconds of a shard's lock.
const CHECK_ITEMS_MAX: usize = 1_000;
/// So often before a rest, which takes a millisecond at least.
const CHECKS_PER_STEP: usize = 8;
/// Between two steps of the check, at least: shorter rests are not kept by timers.
const CHECK_REST_MIN: Duration = Duration::from_millis(1);
/// A step that was held up itself must not hold up the next for long.
const CHECK_REST_MAX: Duration = Duration::from_millis(20);

/// Makes the store, and tells what is in it.
pub(crate) async fn open(config: &NodeConfig) -> Result<Store, StartError> {
    let Some(path) = &config.memory_file else { return Ok(Store::new(config.store())?) };
    let began = Instant::now();
    let store = loop {
        let wanted = config.store();
        // Reads a whole memory's items: nothing that a runtime should wait for.
        let made = spawn_blocking(move || Store::new(wanted)).await;
        match made.expect("a store that is made neither panics nor is aborted") {
            Err(StoreConfigError::MemoryFile(MemoryFileError::InUse { .. }))
                if began.elapsed() < TAKEN_MAX =>
            {
                sleep(RETRY_EVERY).await;
            }
            made => break made?,
        }
    };
    tell(store.start(), path, began.elapsed());
    Ok(store)
}

/// Looks through what a memory file gave, while the node serves.
pub(crate) async fn check(shared: Arc<Shared>) {
    if !matches!(shared.store.start(), Start::Warm(_)) {
        return;
    }
    let began = Instant::now();
    let mut told = 0;
    loop {
        let for_step = Arc::clone(&shared);
        let step = spawn_blocking(move || {
            let began = Instant::now();
            let check = |_| for_step.store.check(for_step.clock.now(), CHECK_ITEMS_MAX);
            let last = (1..CHECKS_PER_STEP).map(check).find(|checked| checked.all);
            (last.unwrap_or_else(|| check(0)), began.elapsed())
        });
        let Ok((Checked { all, mended, .. }, took)) = step.await else { return };
        if mended > told {
            tracing::warn!(mended, "memory file: something in it was damaged, and some items are lost");
            told = mended;
        }
        if all {
            break;
        }
        sleep(took.clamp(CHECK_REST_MIN, CHECK_REST_MAX)).await;
    }
    tracing::info!(
        mended = told,
        seconds = began.elapsed().as_secs_f64(),
        "memory file: all items were checked"
    );
}

fn tell(start: &Start, path: &Path, took: Duration) {
    let (file, seconds) = (path.display(), took.as_secs_f64());
    match start {
        Start::Warm(warm) => {
            let (items, bytes, ran_ms) = (warm.items, warm.item_bytes, warm.ran.0);
            let shards_read = warm.shards_read;
            tracing::info!(%file, items, bytes, ran_ms, shards_read, seconds, "memory file: its items are back");
            if warm.damaged + warm.without_room > 0 {
                let (damaged, without_room) = (warm.damaged, warm.without_room);
                tracing::warn!(%file, damaged, without_room, "memory file: some items are lost");
            }
        }
        Start::Refused(refusal) => {
            tracing::warn!(%file, "memory file is of no use, and the node starts empty: {refusal}");
        }
        _ => tracing::info!(%file, seconds, "memory file: made, and empty"),
    }
}
