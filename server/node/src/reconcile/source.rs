//! Answering: digests, keys, and what is known of keys.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use evanesce_grpc::peer::v1::{
    CompareRequest, CompareResponse, DigestRequest, DigestResponse, ListKeysRequest, ListKeysResponse,
};
use evanesce_store::Version;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::judge::judge;
use super::scan::{Haste, Scan};
use super::scope::{Scope, Wanted, sums};
use crate::shared::Shared;
use crate::warm::MESSAGE_BYTES;

/// Walks for others at once: each costs a part of a core, and whoever finds no place asks again in his next round.
const WALKS_MAX: usize = 4;

/// Walks among them for such as nobody waits for: the other places are kept for nodes that missed something.
const IDLE_WALKS_MAX: usize = 2;

/// Questions about keys that are looked into at once; others wait their turn. Each holds a message and its answer.
const QUESTIONS_MAX: usize = 8;

/// Keys that one question may be about: their answer is bounded by its bytes.
pub(super) const ENTRIES_MAX: usize = 4096;

/// Messages that wait for a slow peer.
const MESSAGES_AHEAD: usize = 2;

/// How long a peer may take nothing: it holds a place that others could have.
const SEND_MAX: Duration = Duration::from_secs(30);

/// What other nodes are answered.
pub(crate) struct Answers {
    shared: Arc<Shared>,
    cluster: String,
    walks: Arc<Semaphore>,
    idle_walks: Arc<Semaphore>,
    questions: Semaphore,
}

/// A place to walk, and one among those that nobody waits for.
type Places = (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>);

impl Answers {
    pub(crate) fn new(shared: Arc<Shared>, cluster: String) -> Self {
        let [walks, idle_walks] = [WALKS_MAX, IDLE_WALKS_MAX].map(|places| Arc::new(Semaphore::new(places)));
        Self { shared, cluster, walks, idle_walks, questions: Semaphore::new(QUESTIONS_MAX) }
    }

    /// The digests of what both nodes are to hold.
    pub(crate) async fn digest(&self, request: DigestRequest) -> Result<DigestResponse, Status> {
        let haste = haste(request.at_once);
        let sums = sums(request.slices)?;
        let _places = self.places(request.at_once)?;
        let scope = self.scope(request.pair).await?;
        let mut scan = Scan::new(&self.shared, haste);
        let mut found = sums;
        while !scan.is_over() {
            let scope = Arc::clone(&scope);
            let visit = move |sums: &mut evanesce_store::Sums, walked: &evanesce_store::Walked<'_>| {
                if scope.has(walked.key) {
                    sums.add(walked.key, &walked.hit);
                }
            };
            found = scan.step(found, visit, |_| false).await?;
        }
        let digests = found.digests();
        Ok(DigestResponse {
            items: digests.iter().map(|digest| u32::try_from(digest.items).unwrap_or(u32::MAX)).collect(),
            sums: digests.iter().map(|digest| digest.sum).collect(),
            settled: self.vouches(),
        })
    }

    /// The keys of some slices.
    pub(crate) async fn list_keys(
        &self,
        request: ListKeysRequest,
    ) -> Result<ReceiverStream<Result<ListKeysResponse, Status>>, Status> {
        let wanted = Arc::new(Wanted::new(sums(request.slices)?, &request.wanted));
        let places = self.places(request.at_once)?;
        let scope = self.scope(request.pair).await?;
        let (sender, receiver) = mpsc::channel(MESSAGES_AHEAD);
        let after = Version(request.after_version);
        let listing = Listing { scope, wanted, after, sender, _places: places };
        let scan = Scan::new(&self.shared, haste(request.at_once));
        // Whoever asked knows by the end of the stream.
        tokio::spawn(async move { drop(listing.list(scan).await) });
        Ok(ReceiverStream::new(receiver))
    }

    /// What is known of keys.
    pub(crate) async fn compare(&self, request: CompareRequest) -> Result<CompareResponse, Status> {
        self.check(&request.cluster)?;
        if request.entries.len() > ENTRIES_MAX {
            return Err(Status::invalid_argument(format!("ask about at most {ENTRIES_MAX} keys")));
        }
        let _turn = self.questions.acquire().await.map_err(|_| ending())?;
        let settled = self.vouches();
        let (shared, hears_since) = (Arc::clone(&self.shared), self.shared.standing.hears_since());
        let judged = spawn_blocking(move || {
            let answer = judge(&shared.store, &request.entries, hears_since, shared.clock.now());
            // After the look: what it was to hold and holds no longer was dropped without a trace.
            let owns_all = request.entries.iter().all(|entry| shared.resize.owns(&entry.key));
            (answer, owns_all)
        });
        let (answer, owns_all) = judged.await.map_err(|_| ending())?;
        // It may have been away while it looked.
        Ok(CompareResponse { settled: settled && owns_all && self.vouches(), ..answer })
    }

    async fn scope(&self, pair: Option<evanesce_grpc::peer::v1::Pair>) -> Result<Arc<Scope>, Status> {
        let pair = pair.ok_or_else(|| Status::invalid_argument("the pair is missing"))?;
        self.check(&pair.cluster)?;
        // A large ring takes a moment to build.
        let scope = spawn_blocking(move || Scope::new(pair)).await.map_err(|_| ending())?;
        let scope = scope.map_err(|error| Status::invalid_argument(error.to_string()))?;
        // By another ring this node would be taken to lack what it is not to have, or no longer.
        if !self.shared.resize.has_ring(scope.giver_group()) {
            return Err(Status::failed_precondition("this node knows another ring of its group: ask again"));
        }
        Ok(Arc::new(scope))
    }

    fn check(&self, cluster: &str) -> Result<(), Status> {
        if cluster == self.cluster {
            return Ok(());
        }
        Err(Status::invalid_argument(format!("this is a node of cluster {}", self.cluster)))
    }

    fn places(&self, at_once: bool) -> Result<Places, Status> {
        let place = |places: &Arc<Semaphore>| {
            let place = Arc::clone(places).try_acquire_owned();
            place.map_err(|_| Status::resource_exhausted("as many walks as this node bears are under way"))
        };
        let idle = if at_once { None } else { Some(place(&self.idle_walks)?) };
        Ok((place(&self.walks)?, idle))
    }

    /// Looked at anew: this may be the first thing that the process does after it was frozen.
    fn vouches(&self) -> bool {
        self.shared.note_running();
        self.shared.standing.vouches(self.shared.clock.now())
    }
}

fn haste(at_once: bool) -> Haste {
    if at_once { Haste::Some } else { Haste::None }
}

fn ending() -> Status {
    Status::unavailable("this node ends")
}

/// Keys on their way to a peer.
struct Listing {
    scope: Arc<Scope>,
    wanted: Arc<Wanted>,
    after: Version,
    sender: mpsc::Sender<Result<ListKeysResponse, Status>>,
    _places: Places,
}

/// Keys of one step, and their bytes.
type Keys = (Vec<Bytes>, usize);

impl Listing {
    async fn list(self, mut scan: Scan) -> Result<(), Status> {
        while !scan.is_over() {
            let (scope, wanted, after) = (Arc::clone(&self.scope), Arc::clone(&self.wanted), self.after);
            let visit = move |(keys, bytes): &mut Keys, walked: &evanesce_store::Walked<'_>| {
                if walked.hit.version > after && wanted.has(walked.key) && scope.has(walked.key) {
                    keys.push(Bytes::copy_from_slice(walked.key));
                    *bytes += walked.key.len();
                }
            };
            let found = scan.step(Keys::default(), visit, |(_, bytes)| *bytes >= MESSAGE_BYTES).await?;
            let sent = timeout(SEND_MAX, self.sender.send(Ok(ListKeysResponse { keys: found.0 }))).await;
            if !matches!(sent, Ok(Ok(()))) {
                return Err(Status::cancelled("the peer takes nothing"));
            }
        }
        Ok(())
    }
}
