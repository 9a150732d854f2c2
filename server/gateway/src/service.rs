//! The gateway behind its front: batches in, the cluster's answers out.

use std::collections::BTreeMap;
use std::io;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use evanesce_client::{Client, Namespace};
use evanesce_front::{Flow, FrontStats, Output, Service, StatsHandle};
use evanesce_persister::{Persister, Route, Tier, TierError};
use evanesce_wire::request::{Get, Request};
use futures_util::future::join_all;
use parking_lot::Mutex;

use crate::answer::get::PlainKeys;
use crate::answer::{self, Answer};
use crate::clusters::Namespaces;
use crate::counts::{Counts, sums};
use crate::order::{keys_of, run_length};
use crate::places::{Held, OfCluster, Places, PlacesOfOthers, in_others};

/// Keys asked for at once by one connection: a bound on what its answers hold before they are written.
pub(crate) const RUN_KEYS_MAX: usize = 64;

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
    /// Clusters whose gauge was set, and what it was set to. Lock order: alone.
    pub(crate) clusters_told: Mutex<BTreeMap<String, bool>>,
    /// Places of keys under way in the own cluster.
    places: Places,
    places_of_others: PlacesOfOthers,
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
            clusters_told: Mutex::default(),
            places: Places::default(),
            places_of_others: PlacesOfOthers::default(),
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
    /// How many of the own cluster's places the present run holds.
    places: &'a AtomicUsize,
    /// Those that the present request holds in other clusters.
    others: &'a [Held],
}

impl<'a> Context<'a> {
    /// Awaits what may wait for the store of a tier. While it does, hits of others get its place.
    pub(crate) async fn beside_others<T>(&self, tier: &Tier, work: impl Future<Output = T>) -> T {
        self.many_beside_others(tier, 1, work).await
    }

    /// The same for what asks for so many keys, and has as many places.
    pub(crate) async fn many_beside_others<T>(
        &self,
        tier: &Tier,
        keys: usize,
        work: impl Future<Output = T>,
    ) -> T {
        let is_home = |held: &&Held| tier.other_cluster().is_some_and(|home| Arc::ptr_eq(home, &held.client));
        let (places, held) = match self.others.iter().find(is_home) {
            Some(held) => (&*held.places, &held.keys),
            None => (&self.shared.places, self.places),
        };
        places.beside_others(held, keys, work).await
    }

    /// How many of these keys live in which other cluster.
    fn in_others<'k>(&self, keys: impl IntoIterator<Item = &'k [u8]>) -> Vec<OfCluster> {
        in_others(self.shared.persister(), keys)
    }

    /// How many places a run takes in the own cluster.
    fn places_of(&self, run: &[Request<'_>]) -> usize {
        let others = self.in_others(run.iter().flat_map(keys_of));
        let elsewhere: usize = others.iter().map(|other| other.keys).sum();
        run.iter().map(answer::keys).sum::<usize>().min(RUN_KEYS_MAX).saturating_sub(elsewhere)
    }

    /// Whether all of these keys are served by the own cluster alone.
    pub(crate) fn are_own(&self, keys: &[&[u8]]) -> bool {
        let Some(persister) = self.shared.persister() else { return true };
        keys.iter().all(|key| matches!(persister.route(key), Route::Own))
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
        let context =
            Context { shared: &self.shared, counts, keys: &self.keys, places: &places, others: &[] };
        let mut rest = batch;
        while let Some(first) = rest.first() {
            if let Request::Get(get) = first
                && get.keys.are_more_than(RUN_KEYS_MAX)
            {
                // Boxed, because few connections ever need it and each has room for this future.
                Box::pin(long_retrieval(context, get, out)).await?;
                rest = &rest[1..];
                continue;
            }
            let (length, plain) = match answer::get::plain_run(rest) {
                Some((length, keys)) => (length, Some(keys)),
                None => (run_length(rest), None),
            };
            let (run, after) = rest.split_at(length);
            rest = after;
            together(context, (run, plain), out).await;
            if out.is_full() {
                out.flush().await?;
            }
        }
        Ok(Flow::Continue)
    }
}

/// Places of a run in the own cluster, until it is answered.
struct UnderWay<'a>(Context<'a>);

impl<'a> UnderWay<'a> {
    /// `None` when there were none for too long.
    async fn take(context: Context<'a>, keys: usize) -> Option<Self> {
        context.shared.places.take(keys).await.then(|| {
            context.places.store(keys, Relaxed);
            Self(context)
        })
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.shared.places.give_back(self.0.places.swap(0, Relaxed));
    }
}

/// Answers the requests of a run, which has these keys if it is retrievals of values alone, at the same time.
async fn together(
    context: Context<'_>,
    (run, plain): (&[Request<'_>], Option<PlainKeys<'_>>),
    out: &mut Output<'_>,
) {
    let plain = plain.filter(|keys| context.are_own(keys));
    let keys = plain.as_ref().map_or_else(|| context.places_of(run), |keys| keys.len());
    let Some(_under_way) = UnderWay::take(context, keys).await else {
        run.iter().for_each(|request| answer::busy(context, request).write(out));
        return;
    };
    // A reload may have given them another place meanwhile.
    if let Some(keys) = plain.filter(|keys| context.are_own(keys)) {
        return answer::get::plain(context, context.keys, (run, &keys), out).await;
    }
    // Several reads of a key are executed in their order on one connection only: that which all share.
    let keys = if run.len() > 1 { &context.shared.keys } else { context.keys };
    let context = Context { keys, ..context };
    for answer in join_all(run.iter().map(|request| in_its_turn(context, request))).await {
        answer.write(out);
    }
}

/// Answers one request, once there are places for it in the other clusters that its keys live in.
async fn in_its_turn(context: Context<'_>, request: &Request<'_>) -> Answer {
    let others = context.in_others(std::iter::once(request).flat_map(keys_of));
    if others.is_empty() {
        return answer::answer(context, request).await;
    }
    // Boxed, so that gateways of one cluster carry no room for it.
    let answer = async {
        match context.shared.places_of_others.take(others).await {
            Some(held) => answer::answer(Context { others: &held, ..context }, request).await,
            None => answer::busy(context, request),
        }
    };
    Box::pin(answer).await
}

/// Answers a retrieval of more than [`RUN_KEYS_MAX`] keys, a part at a time, with back-pressure between parts.
async fn long_retrieval(context: Context<'_>, get: &Get<'_>, out: &mut Output<'_>) -> io::Result<()> {
    let mut keys = get.keys.iter().peekable();
    while keys.peek().is_some() {
        let part: Vec<&[u8]> = keys.by_ref().take(RUN_KEYS_MAX).collect();
        let others = context.in_others(part.iter().copied());
        let elsewhere: usize = others.iter().map(|other| other.keys).sum();
        let own = UnderWay::take(context, part.len() - elsewhere).await;
        let held = context.shared.places_of_others.take(others).await;
        let Some((own, held)) = own.zip(held) else {
            answer::busy(context, &Request::Get(get.clone())).write(out);
            return Ok(());
        };
        let (answer, failed) = answer::get::part(Context { others: &held, ..context }, get, &part).await;
        drop((own, held));
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
