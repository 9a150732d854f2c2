//! The store of a node as it starts: empty, or with what its memory file held.

use std::path::Path;
use std::time::Duration;

use evanesce_store::{MemoryFileError, Start, Store, StoreConfigError};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use crate::config::NodeConfig;
use crate::node::StartError;

/// How long a memory file may still be another's: a process that was killed holds it until the kernel has taken all of
/// its memory down.
const TAKEN_MAX: Duration = Duration::from_secs(5);
/// Between two attempts meanwhile.
const RETRY_EVERY: Duration = Duration::from_millis(20);

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

fn tell(start: &Start, path: &Path, took: Duration) {
    let (file, seconds) = (path.display(), took.as_secs_f64());
    match start {
        Start::Warm(warm) => {
            let (items, bytes, ran_ms) = (warm.items, warm.item_bytes, warm.ran.0);
            tracing::info!(%file, items, bytes, ran_ms, seconds, "memory file: its items are back");
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
