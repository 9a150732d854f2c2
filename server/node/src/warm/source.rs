//! Giving: the items that a peer owns, step by step.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use evanesce_grpc::packed::{Attributes, Packer};
use evanesce_grpc::peer::v1::peer_server::Peer;
use evanesce_grpc::peer::v1::{
    CompareRequest, CompareResponse, DigestRequest, DigestResponse, Heat, ListKeysRequest, ListKeysResponse,
    StreamItemsRequest, StreamItemsResponse, TakeItemsRequest, TakeItemsResponse,
};
use evanesce_store::{Access, Lookup, Read, Time, Value, Walked};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::MESSAGE_BYTES;
use super::rate::Rate;
use super::ring::Owned;
use crate::items::{attributes, pieces};
use crate::reconcile::Answers;
use crate::resize::receive;
use crate::shared::Shared;

/// Streams at once: several nodes may be replaced together, and each costs a thread while it walks.
const STREAMS_MAX: usize = 8;

/// Messages of what changed elsewhere that are stored at once; others wait their turn.
const TAKES_MAX: usize = 4;

/// Messages that wait for a slow peer.
const MESSAGES_AHEAD: usize = 2;

/// A step ends after this time, whatever it found: other streams, and a peer that has gone, are seen to then.
const STEP: Duration = Duration::from_millis(5);

/// After each step the stream rests for this part of it, so that at most four fifths of one core go into a stream, and a
/// busy machine, on which steps last longer, gets longer rests.
const REST_PART: u32 = 4;

/// A rest that is shorter than a timer's tick is saved up.
const REST_MIN: Duration = Duration::from_millis(2);

/// A peer that hears nothing for seconds takes the stream for broken: so often it is told where it is, however slowly items
/// may go.
const SIGN_EVERY: Duration = Duration::from_secs(1);

/// Bytes that a stream has its turn for, so that one with little to give does not wait for all others at each step.
const TURN_BYTES: u64 = 64 << 10;

/// How long a peer may take nothing: it holds a place that others could have.
const SEND_MAX: Duration = Duration::from_secs(30);

/// Values up to this are packed while the walk holds their shard's lock: a whole page of them is less than a megabyte.
const SMALL_BYTES_MAX: usize = 1 << 10;

/// Memory for a message, and a page of small items that it ends with.
const PACKED_BYTES: usize = 2 * MESSAGE_BYTES;

/// What nodes ask of this one.
pub(crate) struct PeerService {
    shared: Arc<Shared>,
    cluster: String,
    group: String,
    /// Whether the node keeps others from reading its items.
    is_guarded: bool,
    streams: Arc<Semaphore>,
    takes: Semaphore,
    /// What all streams may give together; none is as much as they can.
    rate: Option<Arc<Mutex<Rate>>>,
    answers: Answers,
}

impl PeerService {
    pub(crate) fn new(shared: Arc<Shared>, cluster: String, group: String, is_guarded: bool) -> Self {
        let answers = Answers::new(Arc::clone(&shared), cluster.clone());
        let (streams, takes) = (Arc::new(Semaphore::new(STREAMS_MAX)), Semaphore::new(TAKES_MAX));
        Self { shared, cluster, group, is_guarded, streams, takes, rate: None, answers }
    }

    /// Gives so many bytes a second at most; without a limit for `None`.
    pub(crate) fn with_rate(self, bytes_per_second: Option<NonZeroU64>) -> Self {
        Self { rate: bytes_per_second.map(|limit| Arc::new(Mutex::new(Rate::new(limit)))), ..self }
    }

    fn check_open(&self) -> Result<(), Status> {
        if self.is_guarded {
            return Err(Status::failed_precondition(
                "this node asks for passwords, and gRPC has none to give",
            ));
        }
        Ok(())
    }
}

#[tonic::async_trait]
impl Peer for PeerService {
    type StreamItemsStream = ReceiverStream<Result<StreamItemsResponse, Status>>;
    type ListKeysStream = ReceiverStream<Result<ListKeysResponse, Status>>;

    async fn digest(&self, request: Request<DigestRequest>) -> Result<Response<DigestResponse>, Status> {
        self.check_open()?;
        Ok(Response::new(self.answers.digest(request.into_inner()).await?))
    }

    async fn list_keys(
        &self,
        request: Request<ListKeysRequest>,
    ) -> Result<Response<Self::ListKeysStream>, Status> {
        self.check_open()?;
        Ok(Response::new(self.answers.list_keys(request.into_inner()).await?))
    }

    async fn compare(&self, request: Request<CompareRequest>) -> Result<Response<CompareResponse>, Status> {
        self.check_open()?;
        Ok(Response::new(self.answers.compare(request.into_inner()).await?))
    }

    async fn take_items(
        &self,
        request: Request<TakeItemsRequest>,
    ) -> Result<Response<TakeItemsResponse>, Status> {
        self.check_open()?;
        let request = request.into_inner();
        if request.cluster != self.cluster || request.group != self.group {
            let (cluster, group) = (&self.cluster, &self.group);
            return Err(Status::invalid_argument(format!(
                "this is a node of group {group} of cluster {cluster}"
            )));
        }
        let _turn = self.takes.acquire().await.map_err(|_| Status::unavailable("this node ends"))?;
        // Stored where nobody waits for the locks.
        let shared = Arc::clone(&self.shared);
        Ok(Response::new(aside(move || receive(&shared, &request)).await??))
    }

    async fn stream_items(
        &self,
        request: Request<StreamItemsRequest>,
    ) -> Result<Response<Self::StreamItemsStream>, Status> {
        self.check_open()?;
        let change = request.get_ref().change;
        if change != 0 && !self.shared.resize.is_in_force(change) {
            return Err(Status::aborted("this node has not heard of the next ring yet"));
        }
        if !self.shared.gives.load(Ordering::Acquire) {
            return Err(Status::failed_precondition("this node is being warmed up itself"));
        }
        let request = request.into_inner();
        if request.cluster != self.cluster {
            return Err(Status::invalid_argument(format!("this is a node of cluster {}", self.cluster)));
        }
        let permit = Arc::clone(&self.streams).try_acquire_owned();
        let permit =
            permit.map_err(|_| Status::resource_exhausted("as many streams as this node bears are open"))?;
        let (owner, is_last) = (request.owner.clone(), request.heat() == Heat::Rest && change != 0);
        // A large ring takes a moment to build.
        let wanted = aside(move || Wanted::new(request)).await??;
        let (sender, receiver) = mpsc::channel(MESSAGES_AHEAD);
        let shared = Arc::clone(&self.shared);
        let (wanted, rate) = (Arc::new(wanted), self.rate.clone());
        let giving = Giving { shared, wanted, sender, rate, unbooked: 0, rest: Rest::default() };
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            let _permit = permit;
            // Whoever asked knows by the end of the stream.
            if giving.give().await.is_ok() && is_last {
                shared.resize.gave(change, &owner);
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// Does work that takes a while where nobody waits for it.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Status> {
    spawn_blocking(work).await.map_err(|_| Status::unavailable("this node ends"))
}

/// What a peer asked for.
struct Wanted {
    owned: Owned,
    heat: Heat,
    read_since: Time,
    from: u64,
}

impl Wanted {
    fn new(request: StreamItemsRequest) -> Result<Self, Status> {
        let heat = request.heat();
        let StreamItemsRequest { cluster, profile, group, owner, from, read_since_ms, .. } = request;
        if heat == Heat::Unspecified {
            return Err(Status::invalid_argument("the heat is missing"));
        }
        let owned = Owned::new(cluster, profile, group, &owner)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        Ok(Self { owned, heat, read_since: Time(read_since_ms), from })
    }

    /// Told by an item's first bytes: most of those that are given later cost no more.
    fn is_used(&self, access: Access) -> bool {
        match self.heat {
            Heat::Read => access.hit_before,
            _ => !access.hit_before || access.last >= self.read_since,
        }
    }

    fn is(&self, walked: &Walked<'_>) -> bool {
        // A stale item is about to be replaced, and only its node knows by whom.
        !walked.hit.stale && self.owned.has(walked.key)
    }
}

/// A stream under way.
struct Giving {
    shared: Arc<Shared>,
    wanted: Arc<Wanted>,
    sender: mpsc::Sender<Result<StreamItemsResponse, Status>>,
    rate: Option<Arc<Mutex<Rate>>>,
    /// Bytes for which it has had no turn yet.
    unbooked: u64,
    rest: Rest,
}

/// One step's find, and where the next one begins.
struct Step {
    small: Packer,
    /// Keys of larger items, to be read when their turn comes: a page of the walk may have hundreds.
    large: Vec<Bytes>,
    next: Option<u64>,
    took: Duration,
}

impl Giving {
    /// To the end, or until the peer has gone.
    async fn give(mut self) -> Result<(), Status> {
        let mut from = Some(self.wanted.from);
        while let Some(at) = from {
            let (shared, wanted) = (Arc::clone(&self.shared), Arc::clone(&self.wanted));
            let Step { small, large, next, took } = aside(move || step(&shared, &wanted, at)).await?;
            let mut large = large.into_iter();
            self.rest.owe(took);
            // Of a step that is given in part all is given anew.
            if !small.is_empty() || large.len() == 0 {
                self.send(small, at, if large.len() == 0 { next } else { Some(at) }).await?;
            }
            while large.len() > 0 {
                let shared = Arc::clone(&self.shared);
                let part = aside(move || {
                    let part = larger(&shared, &mut large);
                    (part, large)
                });
                let ((part, took), left) = part.await?;
                large = left;
                self.rest.owe(took);
                self.send(part, at, if large.len() == 0 { next } else { Some(at) }).await?;
            }
            from = next;
        }
        Ok(())
    }

    /// Of what the peer has, `at` is the end, and of all with this part `next` is.
    async fn send(&mut self, part: Packer, at: u64, next: Option<u64>) -> Result<(), Status> {
        let bytes = part.payload();
        self.unbooked += bytes;
        if let Some(rate) = self.rate.as_ref().filter(|_| self.unbooked >= TURN_BYTES) {
            let turn = rate.lock().take(std::mem::take(&mut self.unbooked), Instant::now());
            self.wait(turn, at).await?;
        }
        self.shared.warm.given(part.items(), bytes);
        self.hand_over(part, next).await?;
        // Who has the last one has all, and goes.
        if next.is_none() {
            return Ok(());
        }
        tokio::select! {
            () = self.sender.closed() => Err(Status::cancelled("the peer has gone")),
            () = self.rest.take() => Ok(()),
        }
    }

    async fn hand_over(&mut self, part: Packer, next: Option<u64>) -> Result<(), Status> {
        let began = Instant::now();
        let message = StreamItemsResponse { items: Bytes::from(part.finish()), next };
        let sent = timeout(SEND_MAX, self.sender.send(Ok(message))).await;
        if !matches!(sent, Ok(Ok(()))) {
            return Err(Status::cancelled("the peer takes nothing"));
        }
        // Waiting for the peer is rest, too.
        self.rest.had(began.elapsed());
        Ok(())
    }

    /// Until it is this stream's turn; meanwhile the peer is told that the stream stands where it stood.
    async fn wait(&mut self, turn: Instant, at: u64) -> Result<(), Status> {
        loop {
            let began = Instant::now();
            if began >= turn {
                return Ok(());
            }
            tokio::select! {
                () = self.sender.closed() => return Err(Status::cancelled("the peer has gone")),
                () = sleep_until(turn.min(began + SIGN_EVERY)) => self.rest.had(began.elapsed()),
            }
            if Instant::now() < turn {
                self.hand_over(Packer::default(), Some(at)).await?;
            }
        }
    }
}

/// What a stream owes those whose node this is.
#[derive(Debug, Default)]
struct Rest {
    owed: Duration,
}

impl Rest {
    /// Work that `took` so long.
    fn owe(&mut self, took: Duration) {
        self.owed += took / REST_PART;
    }

    fn had(&mut self, rest: Duration) {
        self.owed = self.owed.saturating_sub(rest);
    }

    async fn take(&mut self) {
        if self.owed >= REST_MIN {
            sleep(std::mem::take(&mut self.owed)).await;
        }
    }
}

fn step(shared: &Shared, wanted: &Wanted, from: u64) -> Step {
    let began = Instant::now();
    let now = shared.clock.now();
    let small = Packer::with_capacity(PACKED_BYTES);
    let mut step = Step { small, large: Vec::new(), next: Some(from), took: Duration::ZERO };
    let mut bytes = 0;
    while let Some(at) = step.next {
        let is_used = |access| wanted.is_used(access);
        step.next = shared.store.walk_used(at, now, is_used, |walked| {
            if wanted.is(walked) {
                bytes += walked.key.len() + walked.hit.value.len();
                match &walked.hit.value {
                    Value::Inline(value) if value.len() <= SMALL_BYTES_MAX => {
                        pack(&mut step.small, walked.key, &[value], &attributes(&walked.hit));
                    }
                    _ => step.large.push(Bytes::copy_from_slice(walked.key)),
                }
            }
        });
        step.took = began.elapsed();
        if bytes >= MESSAGE_BYTES || step.took >= STEP {
            break;
        }
    }
    step
}

/// The store takes no item that does not fit.
fn pack<P: AsRef<[u8]>>(part: &mut Packer, key: &[u8], value: &[P], attributes: &Attributes) {
    let fits = part.push(key, value, attributes);
    debug_assert!(fits, "an item beyond the limits of the store");
}

/// Items of any size as they are now, as many as one message takes; and how long that took.
fn larger(shared: &Shared, keys: &mut impl Iterator<Item = Bytes>) -> (Packer, Duration) {
    let began = Instant::now();
    let mut part = Packer::default();
    while part.payload() < MESSAGE_BYTES as u64 {
        let Some(key) = keys.next() else { break };
        // One that is gone meanwhile is no loss.
        if let Some((pieces, attributes)) = whole(shared, &key) {
            pack(&mut part, &key, &pieces, &attributes);
        }
    }
    (part, began.elapsed())
}

/// An item as it is now; its pieces are joined outside the shard's lock.
fn whole(shared: &Shared, key: &[u8]) -> Option<(Vec<Bytes>, Attributes)> {
    let read = Read { counts_as_access: false, ..Read::key(key) };
    shared.store.read(&read, shared.clock.now(), |lookup| match lookup {
        Lookup::Hit(hit) if !hit.stale => Some((pieces(&hit.value), attributes(&hit))),
        Lookup::Hit(_) | Lookup::Miss => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_rests_for_what_its_steps_cost_and_waiting_is_rest() {
        let ms = Duration::from_millis;
        let mut rest = Rest::default();
        rest.owe(ms(12));
        rest.owe(ms(8));
        assert_eq!(rest.owed, ms(5));
        rest.had(ms(3));
        assert_eq!(rest.owed, ms(2));
        rest.had(ms(3));
        assert_eq!(rest.owed, ms(0));
    }
}
