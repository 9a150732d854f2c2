//! Where calls, ticks and the disk meet the registry: one lock around the pure struct, and what follows from it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior};

use crate::metrics::{self, count};
use crate::registry::{Moment, Published, Registry, Ticked};
use crate::state_file::StateFile;

/// How often leases are judged and changes published: all changes in between share one epoch, so that a thousand
/// nodes that register together make a few dozen topologies. Well under the shortest renewal anyone configures.
pub(crate) const TICK_EVERY: Duration = Duration::from_millis(50);

/// How long to wait after a failed write: a full disk does not empty itself faster.
const PERSIST_RETRY: Duration = Duration::from_secs(1);

/// The registry and everyone who waits for it.
///
/// Lock order: `registry` and `state_fault` are never held together. Neither is held across an await.
#[derive(Debug)]
pub(crate) struct Desk {
    registry: Mutex<Registry>,
    clock: Clock,
    /// None once the discovery is ending: every watch stream ends with it.
    published: Mutex<Option<watch::Sender<Published>>>,
    /// The registry's revision, for whoever writes it to disk.
    revision: watch::Sender<u64>,
    state_fault: Mutex<Option<String>>,
    watchers: AtomicUsize,
}

/// One open watch stream, counted.
#[derive(Debug)]
pub(crate) struct Watching(Arc<Desk>);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.watchers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Desk {
    pub(crate) fn new(registry: Registry, clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            revision: watch::Sender::new(registry.revision()),
            registry: Mutex::new(registry),
            clock,
            published: Mutex::new(Some(watch::Sender::new(Published::default()))),
            state_fault: Mutex::new(None),
            watchers: AtomicUsize::new(0),
        })
    }

    /// Does something with the registry. `act` must be short, as all tasks share the lock.
    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut Registry, Moment) -> R) -> R {
        let mut registry = self.registry.lock();
        act(&mut registry, self.clock.moment())
    }

    /// What is published, now and from now on; none when the discovery is ending.
    pub(crate) fn subscribe(&self) -> Option<watch::Receiver<Published>> {
        self.published.lock().as_ref().map(watch::Sender::subscribe)
    }

    /// Whether the discovery is ending.
    pub(crate) fn is_closed(&self) -> bool {
        self.published.lock().is_none()
    }

    /// Ends every watch stream, and refuses every call from now on.
    pub(crate) fn close(&self) {
        self.published.lock().take();
    }

    /// Counts one more watch stream; none when there are `max` already.
    pub(crate) fn enter(self: &Arc<Self>, max: usize) -> Option<Watching> {
        let watching = Watching(Arc::clone(self));
        (self.watchers.fetch_add(1, Ordering::Relaxed) < max).then_some(watching)
    }

    pub(crate) fn watchers(&self) -> usize {
        self.watchers.load(Ordering::Relaxed)
    }

    /// Why the state is not on disk, when it should be.
    pub(crate) fn state_fault(&self) -> Option<String> {
        self.state_fault.lock().clone()
    }

    /// Ticks until aborted.
    pub(crate) async fn keep_ticking(self: Arc<Self>) {
        let mut every = tokio::time::interval(TICK_EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            self.tick();
        }
    }

    fn tick(&self) {
        let (ticked, published, revision) = self.with(|registry, now| {
            let ticked = registry.tick(now);
            (ticked, registry.published(), registry.revision())
        });
        tell(&ticked);
        self.revision.send_if_modified(|known| std::mem::replace(known, revision) != revision);
        let sender = self.published.lock();
        if let Some(sender) = &*sender {
            sender.send_if_modified(|shown| {
                let same = Arc::ptr_eq(shown, &published) || (shown.is_empty() && published.is_empty());
                if !same {
                    *shown = published;
                }
                !same
            });
        }
    }

    /// Writes every change to disk until `finish` is sent or dropped, and then a last time. What cannot be written is
    /// tried again for as long as it takes. One write at a time.
    pub(crate) async fn keep_saving(
        self: Arc<Self>,
        file: Arc<StateFile>,
        mut finish: oneshot::Receiver<()>,
    ) {
        let mut revisions = self.revision.subscribe();
        loop {
            revisions.borrow_and_update();
            let saved = self.save(&file).await;
            tokio::select! {
                _ = revisions.changed(), if saved => {}
                () = tokio::time::sleep(PERSIST_RETRY), if !saved => {}
                _ = &mut finish => break,
            }
        }
        self.save(&file).await;
    }

    /// Writes the membership to disk. Whether it worked.
    async fn save(&self, file: &Arc<StateFile>) -> bool {
        let membership = self.with(|registry, _| registry.membership());
        let path = file.path();
        let file = Arc::clone(file);
        let written = tokio::task::spawn_blocking(move || file.save(&membership)).await;
        match written.map_err(std::io::Error::other).flatten() {
            Ok(()) => {
                if self.state_fault.lock().take().is_some() {
                    tracing::info!("the state is on disk again");
                }
                true
            }
            Err(error) => {
                self.note_state_fault(&path, &error);
                false
            }
        }
    }

    fn note_state_fault(&self, path: &Path, error: &std::io::Error) {
        count(&metrics::PERSIST_FAILURES, 1);
        let fault = format!("cannot write {}: {error}: membership is kept in memory only", path.display());
        let before = self.state_fault.lock().replace(fault.clone());
        if before.is_none() {
            tracing::error!("{fault}");
        }
    }
}

/// Both clocks of a discovery.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    /// When `Moment::elapsed` was 0.
    origin: Instant,
    wall: fn() -> SystemTime,
}

impl Clock {
    /// Clocks of which one begins now, and the other tells the time of day: the system's, but in simulations.
    pub(crate) fn start(wall: fn() -> SystemTime) -> Self {
        Self { origin: Instant::now(), wall }
    }

    pub(crate) fn moment(&self) -> Moment {
        // A clock before 1970 is as good as none: epochs then grow by one.
        let wall = (self.wall)().duration_since(UNIX_EPOCH).unwrap_or_default();
        Moment { elapsed: self.origin.elapsed(), wall_ms: u64::try_from(wall.as_millis()).unwrap_or(0) }
    }
}

/// Logs and counts what a tick found.
fn tell(ticked: &Ticked) {
    for lapsed in &ticked.lapsed {
        let (cluster, node) = (&lapsed.cluster, &lapsed.node);
        tracing::warn!(%cluster, %node, silence = ?lapsed.silence, "lease lapsed: the node is down");
    }
    count(&metrics::LAPSES, ticked.lapsed.len() as u64);
    if let Some(gap) = ticked.stalled {
        count(&metrics::STALLS, 1);
        tracing::warn!(?gap, "this process stood still: every lease begins anew");
    }
    if let Some(mass) = ticked.mass_lapse_began {
        count(&metrics::MASS_LAPSES, 1);
        tracing::error!(
            mass.missing,
            mass.nodes,
            "too many nodes are missing at once: all are kept as they are"
        );
    }
    if ticked.mass_lapse_ended {
        tracing::warn!("enough nodes are back: leases are judged again, a lease from now");
    }
    if ticked.settled {
        tracing::info!("settled: topologies are published");
    }
    count(&metrics::PUBLICATIONS, u64::from(ticked.published));
}
