//! The task behind a topology watch: one discovery at a time.

use std::sync::Arc;
use std::time::Duration;

use evanesce_grpc::discovery::v1;
use evanesce_grpc::discovery::v1::discovery_client::DiscoveryClient;
use evanesce_topology::{Epoch, Topology};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::endpoint::Discovery;
use crate::options::MembershipOptions;
use crate::registration::EPOCH_SEEN_MAX;
use crate::topology_watch::WatchStatus;

/// The largest topology taken: a full cluster (4096 nodes) whose every node uses the room that names, texts and
/// capabilities have. gRPC's own limit of 4 MiB would leave watchers of such a cluster without any.
const TOPOLOGY_BYTES_MAX: usize = 32 << 20;

/// Follows one discovery after the other.
pub(crate) struct Follower {
    discoveries: Vec<Discovery>,
    cluster: String,
    options: MembershipOptions,
    topology: watch::Sender<Option<Arc<Topology>>>,
    status: Arc<Mutex<WatchStatus>>,
    /// What to tell the next discovery in place of the epoch held: see [`Verdict::Conflict`].
    epoch_claimed: Epoch,
}

/// What becomes of a topology that a discovery sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Newer than what we hold.
    Newer,
    /// What we hold already.
    Same,
    /// Older than what we hold: not taken. The discovery knows what we hold and will number past it.
    Older,
    /// Another content under the number we hold. Registries that never speak to each other may issue the same number
    /// in the same millisecond, and only a watcher can notice: it asks again as one who has seen the next number,
    /// so that the discovery publishes what it has under a newer one.
    Conflict,
    /// Of another cluster, empty, or absurdly numbered.
    Unusable(&'static str),
}

/// Decides about `offered` against what is `held`.
fn judge(offered: &Topology, held: Option<&Topology>, cluster: &str) -> Verdict {
    if offered.cluster != cluster {
        return Verdict::Unusable("sent another cluster's topology");
    }
    if offered.groups.iter().all(|group| group.nodes.is_empty()) {
        return Verdict::Unusable("sent an empty topology");
    }
    if offered.epoch.0 == 0 || offered.epoch.0 > EPOCH_SEEN_MAX {
        return Verdict::Unusable("sent a topology whose epoch is no clock's");
    }
    match held {
        Some(held) if offered.epoch < held.epoch => Verdict::Older,
        Some(held) if offered.epoch > held.epoch => Verdict::Newer,
        Some(held) if offered == held => Verdict::Same,
        Some(_) => Verdict::Conflict,
        None => Verdict::Newer,
    }
}

impl Follower {
    pub(crate) fn new(
        discoveries: Vec<Discovery>,
        cluster: &str,
        options: MembershipOptions,
        topology: watch::Sender<Option<Arc<Topology>>>,
        status: Arc<Mutex<WatchStatus>>,
    ) -> Self {
        Self { discoveries, cluster: cluster.to_owned(), options, topology, status, epoch_claimed: Epoch(0) }
    }

    /// Runs until aborted.
    pub(crate) async fn run(mut self) {
        let mut backoff = self.options.backoff();
        let mut failures = 0_usize;
        let mut at = 0;
        loop {
            let opened = Instant::now();
            let left = self.follow(at).await;
            self.note_left(at, &left);
            // One that answers and fails at once counts as failing: else two such would be asked in a busy loop.
            if opened.elapsed() > self.options.backoff_max && left.had_spoken {
                failures = 0;
                backoff = self.options.backoff();
            }
            failures += 1;
            at = (at + 1) % self.discoveries.len();
            if failures.is_multiple_of(self.discoveries.len()) {
                let max = self.options.backoff_max;
                tokio::time::sleep(backoff.next().unwrap_or(max).min(max)).await;
            }
        }
    }

    /// Follows one discovery until it fails; says why and whether it had spoken.
    async fn follow(&mut self, at: usize) -> Left {
        self.status.lock().attempts += 1;
        let mut stream = match self.open(at).await {
            Ok(stream) => stream,
            Err(reason) => return Left { reason, had_spoken: false },
        };
        let mut had_spoken = false;
        loop {
            let reason = match self.next(&mut stream, had_spoken).await {
                Ok(Some(response)) => {
                    had_spoken = true;
                    self.note_following(at);
                    self.take(response)
                }
                Ok(None) => Err("ended the stream".to_owned()),
                Err(reason) => Err(reason),
            };
            if let Err(reason) = reason {
                return Left { reason, had_spoken };
            }
        }
    }

    async fn open(&mut self, at: usize) -> Result<tonic::Streaming<v1::WatchResponse>, String> {
        let held = self.topology.borrow().as_ref().map_or(Epoch(0), |topology| topology.epoch);
        let epoch_seen = held.max(self.epoch_claimed).0;
        let channel = self.discoveries[at].connect().await?;
        let mut client = DiscoveryClient::new(channel).max_decoding_message_size(TOPOLOGY_BYTES_MAX);
        let request = v1::WatchRequest { cluster: self.cluster.clone(), epoch_seen };
        let opening = tokio::time::timeout(self.options.call_timeout, client.watch(request));
        let opened = opening.await.map_err(|_| "did not open the stream in time".to_owned())?;
        opened.map(tonic::Response::into_inner).map_err(|status| said(&status))
    }

    /// The next topology. A discovery that has not spoken yet is given up after a while where there is another.
    async fn next(
        &self,
        stream: &mut tonic::Streaming<v1::WatchResponse>,
        had_spoken: bool,
    ) -> Result<Option<v1::WatchResponse>, String> {
        let patience =
            if had_spoken || self.discoveries.len() == 1 { Duration::MAX } else { self.options.silence_max };
        match tokio::time::timeout(patience, stream.message()).await {
            Ok(message) => message.map_err(|status| said(&status)),
            Err(_) => Err("has no topology of this cluster yet".to_owned()),
        }
    }

    /// Takes a topology when it is newer.
    ///
    /// # Errors
    ///
    /// Why this discovery is to be left.
    fn take(&mut self, response: v1::WatchResponse) -> Result<(), String> {
        let offered = response.topology.ok_or_else(|| "sent no topology".to_owned())?;
        let offered = Topology::try_from(offered).map_err(|error| format!("sent a bad topology: {error}"))?;
        let held = self.topology.borrow().clone();
        match judge(&offered, held.as_deref(), &self.cluster) {
            Verdict::Newer => {
                self.publish(offered);
                Ok(())
            }
            Verdict::Same | Verdict::Older => Ok(()),
            Verdict::Conflict => {
                self.epoch_claimed = Epoch(offered.epoch.0 + 1);
                Err("sent another topology under the number we hold".to_owned())
            }
            Verdict::Unusable(reason) => Err(reason.to_owned()),
        }
    }

    fn publish(&self, topology: Topology) {
        tracing::debug!(cluster = %self.cluster, epoch = topology.epoch.0, "new topology");
        self.status.lock().epoch = topology.epoch;
        self.topology.send_replace(Some(Arc::new(topology)));
    }

    fn note_following(&self, at: usize) {
        let address = &self.discoveries[at].address;
        let mut status = self.status.lock();
        if status.following.as_ref() != Some(address) {
            tracing::info!(discovery = %address, cluster = %self.cluster, "following");
            status.following = Some(address.clone());
            status.since = Some(Instant::now());
        }
    }

    fn note_left(&self, at: usize, left: &Left) {
        let address = &self.discoveries[at].address;
        let error = format!("{address} {}", left.reason);
        let mut status = self.status.lock();
        if left.had_spoken {
            tracing::warn!(discovery = %address, reason = %left.reason, "no longer following");
            metrics::counter!("evanesce_membership_failovers_total").increment(1);
        } else if status.last_error.as_ref() != Some(&error) {
            tracing::info!(discovery = %address, reason = %left.reason, "cannot follow");
        }
        status.following = None;
        status.since = None;
        status.last_error = Some(error);
        status.failures.insert(address.clone(), left.reason.clone());
    }
}

/// Why a discovery was left.
struct Left {
    reason: String,
    had_spoken: bool,
}

/// A refusal or a broken connection in words for an operator.
fn said(status: &tonic::Status) -> String {
    format!("failed: {:?}: {}", status.code(), status.message())
}

#[cfg(test)]
mod tests {
    use evanesce_topology::{Node, NodeState, RingProfile, ServerGroup};

    use super::*;

    fn topology(epoch: u64, nodes: &[&str]) -> Topology {
        let node = |name: &&str| Node {
            name: (*name).to_owned(),
            ring_text: (*name).to_owned(),
            weight: 1,
            state: NodeState::Serving,
            incarnation: 1,
            memcached: ([127, 0, 0, 1], 1).into(),
            grpc: None,
            http: None,
            version: String::new(),
            capabilities: Vec::new(),
        };
        let nodes = nodes.iter().map(node).collect();
        let (name, zone, mode) = ("g".to_owned(), "a".to_owned(), Default::default());
        let group = ServerGroup { name, zone, mode, nodes, second: None };
        Topology::new("HOME".to_owned(), Epoch(epoch), RingProfile::EVANESCE, vec![group]).unwrap()
    }

    #[test]
    fn only_a_newer_topology_is_taken() {
        let held = topology(5, &["n1"]);
        let judge = |offered: &Topology| judge(offered, Some(&held), "HOME");
        assert_eq!(judge(&topology(6, &["n2"])), Verdict::Newer);
        assert_eq!(judge(&topology(5, &["n1"])), Verdict::Same);
        assert_eq!(judge(&topology(4, &["n1", "n2"])), Verdict::Older);
    }

    /// Two discoveries had numbered different memberships alike; a watcher that failed over kept the one it had, and
    /// did not hear of the other's nodes until something changed.
    #[test]
    fn other_content_under_the_same_number_is_a_conflict() {
        assert_eq!(judge(&topology(5, &["n2"]), Some(&topology(5, &["n1"])), "HOME"), Verdict::Conflict);
    }

    #[test]
    fn empty_foreign_and_absurd_topologies_are_unusable() {
        let judge = |offered: &Topology| judge(offered, None, "HOME");
        assert_eq!(judge(&topology(1, &["n1"])), Verdict::Newer);
        let other = Topology { cluster: "OTHER".to_owned(), ..topology(1, &["n1"]) };
        for offered in [topology(1, &[]), topology(0, &["n1"]), topology(u64::MAX, &["n1"]), other] {
            assert!(matches!(judge(&offered), Verdict::Unusable(_)), "{offered:?}");
        }
    }
}
