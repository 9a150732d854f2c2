//! Dropping what is not owned.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use evanesce_store::Version;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use super::view::View;
use crate::shared::Shared;

/// One step, whatever it finds: others wait for its shard's lock meanwhile.
const STEP: Duration = Duration::from_millis(5);

/// Drops all items that the ring which is read does not give this node, a step at a time, with rests as long as the steps.
pub(super) async fn drop_foreign(shared: &Arc<Shared>, view: &Arc<View>) -> u64 {
    let (mut from, mut dropped) = (Some(0), 0);
    while let Some(at) = from {
        let (for_step, view) = (Arc::clone(shared), Arc::clone(view));
        let began = Instant::now();
        let Ok((next, count)) = spawn_blocking(move || step(&for_step, &view, at)).await else {
            return dropped;
        };
        shared.resize.dropped.fetch_add(count, Ordering::Relaxed);
        dropped += count;
        from = next;
        sleep(began.elapsed()).await;
    }
    dropped
}

fn step(shared: &Shared, view: &View, from: u64) -> (Option<u64>, u64) {
    let (began, now) = (Instant::now(), shared.clock.now());
    let (mut next, mut dropped) = (Some(from), 0);
    let mut foreign: Vec<(Vec<u8>, Version)> = Vec::new();
    while let Some(at) = next {
        next = shared.store.walk(at, now, |walked| {
            if !view.owns(walked.key) {
                foreign.push((walked.key.to_vec(), walked.hit.version));
            }
        });
        // One that has changed since is another client's latest word: it is left for the next time.
        for (key, version) in foreign.drain(..) {
            dropped += u64::from(shared.store.drop_version(&key, version, now));
        }
        if began.elapsed() >= STEP {
            break;
        }
    }
    (next, dropped)
}
