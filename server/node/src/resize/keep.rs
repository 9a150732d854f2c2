//! Following the topology, and doing what it asks of this node.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use evanesce_membership::{MembershipOptions, Registration, TopologyWatch};
use evanesce_topology::Topology;
use tokio::task::{AbortHandle, JoinSet, spawn_blocking};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::fill::fill;
use super::tidy::drop_foreign;
use super::view::View;
use crate::shared::Shared;
use crate::warm::Newcomer;

/// How long a node waits to be seen in a topology, unless it is told to stand by.
const TOPOLOGY_MAX: Duration = Duration::from_secs(5);

/// Between two reports: less than between renewals.
const REPORT_EVERY: Duration = Duration::from_millis(500);

/// How long one ring must have been in force again: a registry that has just lost its memory may not have told the second.
const TIDY_AFTER: Duration = Duration::from_secs(1);

/// When clients have long heard of the one ring: the silence after which one turns to another discovery, and then some.
const TIDY_AGAIN: Duration = Duration::from_secs(10);

/// Where a node is in its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// On the ring that is read.
    First,
    /// On the next ring alone: being filled.
    Next,
    /// Nobody says.
    Unknown,
}

/// Where the node is once it is on a ring. One that stands by waits, however long.
pub(crate) async fn first_place(shared: &Shared, registration: &Registration, me: &Newcomer) -> Place {
    let mut views = shared.resize.view.subscribe();
    let has_place = |view: &Option<Arc<View>>| {
        view.as_ref().is_some_and(|view| view.is_on_first() || view.is_on_second())
    };
    loop {
        let found = match timeout(TOPOLOGY_MAX, views.wait_for(has_place)).await {
            Ok(Ok(view)) => view.clone(),
            Ok(Err(_)) => return Place::Unknown,
            Err(_) => None,
        };
        match found {
            Some(view) if view.is_on_first() => return Place::First,
            Some(_) => return Place::Next,
            None if registration.stands_by() => {
                info!(group = me.group, node = me.name, "stands by: `evanesce ctl node add` takes it in");
            }
            None => return Place::Unknown,
        }
    }
}

impl super::Resize {
    /// Waits until the node is filled for the next ring, or has a place on the one that is read. False when it has no place
    /// any more.
    pub(crate) async fn until_filled(&self) -> bool {
        let (mut views, mut filled) = (self.view.subscribe(), self.filled.subscribe());
        loop {
            let view = views.borrow_and_update().clone();
            let Some(view) = view else { return false };
            if view.is_on_first() || view.next_change() == Some(*filled.borrow_and_update()) {
                return true;
            }
            if !view.is_on_second() {
                return false;
            }
            tokio::select! {
                changed = views.changed() => if changed.is_err() { return false },
                changed = filled.changed() => if changed.is_err() { return false },
            }
        }
    }
}

/// Follows the topology as long as the node lives.
pub(crate) async fn keep(shared: Arc<Shared>, me: Newcomer) {
    let options = MembershipOptions::default();
    let Ok(watch) = TopologyWatch::start(&me.discoveries, &me.cluster, options) else { return };
    let mut topologies = watch.subscribe();
    let mut keeper = Keeper { shared, me, work: None, tasks: JoinSet::new() };
    loop {
        let topology = topologies.borrow_and_update().clone();
        if let Some(topology) = topology {
            keeper.follow(topology).await;
        }
        while keeper.tasks.try_join_next().is_some() {}
        if topologies.changed().await.is_err() {
            return;
        }
    }
}

/// Tells the registries how the node does.
pub(crate) async fn keep_reporting(
    shared: Arc<Shared>,
    tell: impl Fn(evanesce_grpc::discovery::v1::NodeReport, bool),
) {
    let mut filled = shared.resize.filled.subscribe();
    loop {
        let is_news = filled.has_changed().unwrap_or(false);
        filled.mark_unchanged();
        let stats = shared.store.stats();
        tell(shared.resize.report(stats.items, stats.item_bytes, shared.warm.counts()), is_news);
        tokio::select! {
            () = sleep(REPORT_EVERY) => {}
            changed = filled.changed() => {
                if changed.is_err() {
                    return;
                }
                filled.mark_changed();
            }
        }
    }
}

/// What the node does for its rings.
struct Keeper {
    shared: Arc<Shared>,
    me: Newcomer,
    work: Option<(Work, AbortHandle)>,
    tasks: JoinSet<()>,
}

/// What the node is busy with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    /// It is filled for this change.
    Fill(u64),
    /// It drops what it does not own.
    Tidy,
}

impl Keeper {
    async fn follow(&mut self, topology: Arc<Topology>) {
        let before = self.shared.resize.view.borrow().clone();
        let (me, known) = (self.me.clone(), before.clone());
        // A large ring takes a moment to build.
        let built = spawn_blocking(move || View::new(topology, &me, known.as_deref())).await;
        let view = match built {
            Ok(Ok(view)) => Arc::new(view),
            Ok(Err(error)) => return warn!(%error, "the topology has a ring that cannot be laid"),
            Err(_) => return,
        };
        self.force(&view);
        let was_resized = before.is_some_and(|before| before.second().is_some());
        let change = view.next_change().filter(|_| view.is_on_second());
        let busy = self.work.as_ref().map(|(work, _)| *work);
        match change.filter(|change| *self.shared.resize.filled.borrow() != *change) {
            Some(change) if busy != Some(Work::Fill(change)) => self.begin_fill(view, change),
            Some(_) => {}
            None if view.second().is_some() => self.stop(),
            None if was_resized && view.is_on_first() => self.begin_tidy(view),
            None if busy != Some(Work::Tidy) => self.stop(),
            None => {}
        }
    }

    /// From now on changes are forwarded as this view says.
    fn force(&mut self, view: &Arc<View>) {
        let resize = &self.shared.resize;
        let is_on = view.second().is_some();
        let fresh = resize.forwards.set_targets(view.peers().filter(|_| is_on));
        for target in fresh {
            self.tasks.spawn(target.forward(Arc::clone(&self.shared), self.me.clone()));
        }
        // Whoever is given items by this view hears of all changes after it.
        if is_on {
            resize.is_on.store(true, Ordering::Release);
        }
        resize.view.send_replace(Some(Arc::clone(view)));
        resize.is_on.store(is_on, Ordering::Release);
    }

    fn begin_fill(&mut self, view: Arc<View>, change: u64) {
        self.stop();
        let resize = &self.shared.resize;
        resize.filling.store(change, Ordering::Relaxed);
        *resize.fill_began.lock() = self.shared.warm.counts();
        info!(change, "the next ring is in force: being filled for it");
        let filling = fill(Arc::clone(&self.shared), view, self.me.clone(), change);
        self.work = Some((Work::Fill(change), self.tasks.spawn(filling)));
    }

    fn begin_tidy(&mut self, view: Arc<View>) {
        self.stop();
        let shared = Arc::clone(&self.shared);
        let tidying = async move {
            sleep(TIDY_AFTER).await;
            shared.resize.forwards.drained().await;
            // Whatever it was filled with may go.
            shared.resize.filled.send_replace(0);
            let dropped = drop_foreign(&shared, &view).await;
            info!(dropped, "one ring is in force again: dropped what is not owned");
            // Once more for what clients wrote that had not heard of it.
            sleep(TIDY_AGAIN).await;
            drop_foreign(&shared, &view).await;
        };
        self.work = Some((Work::Tidy, self.tasks.spawn(tidying)));
    }

    fn stop(&mut self) {
        if let Some((_, work)) = self.work.take() {
            work.abort();
            self.shared.resize.filling.store(0, Ordering::Relaxed);
        }
    }
}
