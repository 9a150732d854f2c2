//! Sends nodes what they have missed, once they are back.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use evanesce_transport::{Completion, TransportError};
use evanesce_wire::reply::Reply;
use tokio::time::{Instant, sleep};
use tracing::{debug, warn};

use crate::cluster::Cluster;
use crate::core::Core;
use crate::error::NodeError;
use crate::member::Member;
use crate::repair::peer::send_if_newest;
use crate::repair::{NodeId, Repair};
use crate::request::{Change, Done, with_repair};
use crate::version::Version;

/// Between two looks at the nodes that have missed something: a node that is back has what it missed soon after, and
/// looking costs nothing beside the writes that fail meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The same for one that waits for the end: what is under way is mostly answered within a round trip.
const DRAIN_EVERY: Duration = Duration::from_millis(2);

/// Repairs under way to one node: enough for some 10,000 a second at 20 ms between looks, few enough to leave the
/// node's queue to callers.
const IN_FLIGHT_MAX: usize = 256;

/// Something was put into the queue: sees to it that someone looks.
pub(crate) fn wake(core: &Arc<Core>) {
    if !core.repairing.swap(true, Ordering::AcqRel) {
        // Made here, since a runtime that ends may drop the task before its first step.
        let looking = Looking(Arc::downgrade(core));
        tokio::spawn(async move { looking.until_empty().await });
    }
}

/// The right to look: one task has it at a time.
struct Looking(Weak<Core>);

/// Ends in whatever way: the next write that is missed starts another.
impl Drop for Looking {
    fn drop(&mut self) {
        if let Some(core) = self.0.upgrade() {
            core.repairing.store(false, Ordering::Release);
        }
    }
}

impl Looking {
    /// Ends when nothing is left, or the client has gone.
    async fn until_empty(self) {
        loop {
            sleep(LOOK_EVERY).await;
            let Some(core) = self.0.upgrade() else { return };
            let Some(cluster) = core.cluster() else { return };
            if look(&core, &cluster) {
                continue;
            }
            drop(self);
            // Something may have come in between; whoever put it saw that someone was looking.
            if !core.repairs.lock().is_empty() {
                wake(&core);
            }
            return;
        }
    }
}

/// Sends what can be sent until nothing is left or the time is up. A write that has no answer yet may be the next that is missed.
pub(crate) async fn drain_until(core: &Arc<Core>, cluster: &Arc<Cluster>, deadline: Instant) {
    // Asked first: what was missed is in the queue before it counts as answered.
    while ((core.unanswered.load(Ordering::Acquire) > 0) | look(core, cluster)) && Instant::now() < deadline {
        sleep(DRAIN_EVERY.min(deadline.saturating_duration_since(Instant::now()))).await;
    }
}

/// Sends each node that is back its next ones. Returns whether anything is left.
fn look(core: &Arc<Core>, cluster: &Arc<Cluster>) -> bool {
    let nodes = core.repairs.lock().nodes();
    for id in &nodes {
        match cluster.member(id) {
            Some(member) => send(core, cluster, member, id),
            None => hand_on(core, cluster, id),
        }
    }
    core.show_repairs()
}

fn send(core: &Arc<Core>, cluster: &Cluster, member: &Arc<Member>, id: &NodeId) {
    if !member.link.connection.is_up() {
        return;
    }
    if !member.link.connection.speaks_versions() {
        let gone = core.repairs.lock().forget(id).len();
        core.metrics.repairs_refused.increment(gone as u64);
        debug!(node = %id.node, count = gone, "the node keeps no versions: what it missed stays missed");
        return;
    }
    // To a node that did not answer one at a time is sent: there may be no reads that find out that it does again.
    let most = match member.link.is_suspect() {
        false => IN_FLIGHT_MAX,
        true if member.link.admit(Instant::now()) => 1,
        true => return,
    };
    let batch = core.repairs.lock().take(id, most);
    if batch.is_empty() {
        return;
    }
    batch.iter().for_each(|repair| hand_also(core, cluster, member, repair));
    let sent =
        Arc::new(Sent { core: Arc::downgrade(core), member: Arc::clone(member), id: id.clone(), batch });
    for token in 0..sent.batch.len() {
        send_if_newest(core, cluster, &sent, token);
    }
}

/// Where the key has, or is to have, another owner in the group than the node that missed a write of it, that one gets it,
/// too: it may have been given what the node had without the write.
fn hand_also(core: &Arc<Core>, cluster: &Cluster, member: &Member, repair: &Repair) {
    let Some(group) = cluster.group(&member.group) else { return };
    let hash = cluster.placement().key_hash(repair.key.as_bytes());
    let owner = cluster.lasting_owner(group, hash).filter(|owner| owner.name != member.name);
    if let Some(owner) = owner {
        let given_up = core.repairs.lock().put(owner.id(), repair.clone());
        core.gave_up(given_up);
    }
}

/// The node has gone for good: what it missed belongs to whoever has its keys now.
fn hand_on(core: &Arc<Core>, cluster: &Cluster, id: &NodeId) {
    let missed = core.repairs.lock().forget(id);
    let Some(group) = cluster.group(&id.group) else {
        warn!(group = %id.group, count = missed.len(), "the server group has gone, and what it missed");
        return;
    };
    for repair in missed {
        let hash = cluster.placement().key_hash(repair.key.as_bytes());
        if let Some(member) = cluster.lasting_owner(group, hash) {
            let given_up = core.repairs.lock().put(member.id(), repair);
            core.gave_up(given_up);
        }
    }
}

/// Repairs on their way to one node.
pub(super) struct Sent {
    core: Weak<Core>,
    pub(super) member: Arc<Member>,
    id: NodeId,
    batch: Vec<Repair>,
}

impl Sent {
    pub(super) fn repair(&self, token: usize) -> &Repair {
        &self.batch[token]
    }

    /// Gives it to the node.
    pub(super) fn send(self: &Arc<Self>, token: usize) {
        self.submit(token, self.repair(token));
    }

    /// Has the node forget what is older: nobody is known to have this one any more.
    pub(super) fn send_delete(self: &Arc<Self>, token: usize) {
        let Repair { key, version, .. } = self.repair(token).clone();
        self.submit(token, &Repair { key, version, change: Change::Delete });
    }

    /// The node need not have it: something newer is known.
    pub(super) fn superseded(&self, token: usize, by: Version) {
        let Some(core) = self.core.upgrade() else { return };
        core.clock.observe(by, core.now());
        core.repairs.lock().settled(&self.id, self.repair(token));
        core.metrics.repairs_superseded.increment(1);
    }

    fn submit(self: &Arc<Self>, token: usize, repair: &Repair) {
        let completion = Arc::clone(self) as Arc<dyn Completion>;
        let link = &self.member.link;
        let outcome = with_repair(repair, link.next_opaque(), |request| {
            link.connection.submit(request, completion, token)
        });
        if let Err(error) = outcome {
            self.complete(token, Err(error));
        }
    }
}

impl Completion for Sent {
    fn complete(&self, token: usize, outcome: Result<Reply, TransportError>) {
        let Some(core) = self.core.upgrade() else { return };
        let repair = &self.batch[token];
        let outcome = self.member.link.judge(outcome).and_then(|reply| Done::of(&reply));
        let mut repairs = core.repairs.lock();
        match outcome {
            Ok(Done::ClockAhead) => again(&core, repairs.put_back(&self.id, repair.clone())),
            Ok(done) => {
                repairs.settled(&self.id, repair);
                if matches!(done, Done::Yes | Done::NotFound) {
                    core.metrics.repairs_done.increment(1);
                } else {
                    core.metrics.repairs_superseded.increment(1);
                }
            }
            Err(NodeError::Refused(_) | NodeError::Unexpected) => {
                repairs.settled(&self.id, repair);
                core.metrics.repairs_refused.increment(1);
            }
            Err(_) => again(&core, repairs.put_back(&self.id, repair.clone())),
        }
    }
}

fn again(core: &Arc<Core>, given_up: u64) {
    core.gave_up(given_up);
}
