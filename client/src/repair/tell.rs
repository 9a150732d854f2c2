//! Telling discovery which nodes miss what nobody will bring them, so that they ask their siblings.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use evanesce_membership::Reporter;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::warn;

use crate::core::Core;

/// Between two tries: what is given up comes in crowds, and a discovery that is away comes back.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Something was given up: sees to it that discovery is told.
pub(crate) fn tell(core: &Arc<Core>) {
    let Some(reporter) = core.reporter.get().cloned() else { return };
    if !core.telling.swap(true, Ordering::AcqRel) {
        // Made here, since a runtime that ends may drop the task before its first step.
        let telling = Telling { core: Arc::downgrade(core), reporter };
        tokio::spawn(async move { telling.until_told().await });
    }
}

/// The right to tell: one task has it at a time.
struct Telling {
    core: Weak<Core>,
    reporter: Arc<Reporter>,
}

/// Ends in whatever way: the next that is given up starts another.
impl Drop for Telling {
    fn drop(&mut self) {
        if let Some(core) = self.core.upgrade() {
            core.telling.store(false, Ordering::Release);
        }
    }
}

impl Telling {
    /// Ends when all is told, or the client has gone.
    async fn until_told(self) {
        loop {
            sleep(TELL_EVERY).await;
            let Some(core) = self.core.upgrade() else { return };
            if tell_all(&core, &self.reporter).await {
                drop(self);
                // Something may have come in between; whoever gave it up saw that someone was telling.
                if core.repairs.lock().has_untold() {
                    tell(&core);
                }
                return;
            }
        }
    }
}

/// Tells once what is to be told. Whether all of it was taken.
async fn tell_all(core: &Core, reporter: &Reporter) -> bool {
    let untold = core.repairs.lock().take_untold();
    let mut all = true;
    for (id, lowest) in untold {
        if !reporter.missed(&id.group, &id.node, lowest.0).await {
            all = false;
            core.repairs.lock().not_told(id, lowest);
        }
    }
    all
}

/// The client ends: tells what its nodes are still owed, until `deadline`.
pub(crate) async fn tell_at_the_end(core: &Core, deadline: Instant) {
    let Some(reporter) = core.reporter.get().cloned() else { return };
    {
        let mut repairs = core.repairs.lock();
        for (id, _, lowest) in repairs.left() {
            repairs.not_told(id, lowest);
        }
    }
    if !matches!(timeout_at(deadline, tell_all(core, &reporter)).await, Ok(true)) {
        warn!("no discovery took all that nodes miss: they find it out when they next compare");
    }
}
