//! A node put together, running, and taken down.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use evanesce_admin::{Admin, AdminConfig, RoleState, RunningAdmin, Services};
use evanesce_front::{Drained, Front, Listen, Running};
use evanesce_grpc::peer::v1::peer_server::PeerServer;
use evanesce_membership::{EndpointError, MembershipOptions, Registration};
use evanesce_store::{Start, StoreConfigError, Version};
use evanesce_topology::{NodeState, TopologyError};
use parking_lot::Mutex;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep, timeout};
use tracing::warn;

use crate::clock::Clock;
use crate::config::NodeConfig;
use crate::facts::Addresses;
use crate::memory;
use crate::metrics;
use crate::pace::{Pace, Round, step_rest};
use crate::reconcile::{Member, keep_reconciled};
use crate::resize::{Place, first_place, keep, keep_reporting};
use crate::role::NodeRole;
use crate::service::NodeService;
use crate::settings::{Facts, Protection};
use crate::shared::Shared;
use crate::warm::{Newcomer, PeerService, request_bytes_max, warm_up};

/// Items that one step of expiry looks at, to the end of their segment: some hundred microseconds of a shard's lock.
const EXPIRE_ITEMS_MAX: usize = 1000;

/// Well below what counts as not having run.
const NOTE_EVERY: Duration = Duration::from_millis(100);

/// Steps of one round of expiry: some seconds' worth, after which the pace is due for another look.
const EXPIRE_STEPS_MAX: usize = 4096;

/// How long a node that did not run hides what it had while it compares: as long as a reader could do without.
const HIDDEN_MAX: Duration = Duration::from_secs(60);

/// Between two looks at how far the handing over is.
const HAND_OVER_LOOK: Duration = Duration::from_millis(20);

/// How much of a drain's time may go into telling the discoveries.
const DEREGISTER_MAX: Duration = Duration::from_secs(1);

/// How long clients that follow a discovery are given to turn away before connections close: one push of a topology.
const DRAIN_NOTICE: Duration = Duration::from_millis(100);

/// Why a node could not start. The operator's to mend; nothing is left running.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The memory cannot hold a store.
    #[error(transparent)]
    Store(#[from] StoreConfigError),
    /// A memcached address cannot be had.
    #[error(transparent)]
    Front(#[from] evanesce_front::BindError),
    /// A gRPC or HTTP address cannot be had.
    #[error(transparent)]
    AdminBind(#[from] evanesce_admin::BindError),
    /// The admin side cannot serve.
    #[error(transparent)]
    Admin(#[from] evanesce_admin::StartError),
    /// What the node would register breaks a rule.
    #[error("this node cannot be part of a topology: {0}")]
    Facts(#[from] TopologyError),
    /// A discovery's address cannot be read.
    #[error(transparent)]
    Discovery(#[from] EndpointError),
    /// The system refused threads or event loops.
    #[error("cannot start worker threads: {0}; raise the limits of this process")]
    Threads(#[from] io::Error),
}

/// A cache node.
#[derive(Debug, Clone, Copy)]
pub struct Node;

/// A node at work. Dropped without [`RunningNode::drain`] it ends at once and its leases lapse.
pub struct RunningNode {
    front: Running,
    admin: Arc<RunningAdmin>,
    role: Arc<NodeRole>,
    drain_deadline: Duration,
    /// Aborted when dropped.
    chores: JoinSet<()>,
}

impl Node {
    /// Opens all listeners, serves, and begins to register with the discoveries. Returns as soon as memcached is
    /// served; [`RunningNode::ready`] tells when a discovery has taken the node in.
    ///
    /// # Errors
    ///
    /// A [`StartError`] says what to change.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with time and I/O.
    pub async fn start(config: NodeConfig) -> Result<RunningNode, StartError> {
        let store = memory::open(&config).await?;
        let front = Front::bind(config.front())?;
        let admin = Admin::bind(AdminConfig { grpc: config.grpc, http: config.http })?;
        let addresses =
            Addresses { memcached: front.told_addr(), grpc: admin.grpc_addr(), http: admin.http_addr() };
        let facts = Facts {
            memcached: addresses.memcached,
            item_bytes_max: config.item_bytes_max,
            connections_max: config.connections_max,
            idle_timeout: config.idle_timeout,
            protection: Protection::of(&config),
            shutdown_command: config.shutdown_command,
            configuration: config.configuration(addresses),
        };
        let shared =
            Shared::new(store, Clock::start(), config.threads.get(), Some(front.stats_handle()), facts);
        let reconciles = reconciles(&config, &shared);
        let shared = Arc::new(shared.with_namespaces(config.namespaces.clone()));
        let for_workers = Arc::clone(&shared);
        let front = front.start(move |worker| NodeService::new(Arc::clone(&for_workers), worker))?;
        let role = Arc::new(role(&config, addresses, Arc::clone(&shared))?);
        // Nobody is to take what it has for all that it should have.
        shared.gives.store(role.registration.is_none(), Ordering::Release);
        let peers = PeerService::new(
            Arc::clone(&shared),
            config.cluster.clone(),
            config.group.clone(),
            config.is_guarded(),
        );
        let peers = PeerServer::new(peers.with_rate(config.warm_up_rate));
        let peers = peers.max_decoding_message_size(request_bytes_max(&shared));
        let admin = Arc::new(admin.start(role.clone(), Services::default().with(peers))?);
        metrics::describe();
        let mut chores = JoinSet::new();
        chores.spawn(note_running(Arc::clone(&shared)));
        chores.spawn(expire(Arc::clone(&shared)));
        chores.spawn(memory::check(Arc::clone(&shared)));
        if let Some(every) = reconciles {
            let member = Member {
                cluster: config.cluster.clone(),
                group: config.group.clone(),
                name: config.name.clone(),
                discoveries: config.discoveries.clone(),
            };
            chores.spawn(keep_reconciled(Arc::clone(&shared), member, every));
            chores.spawn(hear_of_gaps(Arc::clone(&shared), Arc::clone(&role)));
        }
        let newcomer = Newcomer {
            cluster: config.cluster,
            group: config.group,
            name: config.name,
            discoveries: config.discoveries,
            limit: config.warm_up_limit,
        };
        if role.registration.is_some() {
            chores.spawn(keep(Arc::clone(&shared), newcomer.clone()));
            let teller = Arc::clone(&role);
            chores.spawn(keep_reporting(Arc::clone(&shared), move |report, at_once| {
                if let Some(registration) = &teller.registration {
                    registration.set_report(report, at_once);
                }
            }));
        }
        chores.spawn(join(shared, newcomer, reconciles.is_some(), Arc::clone(&role), Arc::clone(&admin)));
        Ok(RunningNode { front, admin, role, drain_deadline: config.drain_deadline, chores })
    }
}

impl RunningNode {
    /// Where it speaks memcached: the first address of [`NodeConfig::listen`]; `0.0.0.0:0` where there are Unix sockets only.
    #[must_use]
    pub fn memcached_addr(&self) -> SocketAddr {
        self.role.addresses.memcached
    }

    /// Where it listens, with the ports the kernel chose.
    #[must_use]
    pub fn listening(&self) -> &[Listen] {
        self.front.listening()
    }

    /// Takes over what changed in the files of certificates and users now, and not within seconds.
    pub fn reload(&self) {
        self.front.reload();
    }

    /// Where it speaks gRPC, if it does.
    #[must_use]
    pub fn grpc_addr(&self) -> Option<SocketAddr> {
        self.role.addresses.grpc
    }

    /// Where it speaks HTTP, if it does.
    #[must_use]
    pub fn http_addr(&self) -> Option<SocketAddr> {
        self.role.addresses.http
    }

    /// Waits until a discovery has taken the node in; at once when it stands alone. Cancel-safe.
    pub async fn ready(&self) {
        if let Some(registration) = &self.role.registration {
            registration.registered().await;
        }
    }

    /// Waits until an operator asks the node to drain, and returns the deadline to drain by. Cancel-safe.
    pub async fn drain_requested(&self) -> Duration {
        self.role.drain.requested().await.unwrap_or(self.drain_deadline)
    }

    /// Takes the node out of its cluster, finishes the requests in hand, closes all connections and ends the threads,
    /// in `deadline` at most, give or take a second for what has to be cut.
    pub async fn drain(mut self, deadline: Duration) -> Drained {
        let until = Instant::now() + deadline;
        self.hand_over(deadline / 2).await;
        self.chores.shutdown().await;
        self.role.set_state(RoleState::Draining);
        self.admin.set_ready(false);
        if let Some(registration) = &self.role.registration {
            registration.set_state(NodeState::Draining);
            tokio::time::sleep(DRAIN_NOTICE.min(deadline / 4)).await;
            if !registration.deregister(DEREGISTER_MAX.min(deadline / 2)).await {
                tracing::warn!("not every discovery took the lease back; it lapses by itself");
            }
        }
        let drained = self.front.drain(until.saturating_duration_since(Instant::now())).await;
        if let Some(admin) = Arc::into_inner(self.admin) {
            admin.stop().await;
        }
        drained
    }
}

impl RunningNode {
    /// A node that is being removed from its group gives its items to those who own them next before it ends, as far as the
    /// time allows. One that keeps its place has nothing to hand over: it comes back, or is replaced under its name.
    async fn hand_over(&self, limit: Duration) {
        let resize = &self.role.shared.resize;
        let until = Instant::now() + limit;
        while resize.is_handing_over() {
            if Instant::now() >= until {
                tracing::warn!(?limit, "not all was handed over in time: other zones have the rest");
                return;
            }
            sleep(HAND_OVER_LOOK).await;
        }
    }
}

/// How often the node compares, if it does. Before it serves: where nobody will tell what was missed nothing is hidden.
fn reconciles(config: &NodeConfig, shared: &Shared) -> Option<Duration> {
    let every = config.reconcile_every.filter(|_| !config.discoveries.is_empty() && !config.is_guarded());
    shared.reconciles.store(every.is_some(), Ordering::Release);
    if every.is_none() {
        shared.standing.show_all();
    }
    every
}

fn role(config: &NodeConfig, addresses: Addresses, shared: Arc<Shared>) -> Result<NodeRole, StartError> {
    let registration = if config.discoveries.is_empty() {
        None
    } else {
        let facts = config.facts(addresses)?;
        Some(Registration::start(&config.discoveries, facts, MembershipOptions::default())?)
    };
    Ok(NodeRole {
        drain: shared.drain.clone(),
        shared,
        name: config.name.clone(),
        cluster: config.cluster.clone(),
        zone: config.zone.clone(),
        addresses,
        state: Mutex::new(RoleState::Joining),
        registration,
    })
}

/// Goes on duty once a discovery knows the node and its siblings have given it what it is to hold.
async fn join(
    shared: Arc<Shared>,
    newcomer: Newcomer,
    reconciles: bool,
    role: Arc<NodeRole>,
    admin: Arc<RunningAdmin>,
) {
    if let Some(registration) = &role.registration {
        registration.registered().await;
        let warming = || {
            registration.set_state(NodeState::Warming);
            role.set_state(RoleState::Warming);
        };
        loop {
            if first_place(&shared, registration, &newcomer).await != Place::Next {
                warm(&shared, &newcomer, reconciles, warming).await;
                break;
            }
            warming();
            if shared.resize.until_filled().await {
                break;
            }
        }
        shared.standing.settle(reconciles);
    }
    serve(&shared, &role, &admin);
    if let Some(registration) = &role.registration {
        keep_back(&shared, registration, &role, &admin).await;
    }
}

/// Has the node read by nobody who finds another each time that it was away for long, until it knows what it missed.
async fn keep_back(shared: &Shared, registration: &Registration, role: &NodeRole, admin: &RunningAdmin) {
    loop {
        shared.standing.kept_back().await;
        // What it has may have been deleted: it is nobody's to take either.
        shared.gives.store(false, Ordering::Release);
        admin.set_ready(false);
        registration.set_state(NodeState::Warming);
        role.set_state(RoleState::Warming);
        show_by(shared, HIDDEN_MAX).await;
        shared.standing.settled().await;
        serve(shared, role, admin);
    }
}

/// The node has what it is to hold, as far as it will be given anything.
fn serve(shared: &Shared, role: &NodeRole, admin: &RunningAdmin) {
    shared.gives.store(true, Ordering::Release);
    if let Some(registration) = &role.registration {
        registration.set_state(NodeState::Serving);
    }
    role.set_state(RoleState::Serving);
    admin.set_ready(true);
}

/// Makes the node warm, as far as others can.
async fn warm(shared: &Arc<Shared>, newcomer: &Newcomer, reconciles: bool, warming: impl FnOnce()) {
    if newcomer.limit.is_zero() {
        // It is read at once.
        return shared.standing.show_all();
    }
    // What was there when the process last ran is not given anew: only what was missed since.
    if !reconciles || !matches!(shared.store.start(), Start::Warm(_)) {
        return warm_up(shared, newcomer, warming).await;
    }
    warming();
    if !show_by(shared, newcomer.limit).await {
        warn!("what was missed while away took too long: serving with what is here");
    }
}

/// Waits until the node is settled, for so long at most after it was last found to have been away: then it shows what it has.
/// Answers whether it is settled.
async fn show_by(shared: &Shared, limit: Duration) -> bool {
    loop {
        let gap = shared.standing.gap();
        if timeout(limit, shared.standing.settled()).await.is_ok() {
            return true;
        }
        if shared.standing.show_unless_away_since(gap) {
            return false;
        }
    }
}

/// Waits to be told of writes for this node that nobody will bring.
async fn hear_of_gaps(shared: Arc<Shared>, role: Arc<NodeRole>) {
    let Some(registration) = &role.registration else { return };
    loop {
        let since = registration.missed().await;
        shared.standing.missed(Version(since), shared.clock.now());
    }
}

/// Notes that the process runs, so that it is known afterwards when it did not.
async fn note_running(shared: Arc<Shared>) {
    loop {
        shared.note_running();
        sleep(NOTE_EVERY).await;
    }
}

/// Drops expired items that nobody asks for, in rounds of bounded steps, at a pace that what they find decides.
async fn expire(shared: Arc<Shared>) {
    let mut pace = Pace::new();
    loop {
        let Some(round) = expire_round(&shared).await else { return };
        sleep(pace.rest(&round)).await;
    }
}

/// Steps until one finds nothing more. `None` when the node ends.
async fn expire_round(shared: &Arc<Shared>) -> Option<Round> {
    let mut round = Round { before: shared.store.stats(), dropped: 0, look: Duration::ZERO };
    for _ in 0..EXPIRE_STEPS_MAX {
        // In large memory a look at all segments takes milliseconds, which nobody who waits for this runtime should feel.
        let for_step = Arc::clone(shared);
        let step = spawn_blocking(move || {
            let began = Instant::now();
            let dropped = for_step.store.expire(for_step.clock.now(), EXPIRE_ITEMS_MAX);
            (dropped, began.elapsed())
        });
        let (dropped, took) = step.await.ok()?;
        shared.expiry_steps.fetch_add(1, Ordering::Relaxed);
        round.dropped += dropped as u64;
        round.look = took;
        if dropped == 0 {
            break;
        }
        sleep(step_rest(took)).await;
    }
    Some(round)
}
