//! The gateway behind its front: batches in, the cluster's answers out.

use std::io;
use std::ops::Deref;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use evanesce_client::{Client, Namespace};
use evanesce_front::{Flow, FrontStats, Output, Service, StatsHandle};
use evanesce_persister::{Persister, Route, Tier, TierError};
use evanesce_wire::request::{Get, Request};
use futures_util::future::join_all;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::answer;
use crate::clusters::Namespaces;
use crate::counts::{Counts, sums};
use crate::order::run_length;

/// Keys asked for at once by one connection: a bound on what its answers hold before they are written.
pub(crate) const RUN_KEYS_MAX: usize = 64;

/// Keys under way at once in the whole gateway: with the largest default value each, 1 GiB. Others wait their turn.
const KEYS_UNDER_WAY_MAX: usize = 1024;

/// How long requests wait for their turn before they are refused: a cluster that takes longer for those before them has too much
/// to do.
const TURN_WAIT_MAX: Duration = Duration::from_secs(1);

/// Keys beside them that wait for a backing store: twice as many as may wait for one, for many may want the same key. More keep their
/// place among those under way.
const KEYS_WAITING_MAX: usize = 1024;

/// Longer than the cluster takes: a key that is not answered by then waits for its store, and others get its place.
const STORE_WAIT_MIN: Duration = Duration::from_millis(10);

/// What all workers of a gateway share.
pub(crate) struct Shared {
    pub(crate) client: Client,
    /// All keys of the cluster, as they are.
    pub(crate) keys: Namespace,
    /// One set for each worker.
    pub(crate) counts: Vec<Counts>,
    pub(crate) front: StatsHandle,
    /// What `config get cluster` answers.
    pub(crate) configuration: Option<String>,
    /// Whether `flush_all` empties the cluster.
    pub(crate) flush_command: bool,
    /// Namespaces that live elsewhere or have a backing store, if any may.
    pub(crate) namespaces: Option<Arc<Namespaces>>,
    under_way: Semaphore,
    waiting: Semaphore,
    started: Instant,
}

impl Shared {
    pub(crate) fn new(
        client: Client,
        threads: usize,
        front: StatsHandle,
        configuration: Option<String>,
    ) -> Self {
        Self {
            keys: client.raw().clone(),
            client,
            counts: (0..threads).map(|_| Counts::default()).collect(),
            front,
            configuration,
            flush_command: false,
            namespaces: None,
            under_way: Semaphore::new(KEYS_UNDER_WAY_MAX),
            waiting: Semaphore::new(KEYS_WAITING_MAX),
            started: Instant::now(),
        }
    }

    pub(crate) fn persister(&self) -> Option<&Persister> {
        self.namespaces.as_ref().map(|namespaces| &namespaces.persister)
    }

    /// What `stats` and the admin API tell.
    pub(crate) fn stats(&self) -> Vec<(String, String)> {
        let front = self.front.stats();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut stats = vec![
            ("pid".to_owned(), std::process::id().to_string()),
            ("uptime".to_owned(), self.started.elapsed().as_secs().to_string()),
            ("time".to_owned(), now.as_secs().to_string()),
            ("pointer_size".to_owned(), usize::BITS.to_string()),
            ("version".to_owned(), evanesce_wire::MEMCACHED_VERSION.to_owned()),
            ("threads".to_owned(), front.threads.to_string()),
        ];
        let connections = [
            ("curr_connections", front.curr_connections),
            ("total_connections", front.total_connections),
            ("rejected_connections", front.rejected_connections),
            ("auth_cmds", front.auth_cmds),
            ("auth_errors", front.auth_errors),
            ("bytes_read", front.bytes_read),
            ("bytes_written", front.bytes_written),
        ];
        let numbers = connections.into_iter().chain(sums(&self.counts));
        let numbers = numbers.chain(front.protection_since(&FrontStats::default()));
        stats.extend(numbers.map(|(name, number)| (name.to_owned(), number.to_string())));
        let epoch = self.client.topology().map_or(0, |topology| topology.epoch.0);
        stats.push(("evanesce_epoch".to_owned(), epoch.to_string()));
        stats.push(("evanesce_version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()));
        stats
    }
}

/// One worker's service.
pub(crate) struct GatewayService {
    shared: Arc<Shared>,
    worker: usize,
    /// All keys of the own cluster, read over connections of this worker's own.
    keys: Namespace,
}

impl GatewayService {
    pub(crate) fn new(shared: &Arc<Shared>, worker: usize) -> Self {
        Self { shared: Arc::clone(shared), worker, keys: shared.keys.clone().in_lane(worker) }
    }
}

/// What answering a request needs.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) counts: &'a Counts,
    /// All keys of the own cluster.
    keys: &'a Namespace,
    /// How many of the places of those under way the present run holds.
    places: &'a AtomicUsize,
}

impl<'a> Context<'a> {
    /// Awaits what may wait for a backing store. While it does, hits of others get its place.
    pub(crate) async fn beside_others<T>(&self, work: impl Future<Output = T>) -> T {
        self.many_beside_others(1, work).await
    }

    /// The same for what asks for so many keys, and has as many places.
    pub(crate) async fn many_beside_others<T>(&self, keys: usize, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        if let Ok(done) = timeout(STORE_WAIT_MIN, work.as_mut()).await {
            return done;
        }
        let _waits = self.shared.waiting.try_acquire_many(keys as u32).inspect(|_| {
            let held = self.places.try_update(Relaxed, Relaxed, |held| held.checked_sub(keys));
            self.shared.under_way.add_permits(if held.is_ok() { keys } else { 0 });
        });
        work.await
    }

    /// Where a key is served. An error when its cluster was not reached yet.
    pub(crate) fn place(&self, key: &[u8]) -> Result<Place<'a>, TierError> {
        let route = self.shared.persister().map_or(Route::Own, |persister| persister.route(key));
        match route {
            Route::Own => Ok(Place::Cluster(Keys::Own(self.keys))),
            Route::Other(client) => Ok(Place::Cluster(Keys::Other(client))),
            Route::Tier(tier) => Ok(Place::Tier(tier)),
            Route::Nowhere(why) => Err(why),
        }
    }
}

/// Where a key is served.
pub(crate) enum Place<'a> {
    /// Where it has a store.
    Tier(Arc<Tier>),
    /// Where a cluster is all there is.
    Cluster(Keys<'a>),
}

impl Place<'_> {
    /// The cluster, whether there is a store behind it or not.
    pub(crate) fn keys(&self) -> &Namespace {
        match self {
            Self::Tier(tier) => tier.keys(),
            Self::Cluster(keys) => keys,
        }
    }
}

/// All keys of a cluster, as they are. While one is held, its client is not closed.
pub(crate) enum Keys<'a> {
    Own(&'a Namespace),
    Other(Arc<Client>),
}

impl Deref for Keys<'_> {
    type Target = Namespace;

    fn deref(&self) -> &Namespace {
        match self {
            Self::Own(keys) => keys,
            Self::Other(client) => client.raw(),
        }
    }
}

impl Service for GatewayService {
    async fn call(&self, batch: &[Request<'_>], out: &mut Output<'_>) -> io::Result<Flow> {
        let places = AtomicUsize::default();
        let counts = &self.shared.counts[self.worker];
        let context = Context { shared: &self.shared, counts, keys: &self.keys, places: &places };
        let mut rest = batch;
        while let Some(first) = rest.first() {
            if let Request::Get(get) = first
                && get.keys.iter().nth(RUN_KEYS_MAX).is_some()
            {
                // Boxed, because few connections ever need it and each has room for this future.
                Box::pin(long_retrieval(context, get, out)).await?;
                rest = &rest[1..];
                continue;
            }
            let (run, after) = rest.split_at(run_length(rest));
            rest = after;
            together(context, run, out).await;
            if out.is_full() {
                out.flush().await?;
            }
        }
        Ok(Flow::Continue)
    }
}

/// Places of a run, until it is answered.
struct UnderWay<'a>(Context<'a>);

impl<'a> UnderWay<'a> {
    /// `None` when there were none for too long.
    async fn take(context: Context<'a>, keys: usize) -> Option<Self> {
        let under_way = &context.shared.under_way;
        let places = match under_way.try_acquire_many(keys as u32) {
            Ok(places) => places,
            // Never closed.
            Err(_) => timeout(TURN_WAIT_MAX, under_way.acquire_many(keys as u32)).await.ok()?.ok()?,
        };
        places.forget();
        context.places.store(keys, Relaxed);
        Some(Self(context))
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.shared.under_way.add_permits(self.0.places.swap(0, Relaxed));
    }
}

/// Answers the requests of a run at the same time.
async fn together(context: Context<'_>, run: &[Request<'_>], out: &mut Output<'_>) {
    let keys = run.iter().map(answer::keys).sum::<usize>().min(RUN_KEYS_MAX);
    let Some(_under_way) = UnderWay::take(context, keys).await else {
        run.iter().for_each(|request| answer::busy(context, request).write(out));
        return;
    };
    if answer::get::are_plain(context, run) {
        return answer::get::plain(context, context.keys, run, out).await;
    }
    // Several reads of a key are executed in their order on one connection only: that which all share.
    let keys = if run.len() > 1 { &context.shared.keys } else { context.keys };
    let context = Context { keys, ..context };
    for answer in join_all(run.iter().map(|request| answer::answer(context, request))).await {
        answer.write(out);
    }
}

/// Answers a retrieval of more than [`RUN_KEYS_MAX`] keys, a part at a time, with back-pressure between parts.
async fn long_retrieval(context: Context<'_>, get: &Get<'_>, out: &mut Output<'_>) -> io::Result<()> {
    let mut keys = get.keys.iter().peekable();
    while keys.peek().is_some() {
        let part: Vec<&[u8]> = keys.by_ref().take(RUN_KEYS_MAX).collect();
        let Some(under_way) = UnderWay::take(context, part.len()).await else {
            answer::busy(context, &Request::Get(get.clone())).write(out);
            return Ok(());
        };
        let (answer, failed) = answer::get::part(context, get, &part).await;
        drop(under_way);
        answer.write(out);
        if failed {
            return Ok(());
        }
        if out.is_full() {
            out.flush().await?;
        }
    }
    evanesce_wire::encode::end(out.buf());
    Ok(())
}
