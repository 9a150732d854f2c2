//! Taking: from whom, in which order, and what is done with it.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use evanesce_grpc::discovery::v1;
use evanesce_grpc::packed::{UnpackError, unpack};
use evanesce_grpc::peer::v1::peer_client::PeerClient;
use evanesce_grpc::peer::v1::{Heat, StreamItemsRequest};
use evanesce_membership::{MembershipOptions, TopologyWatch};
use evanesce_store::{Version, Write, WriteOutcome};
use evanesce_topology::{GroupMode, NodeState, ServerGroup, Topology};
use evanesce_wire::limits::KEY_BYTES_MAX;
use futures_util::future::join_all;
use tokio::time::{Instant, timeout};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tracing::{info, warn};

use super::{CAPABILITY_PEER, answer_bytes_max};
use crate::execute::CLOCK_AHEAD_MAX;
use crate::items::write_packed;
use crate::shared::Shared;

/// How long a node waits to be seen in a topology.
const TOPOLOGY_MAX: Duration = Duration::from_secs(5);

/// How long a peer may take to be connected to.
const CONNECT_MAX: Duration = Duration::from_secs(2);

/// How often a peer is asked whether it lives, and how long it may take to say so: one that is frozen answers no ping, and a
/// comparison with it is not to wait for the whole time that a walk may take.
const ALIVE_EVERY: Duration = Duration::from_secs(2);

/// How long a stream may bring nothing: far longer than a step and its rest.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// How often a stream is taken up again, without getting on, before its peer is given up. One that will not give is at once.
const RETRIES_MAX: usize = 2;

/// Items that are stored at once: enough to hide the memory's latency, few enough that no lock is held for long.
const BATCH: usize = 64;

/// When to ask again for a stream that a peer had no place for.
const BUSY_RETRY: Duration = Duration::from_secs(1);

/// Who the newcomer is.
#[derive(Debug, Clone)]
pub(crate) struct Newcomer {
    pub(crate) cluster: String,
    pub(crate) group: String,
    pub(crate) name: String,
    pub(crate) discoveries: Vec<String>,
    /// How long it warms up at most.
    pub(crate) limit: Duration,
}

/// Warms the node up; `warming` is called once there is somebody to be given items by.
pub(crate) async fn warm_up(shared: &Arc<Shared>, newcomer: &Newcomer, warming: impl FnOnce()) {
    let Some(topology) = topology(newcomer).await else {
        warn!("not seen in any topology in time: serving without a warm-up");
        return;
    };
    let donors = donors(&topology, newcomer);
    if donors.is_empty() {
        return;
    }
    warming();
    let began = Instant::now();
    let Some(group) = own_group(&topology, newcomer) else { return };
    let taking = take_from_donors(shared, &topology, group, newcomer, &donors);
    let whole = timeout(newcomer.limit, taking).await;
    let counts = shared.warm.counts();
    let took = began.elapsed();
    shared.warm.ended(took.as_millis() as u64);
    let (items, bytes, refused) = (counts.taken, counts.bytes, counts.refused);
    match whole {
        Ok(true) => info!(items, bytes, refused, ?took, "warm"),
        Ok(false) => {
            warn!(items, bytes, refused, ?took, "no sibling group answered whole: serving with what came");
        }
        Err(_) => warn!(items, bytes, refused, ?took, "the warm-up took too long: serving with what came"),
    }
}

/// The first topology that has this node.
async fn topology(newcomer: &Newcomer) -> Option<Arc<Topology>> {
    let options = MembershipOptions::default();
    let watch = TopologyWatch::start(&newcomer.discoveries, &newcomer.cluster, options).ok()?;
    let mut topologies = watch.subscribe();
    let has = |topology: &Option<Arc<Topology>>| {
        topology.as_ref().is_some_and(|topology| own_group(topology, newcomer).is_some())
    };
    let found = timeout(TOPOLOGY_MAX, topologies.wait_for(has)).await.ok()?.ok()?;
    found.clone()
}

fn own_group<'a>(topology: &'a Topology, newcomer: &Newcomer) -> Option<&'a ServerGroup> {
    let group = topology.groups.iter().find(|group| group.name == newcomer.group)?;
    group.nodes.iter().any(|node| node.name == newcomer.name).then_some(group)
}

/// A group that may give.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Donor {
    group: String,
    /// gRPC addresses of its nodes that serve.
    nodes: Vec<String>,
    /// Nodes that do not.
    absent: usize,
}

/// The other groups that are read, those with all their nodes there first; among these each newcomer begins elsewhere.
pub(crate) fn donors(topology: &Topology, newcomer: &Newcomer) -> Vec<Donor> {
    let gives = |node: &&evanesce_topology::Node| {
        node.state == NodeState::Serving && node.capabilities.iter().any(|word| word == CAPABILITY_PEER)
    };
    let is_read = |group: &&ServerGroup| group.name != newcomer.group && group.mode == GroupMode::ReadWrite;
    let donor = |group: &ServerGroup| {
        let serving = group.nodes.iter().filter(gives).filter_map(|node| node.grpc);
        let nodes: Vec<String> = serving.map(|address| address.to_string()).collect();
        Donor { group: group.name.clone(), absent: group.nodes.len() - nodes.len(), nodes }
    };
    let mut donors: Vec<Donor> = topology.groups.iter().filter(is_read).map(donor).collect();
    donors.retain(|donor| !donor.nodes.is_empty());
    if !donors.is_empty() {
        let turn = newcomer.name.bytes().map(usize::from).sum::<usize>() % donors.len();
        donors.rotate_left(turn);
    }
    donors.sort_by_key(|donor| donor.absent > 0);
    donors
}

/// What the ring of `group` gives the node, from one donor after the other, until one has given all it had. Whether one
/// has.
pub(crate) async fn take_from_donors(
    shared: &Arc<Shared>,
    topology: &Topology,
    group: &ServerGroup,
    newcomer: &Newcomer,
    donors: &[Donor],
) -> bool {
    for donor in donors {
        info!(group = donor.group, nodes = donor.nodes.len(), absent = donor.absent, "warming up");
        let began = shared.clock.now();
        let mut whole = donor.absent == 0;
        shared.warm.streams_begin(donor.nodes.len());
        for heat in [Heat::Read, Heat::Rest] {
            let request = StreamItemsRequest {
                cluster: topology.cluster.clone(),
                profile: Some(v1::RingProfile::from(topology.profile)),
                group: Some(v1::ServerGroup { second: None, ..v1::ServerGroup::from(group) }),
                owner: newcomer.name.clone(),
                heat: heat.into(),
                from: 0,
                // Accesses are kept to the second, by a clock that may differ from this one.
                read_since_ms: began.0.saturating_sub(1000 + CLOCK_AHEAD_MAX.as_millis() as u64),
                change: 0,
            };
            let streams = donor.nodes.iter().map(|node| take(shared, node, request.clone()));
            let taken = join_all(streams).await;
            whole &= taken.into_iter().all(|taken| taken);
        }
        if whole {
            return true;
        }
    }
    false
}

/// All that one node has to give; taken up again where it broke. Whether it came to its end.
pub(crate) async fn take(shared: &Arc<Shared>, node: &str, mut request: StreamItemsRequest) -> bool {
    let mut delays = ExponentialBuilder::default().with_jitter().with_max_times(RETRIES_MAX).build();
    loop {
        let before = request.from;
        let broken = match take_stream(shared, node, &mut request).await {
            Ok(()) => return true,
            Err(status) => status,
        };
        if request.from > before {
            // It got on: the next failure is a first one.
            delays = ExponentialBuilder::default().with_jitter().with_max_times(RETRIES_MAX).build();
        }
        let is_final =
            matches!(broken.code(), Code::FailedPrecondition | Code::InvalidArgument | Code::Unimplemented);
        // One that has no place for another stream has one later: the limit of the whole warm-up bounds the wait.
        let is_busy = matches!(broken.code(), Code::ResourceExhausted | Code::Aborted);
        let delay = if is_busy { Some(BUSY_RETRY) } else { delays.next().filter(|_| !is_final) };
        let Some(delay) = delay else {
            warn!(node, status = %broken.message(), "a peer does not give its items");
            return false;
        };
        tokio::time::sleep(delay).await;
    }
}

async fn take_stream(
    shared: &Arc<Shared>,
    node: &str,
    request: &mut StreamItemsRequest,
) -> Result<(), Status> {
    let mut client =
        PeerClient::new(channel(node).await?).max_decoding_message_size(answer_bytes_max(shared));
    let silent = |_| Status::deadline_exceeded("it sends nothing");
    let asked = timeout(SILENCE_MAX, client.stream_items(request.clone()));
    let mut items = asked.await.map_err(silent)??.into_inner();
    loop {
        let Some(message) = timeout(SILENCE_MAX, items.message()).await.map_err(silent)?? else {
            return Err(Status::unavailable("it ended in the middle"));
        };
        store(shared, &message.items, request.change == 0)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        shared.warm.stream_at(node, request.heat, message.next);
        match message.next {
            Some(next) => request.from = next,
            None => return Ok(()),
        }
    }
}

pub(crate) async fn channel(node: &str) -> Result<Channel, Status> {
    let endpoint = Endpoint::from_shared(format!("http://{node}"));
    let endpoint = endpoint.map_err(|error| Status::invalid_argument(error.to_string()))?;
    let endpoint = endpoint
        .http2_keep_alive_interval(ALIVE_EVERY)
        .keep_alive_timeout(ALIVE_EVERY)
        .keep_alive_while_idle(true);
    let connected = endpoint.connect_timeout(CONNECT_MAX).tcp_nodelay(true).connect().await;
    connected.map_err(|error| Status::unavailable(error.to_string()))
}

/// What an owner of the same group gives is no repair: it knows what was deleted, which this node cannot say of keys that
/// were never its own.
fn store(shared: &Shared, packed: &[u8], is_repair: bool) -> Result<(), UnpackError> {
    let now = shared.clock.now();
    let (mut all, mut stored, mut bytes, mut fault) = (0, 0, 0, None);
    let mut writes = Vec::with_capacity(BATCH);
    let mut items = unpack(packed).peekable();
    while items.peek().is_some() {
        for item in items.by_ref().take(BATCH) {
            match item {
                Ok(item) => {
                    all += 1;
                    bytes += (item.key.len() + item.value.len()) as u64;
                    let is_sound = (1..=KEY_BYTES_MAX).contains(&item.key.len())
                        && Version(item.attributes.version).ahead_of(now) <= CLOCK_AHEAD_MAX;
                    if is_sound {
                        writes.push(Write { repair: is_repair, ..write_packed(&item) });
                    }
                }
                Err(error) => fault = Some(error),
            }
        }
        shared.store.write_batch(&writes, now, |_, outcome| {
            stored += u64::from(matches!(outcome, WriteOutcome::Stored { .. }));
        });
        writes.clear();
    }
    shared.warm.taken(stored, all - stored, bytes);
    fault.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use evanesce_grpc::packed::{Attributes, Packer};
    use evanesce_store::{Lookup, Read, Time};

    use super::*;
    use crate::resize::tests::shared;

    #[test]
    fn sound_items_are_stored_up_to_a_fault_whatever_stands_between() {
        let shared = shared();
        let now = shared.clock.now();
        let late = Version::at(Time(now.0 + 2 * CLOCK_AHEAD_MAX.as_millis() as u64), 1).0;
        let attributes = Attributes { version: Version::at(now, 1).0, ..Attributes::default() };
        let mut packer = Packer::default();
        for at in 0..3 * BATCH as u32 {
            let key = format!("key-{at}");
            let fits = match at % 10 {
                3 => packer.push(b"", &[b"none"], &attributes),
                5 => packer.push(&[b'k'; KEY_BYTES_MAX + 1], &[b"long"], &attributes),
                7 => packer.push(key.as_bytes(), &[b"late"], &Attributes { version: late, ..attributes }),
                _ => packer.push(key.as_bytes(), &[b"value"], &Attributes { flags: at, ..attributes }),
            };
            assert!(fits);
        }
        let (items, mut packed) = (packer.items(), packer.finish());
        store(&shared, &packed, true).unwrap();
        let sound = (0..items).filter(|at| ![3, 5, 7].contains(&(at % 10))).count() as u64;
        let counts = shared.warm.counts();
        assert_eq!((counts.taken, counts.refused), (sound, items - sound));
        let flags = shared.store.read(&Read::key(b"key-190"), now, |lookup| match lookup {
            Lookup::Hit(hit) => Some(hit.flags),
            Lookup::Miss => None,
        });
        assert_eq!(flags, Some(190));
        packed.pop();
        assert_eq!(store(&shared, &packed, true), Err(UnpackError::Short));
        // The last item is the one that is cut off; the others are there already, in the same version.
        assert_eq!(shared.warm.counts().taken, 2 * sound - 1);
    }
}
