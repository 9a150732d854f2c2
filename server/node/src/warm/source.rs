//! Giving: the items that a peer owns, step by step.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use evanesce_grpc::peer::v1::peer_server::Peer;
use evanesce_grpc::peer::v1::{Heat, Item, StreamItemsRequest, StreamItemsResponse};
use evanesce_store::{Expiry, Hit, Time, Value, Walked};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::MESSAGE_BYTES;
use super::ring::Owned;
use crate::shared::Shared;

/// Streams at once: several nodes may be replaced together, and each costs a thread while it walks.
const STREAMS_MAX: usize = 8;

/// Messages that wait for a slow peer.
const MESSAGES_AHEAD: usize = 2;

/// A step ends after this time, whatever it found: other streams, and a peer that has gone, are seen to then.
const STEP: Duration = Duration::from_millis(5);

/// After each step the stream rests for this part of it, so that at most two thirds of one core go into a stream, and a
/// busy machine, on which steps last longer, gets longer rests.
const REST_PART: u32 = 2;

/// A rest that is shorter than a timer's tick is saved up.
const REST_MIN: Duration = Duration::from_millis(2);

/// What nodes ask of this one.
pub(crate) struct PeerService {
    shared: Arc<Shared>,
    /// Whether the node keeps others from reading its items.
    is_guarded: bool,
    streams: Arc<Semaphore>,
}

impl PeerService {
    pub(crate) fn new(shared: Arc<Shared>, is_guarded: bool) -> Self {
        Self { shared, is_guarded, streams: Arc::new(Semaphore::new(STREAMS_MAX)) }
    }
}

#[tonic::async_trait]
impl Peer for PeerService {
    type StreamItemsStream = ReceiverStream<Result<StreamItemsResponse, Status>>;

    async fn stream_items(
        &self,
        request: Request<StreamItemsRequest>,
    ) -> Result<Response<Self::StreamItemsStream>, Status> {
        if self.is_guarded {
            return Err(Status::failed_precondition(
                "this node asks for passwords, and gRPC has none to give",
            ));
        }
        if !self.shared.gives.load(Ordering::Acquire) {
            return Err(Status::failed_precondition("this node is being warmed up itself"));
        }
        let wanted = Wanted::new(request.into_inner())?;
        let permit = Arc::clone(&self.streams).try_acquire_owned();
        let permit =
            permit.map_err(|_| Status::resource_exhausted("as many streams as this node bears are open"))?;
        let (sender, receiver) = mpsc::channel(MESSAGES_AHEAD);
        tokio::spawn(give(Arc::clone(&self.shared), wanted, sender, permit));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// What a peer asked for.
struct Wanted {
    owned: Owned,
    heat: Heat,
    read_since: Time,
    from: u64,
    bytes_per_second: u64,
}

impl Wanted {
    fn new(request: StreamItemsRequest) -> Result<Self, Status> {
        let heat = request.heat();
        let StreamItemsRequest {
            cluster, profile, group, owner, from, bytes_per_second, read_since_ms, ..
        } = request;
        if heat == Heat::Unspecified {
            return Err(Status::invalid_argument("the heat is missing"));
        }
        let owned = Owned::new(cluster, profile, group, &owner)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        Ok(Self { owned, heat, read_since: Time(read_since_ms), from, bytes_per_second })
    }

    fn is(&self, walked: &Walked<'_>) -> bool {
        let Hit { hit_before, last_access, stale, .. } = walked.hit;
        let is_hot = match self.heat {
            Heat::Read => hit_before,
            _ => !hit_before || last_access >= self.read_since,
        };
        // A stale item is about to be replaced, and only its node knows by whom.
        is_hot && !stale && self.owned.has(walked.key)
    }
}

/// One step's find.
struct Step {
    items: Vec<Item>,
    bytes: u64,
    next: Option<u64>,
    took: Duration,
}

async fn give(
    shared: Arc<Shared>,
    wanted: Wanted,
    sender: mpsc::Sender<Result<StreamItemsResponse, Status>>,
    _permit: OwnedSemaphorePermit,
) {
    let wanted = Arc::new(wanted);
    let mut from = Some(wanted.from);
    let mut owed = Duration::ZERO;
    while let Some(at) = from {
        let (for_step, wanted_too) = (Arc::clone(&shared), Arc::clone(&wanted));
        let Ok(step) = spawn_blocking(move || step(&for_step, &wanted_too, at)).await else { return };
        from = step.next;
        shared.warm.given(step.items.len() as u64, step.bytes);
        let message = StreamItemsResponse { items: step.items, next: step.next };
        let began = Instant::now();
        if sender.send(Ok(message)).await.is_err() {
            return;
        }
        // Waiting for the peer is rest, too.
        owed = (owed + rest(step.took, step.bytes, wanted.bytes_per_second)).saturating_sub(began.elapsed());
        if owed >= REST_MIN {
            sleep(owed).await;
            owed = Duration::ZERO;
        }
    }
}

/// How long to rest after a step.
fn rest(took: Duration, bytes: u64, bytes_per_second: u64) -> Duration {
    let spared = took / REST_PART;
    if bytes_per_second == 0 {
        return spared;
    }
    let due = Duration::from_secs_f64(bytes as f64 / bytes_per_second as f64);
    spared.max(due.saturating_sub(took))
}

fn step(shared: &Shared, wanted: &Wanted, from: u64) -> Step {
    let began = Instant::now();
    let now = shared.clock.now();
    let mut step = Step { items: Vec::new(), bytes: 0, next: Some(from), took: Duration::ZERO };
    while let Some(at) = step.next {
        step.next = shared.store.walk(at, now, |walked| {
            if wanted.is(walked) {
                let item = item(walked);
                step.bytes += (item.key.len() + item.value.len()) as u64;
                step.items.push(item);
            }
        });
        step.took = began.elapsed();
        if step.bytes >= MESSAGE_BYTES as u64 || step.took >= STEP {
            break;
        }
    }
    step
}

fn item(walked: &Walked<'_>) -> Item {
    let Hit { value, flags, cas, version, expiry, .. } = &walked.hit;
    let value = match value {
        Value::Inline(value) => Bytes::copy_from_slice(value),
        Value::Pinned(pieces) => match &pieces[..] {
            [piece] => piece.clone(),
            pieces => Bytes::from(pieces.concat()),
        },
    };
    Item {
        key: Bytes::copy_from_slice(walked.key),
        value,
        flags: *flags,
        expires_ms: match expiry {
            Expiry::Never => 0,
            Expiry::At(Time(ms)) => *ms,
        },
        version: version.0,
        cas: (*cas != version.0).then_some(*cas),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_rests_for_what_its_steps_cost_or_its_bytes_are_due() {
        let ms = Duration::from_millis;
        assert_eq!(rest(ms(4), 1 << 20, 0), ms(2));
        assert_eq!(rest(ms(4), 1_000_000, 10_000_000), ms(96));
        assert_eq!(rest(ms(4), 10_000, 10_000_000), ms(2));
    }
}
