//! Telling a key's other owner what has changed here.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use evanesce_grpc::peer::v1::peer_client::PeerClient;
use evanesce_grpc::peer::v1::{Deleted, Item, TakeItemsRequest};
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tonic::transport::Channel;
use tonic::{Code, Status};
use tracing::{info, warn};

use crate::items::{item, joined, pieces};
use crate::shared::Shared;
use crate::warm::{Newcomer, channel};

/// Keys that wait for one node, at most: some tens of megabytes, and seconds of what a small machine writes. A key that
/// waits already is not queued again.
const WAITING_MAX: usize = 1 << 18;

/// Keys in one message.
pub(super) const KEYS_MAX: usize = 1024;

/// Bytes of values in one message, and the item beyond.
const BYTES_MAX: usize = 1 << 20;

/// How long a node may take to take a message.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Between two attempts at a node that does not answer.
const RETRY: Duration = Duration::from_millis(500);

/// Between two looks whether anything waits.
const DRAINED_LOOK: Duration = Duration::from_millis(20);

/// Attempts at a node once one ring is in force again: what it misses then is for reconcile to bring.
const LAST_ATTEMPTS: usize = 4;

/// A queue for each other node of the group.
///
/// Lock order: `targets`, then a queue. No lock of the store is taken under them; they are taken under a shard's.
#[derive(Debug, Default)]
pub(super) struct Forwards {
    targets: RwLock<HashMap<String, Arc<Target>>>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    pending: AtomicU64,
    sent: AtomicU64,
    dropped: AtomicU64,
}

/// One other node.
#[derive(Debug)]
pub(super) struct Target {
    name: String,
    address: Mutex<Option<SocketAddr>>,
    queue: Mutex<Queue>,
    wake: Notify,
    /// It is an owner beside this node no more.
    is_retired: AtomicBool,
    counts: Arc<Counts>,
}

/// Keys in the order in which they changed, each once.
#[derive(Debug, Default)]
struct Queue {
    order: VecDeque<Bytes>,
    known: HashSet<Bytes>,
}

/// What becomes of a key that is to wait.
#[derive(Debug, PartialEq, Eq)]
enum Queued {
    First,
    Behind,
    Known,
    Full,
}

impl Queue {
    fn push(&mut self, key: &[u8]) -> Queued {
        if self.known.contains(key) {
            return Queued::Known;
        }
        if self.order.len() >= WAITING_MAX {
            return Queued::Full;
        }
        let key = Bytes::copy_from_slice(key);
        self.known.insert(key.clone());
        self.order.push_back(key);
        if self.order.len() == 1 { Queued::First } else { Queued::Behind }
    }

    fn take(&mut self, count: usize) -> Vec<Bytes> {
        let count = count.min(self.order.len());
        let taken: Vec<Bytes> = self.order.drain(..count).collect();
        for key in &taken {
            self.known.remove(key);
        }
        taken
    }
}

impl Forwards {
    pub(super) fn pending(&self) -> u64 {
        self.counts.pending.load(Ordering::Relaxed)
    }

    pub(super) fn sent(&self) -> u64 {
        self.counts.sent.load(Ordering::Relaxed)
    }

    pub(super) fn dropped(&self) -> u64 {
        self.counts.dropped.load(Ordering::Relaxed)
    }

    /// Waits until the other owners have what changed here, or have been given up: what is sent is a key's present state, so
    /// that must not be dropped before.
    pub(super) async fn drained(&self) {
        while self.pending() > 0 {
            sleep(DRAINED_LOOK).await;
        }
    }

    /// A key has changed that this node owns, too. Never waits.
    pub(super) fn push(&self, node: &str, key: &[u8]) {
        let targets = self.targets.read();
        if let Some(target) = targets.get(node) {
            target.push(key);
        }
    }

    /// These nodes are owners beside this one from now on; none while one ring is in force. Answers those that are new.
    pub(super) fn set_targets<'n>(
        &self,
        nodes: impl Iterator<Item = &'n evanesce_topology::Node>,
    ) -> Vec<Arc<Target>> {
        let mut targets = self.targets.write();
        let mut before = std::mem::take(&mut *targets);
        let mut fresh = Vec::new();
        for node in nodes {
            let target = before.remove(&node.name).unwrap_or_else(|| {
                let target = Arc::new(Target::new(&node.name, Arc::clone(&self.counts)));
                fresh.push(Arc::clone(&target));
                target
            });
            *target.address.lock() = node.grpc;
            targets.insert(node.name.clone(), target);
        }
        for target in before.values() {
            target.is_retired.store(true, Ordering::Release);
            target.wake.notify_one();
        }
        fresh
    }
}

impl Target {
    fn new(name: &str, counts: Arc<Counts>) -> Self {
        Self {
            name: name.to_owned(),
            address: Mutex::new(None),
            queue: Mutex::default(),
            wake: Notify::new(),
            is_retired: AtomicBool::new(false),
            counts,
        }
    }

    fn push(&self, key: &[u8]) {
        let queued = self.queue.lock().push(key);
        match queued {
            Queued::Known => return,
            Queued::Full => {
                self.counts.dropped.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Queued::First => self.wake.notify_one(),
            Queued::Behind => {}
        }
        self.counts.pending.fetch_add(1, Ordering::Relaxed);
    }

    fn settle(&self, keys: usize, counter: &AtomicU64) {
        counter.fetch_add(keys as u64, Ordering::Relaxed);
        self.counts.pending.fetch_sub(keys as u64, Ordering::Relaxed);
    }

    /// Sends what changes, until the node is an owner no more and has all of it.
    pub(super) async fn forward(self: Arc<Self>, shared: Arc<Shared>, me: Newcomer) {
        let mut client = None;
        let mut failures = 0;
        loop {
            let keys = self.queue.lock().take(KEYS_MAX);
            if keys.is_empty() {
                if self.is_retired.load(Ordering::Acquire) {
                    return;
                }
                self.wake.notified().await;
                continue;
            }
            let mut rest = keys.as_slice();
            while !rest.is_empty() {
                let (request, count) = message(&shared, &me, rest);
                match self.send(&mut client, request).await {
                    Ok(()) => {
                        failures = 0;
                        self.settle(count, &self.counts.sent);
                        rest = &rest[count..];
                    }
                    // Its limit of items is another: it will not take them the next time either.
                    Err(status) if status.code() == Code::OutOfRange => {
                        warn!(node = self.name, why = status.message(), "another owner refuses what changed");
                        self.settle(count, &self.counts.dropped);
                        rest = &rest[count..];
                    }
                    Err(status) => {
                        client = None;
                        failures += 1;
                        if failures == 1 {
                            let why = status.message();
                            info!(
                                node = self.name,
                                why, "another owner does not take what changes: trying on"
                            );
                        }
                        if self.is_retired.load(Ordering::Acquire) && failures > LAST_ATTEMPTS {
                            return self.give_up(rest.len());
                        }
                        sleep(RETRY).await;
                    }
                }
            }
        }
    }

    fn give_up(&self, in_hand: usize) {
        let waiting = self.queue.lock().take(usize::MAX).len();
        self.settle(in_hand + waiting, &self.counts.dropped);
        warn!(node = self.name, keys = in_hand + waiting, "another owner misses what has changed here");
    }

    async fn send(
        &self,
        client: &mut Option<PeerClient<Channel>>,
        request: TakeItemsRequest,
    ) -> Result<(), Status> {
        if request.items.is_empty() && request.deleted.is_empty() {
            return Ok(());
        }
        let address = *self.address.lock();
        let address = address.ok_or_else(|| Status::unavailable("it has no gRPC side"))?;
        let peer = match client {
            Some(peer) => peer,
            None => client.insert(PeerClient::new(channel(&address.to_string()).await?)),
        };
        let answered = timeout(ANSWER_MAX, peer.take_items(request)).await;
        answered.map_err(|_| Status::deadline_exceeded("it does not answer"))?.map(drop)
    }
}

/// The present states of the first of these keys, and of how many.
fn message(shared: &Shared, me: &Newcomer, keys: &[Bytes]) -> (TakeItemsRequest, usize) {
    let mut request = TakeItemsRequest {
        cluster: me.cluster.clone(),
        group: me.group.clone(),
        ..TakeItemsRequest::default()
    };
    let (mut bytes, mut count) = (0, 0);
    for key in keys {
        if bytes >= BYTES_MAX {
            break;
        }
        count += 1;
        match state(shared, key) {
            State::Item(item) => {
                bytes += item.value.len();
                request.items.push(item);
            }
            State::Deleted(version) => request.deleted.push(Deleted { key: key.clone(), version }),
            State::Unknown => {}
        }
    }
    (request, count)
}

/// A key as it is here.
enum State {
    Item(Item),
    Deleted(u64),
    /// Evicted or expired: nothing that another owner should hear of.
    Unknown,
}

fn state(shared: &Shared, key: &Bytes) -> State {
    let seen = shared.store.examine(key, shared.clock.now(), |known| match known.hit {
        // Marked stale: it is to be fetched anew, there as here.
        Some(hit) if hit.stale => Err(State::Deleted(hit.version.0)),
        Some(hit) => Ok((item(key.clone(), Bytes::new(), &hit), pieces(&hit.value))),
        None if known.deleted.0 > 0 => Err(State::Deleted(known.deleted.0)),
        None => Err(State::Unknown),
    });
    match seen {
        // Joined outside the shard's lock.
        Ok((item, pieces)) => State::Item(Item { value: joined(pieces), ..item }),
        Err(state) => state,
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn key_that_waits_is_queued_once_and_again_after_it_was_taken() {
        let mut queue = Queue::default();
        assert_eq!(queue.push(b"a"), Queued::First);
        assert_eq!((queue.push(b"b"), queue.push(b"a")), (Queued::Behind, Queued::Known));
        assert_eq!(queue.take(1), [Bytes::from_static(b"a")]);
        assert_eq!(queue.push(b"a"), Queued::Behind);
        assert_eq!(queue.take(9), [Bytes::from_static(b"b"), Bytes::from_static(b"a")]);
        assert!(queue.take(9).is_empty() && queue.known.is_empty());
    }

    #[test]
    fn full_queue_takes_no_more_and_counts_it() {
        let counts = Arc::new(Counts::default());
        let target = Target::new("n2", Arc::clone(&counts));
        (0..WAITING_MAX + 5).for_each(|key| target.push(&key.to_le_bytes()));
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        assert_eq!((read(&counts.pending), read(&counts.dropped)), (WAITING_MAX as u64, 5));
        target.give_up(0);
        assert_eq!((read(&counts.pending), read(&counts.dropped)), (0, WAITING_MAX as u64 + 5));
    }

    #[test]
    fn what_waits_for_another_owner_is_waited_for_until_it_is_sent_or_given_up() {
        let forwards = Forwards::default();
        let target = Target::new("n2", Arc::clone(&forwards.counts));
        let is_drained = || forwards.drained().now_or_never().is_some();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _inside = runtime.enter();
        target.push(b"a");
        target.push(b"b");
        assert!(!is_drained());
        target.queue.lock().take(1);
        target.settle(1, &target.counts.sent);
        assert!(!is_drained());
        target.give_up(0);
        assert!(is_drained());
    }
}
