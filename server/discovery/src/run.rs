//! A discovery at work.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use evanesce_admin::{Admin, AdminConfig, BindError, DrainSignal, RunningAdmin, Services, StartError};
use evanesce_grpc::discovery::v1::discovery_server::DiscoveryServer;
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::desk::{Clock, Desk, TICK_EVERY};
use crate::metrics;
use crate::registry::{LeaseTerms, Refusal, Registry};
use crate::role::DiscoveryRole;
use crate::service::DiscoveryService;
use crate::state_file::{StateError, StateFile};

/// A renewal must be well above a tick, so that a tick a little late is not taken for a stall.
const RENEW_EVERY_MIN: Duration = TICK_EVERY.saturating_mul(2);

/// How long a drain may take where none is named: it only has to write a file and close streams.
const DRAIN_DEADLINE_DEFAULT: Duration = Duration::from_secs(5);

/// How a discovery is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiscoveryConfig {
    /// Where to serve gRPC; port 0 lets the kernel choose. Default 127.0.0.1:11300.
    pub listen_grpc: SocketAddr,
    /// Where to serve metrics and health over HTTP, if anywhere. Default 127.0.0.1:11301.
    pub listen_http: Option<SocketAddr>,
    /// Where to keep membership and epochs. Default none: a restart then waits a lease to hear who is there.
    pub state_dir: Option<PathBuf>,
    /// How long a lease lasts without a renewal. Default 10 s.
    pub lease: Duration,
    /// How often nodes are told to renew: 100 ms to a third of the lease. Default 3 s.
    pub renew_every: Duration,
    /// The zone it runs in, to be shown; may be empty. Default empty.
    pub zone: String,
}

impl Default for DiscoveryConfig {
    fn default() -> Self {
        let terms = LeaseTerms::default();
        Self {
            listen_grpc: SocketAddr::from(([127, 0, 0, 1], 11_300)),
            listen_http: Some(SocketAddr::from(([127, 0, 0, 1], 11_301))),
            state_dir: None,
            lease: terms.lease,
            renew_every: terms.renew_every,
            zone: String::new(),
        }
    }
}

/// Why a discovery does not start. An operator must act.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiscoveryError {
    /// The lease and the renewals do not fit together.
    #[error("renew_every {renew_every:?} must be 100 ms or more, and at most a third of the lease {lease:?}")]
    Terms {
        /// The lease.
        lease: Duration,
        /// The renewals.
        renew_every: Duration,
    },
    /// The state on disk cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// An address is taken.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The admin side does not start.
    #[error(transparent)]
    Admin(#[from] StartError),
}

/// The discovery role.
#[derive(Debug)]
pub struct Discovery;

/// A discovery at work. Dropping it ends it at once, the state on disk as it last was.
#[derive(Debug)]
pub struct RunningDiscovery {
    grpc: SocketAddr,
    http: Option<SocketAddr>,
    desk: Arc<Desk>,
    drain: DrainSignal,
    ended: watch::Receiver<bool>,
    life: JoinHandle<()>,
}

impl Discovery {
    /// Reads the state, binds, and starts to serve.
    ///
    /// # Errors
    ///
    /// [`DiscoveryError`] says what an operator must change.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with time and I/O.
    pub fn start(config: DiscoveryConfig) -> Result<RunningDiscovery, DiscoveryError> {
        let terms = terms(&config)?;
        let file = config.state_dir.as_deref().map(StateFile::open).transpose()?.map(Arc::new);
        let clock = Clock::start(SystemTime::now);
        let registry = restore(terms, file.as_deref(), clock)?;
        let bound = Admin::bind(AdminConfig { grpc: Some(config.listen_grpc), http: config.listen_http })?;
        let grpc = bound.grpc_addr().unwrap_or(config.listen_grpc);
        let http = bound.http_addr();
        let desk = Desk::new(registry, clock);
        let drain = DrainSignal::new();
        let role = DiscoveryRole { desk: Arc::clone(&desk), zone: config.zone, drain: drain.clone() };
        let services =
            Services::default().with(DiscoveryServer::new(DiscoveryService::new(Arc::clone(&desk))));
        let admin = bound.start(Arc::new(role), services)?;
        metrics::describe();
        admin.set_ready(true);
        let (ending, ended) = watch::channel(false);
        let life = Life { desk: Arc::clone(&desk), file, admin, drain: drain.clone(), ending };
        Ok(RunningDiscovery { grpc, http, desk, drain, ended, life: tokio::spawn(life.run()) })
    }
}

impl RunningDiscovery {
    /// Where it serves gRPC.
    #[must_use]
    pub fn grpc_addr(&self) -> SocketAddr {
        self.grpc
    }

    /// Where it serves HTTP, if it does.
    #[must_use]
    pub fn http_addr(&self) -> Option<SocketAddr> {
        self.http
    }

    /// Ends it: watch streams are closed, so that watchers go to another, and the state is written. Takes no longer
    /// than `deadline`, and half a second for connections to close.
    pub async fn drain(&self, deadline: Duration) {
        self.drain.request(Some(deadline));
        self.ended().await;
    }

    /// Waits until it has ended, after a drain asked for here or over the admin service. Cancel-safe.
    pub async fn ended(&self) {
        // An error means that its task is gone, and the discovery with it.
        let _ = self.ended.clone().wait_for(|ended| *ended).await;
    }
}

impl Drop for RunningDiscovery {
    fn drop(&mut self) {
        self.desk.close();
        self.life.abort();
    }
}

/// What runs from start to end.
struct Life {
    desk: Arc<Desk>,
    file: Option<Arc<StateFile>>,
    admin: RunningAdmin,
    drain: DrainSignal,
    ending: watch::Sender<bool>,
}

impl Life {
    async fn run(self) {
        let mut ticking = JoinSet::new();
        ticking.spawn(Arc::clone(&self.desk).keep_ticking());
        let (finish, finished) = oneshot::channel();
        let mut saving = JoinSet::new();
        if let Some(file) = self.file {
            saving.spawn(Arc::clone(&self.desk).keep_saving(file, finished));
        }
        let deadline = self.drain.requested().await.unwrap_or(DRAIN_DEADLINE_DEFAULT);
        self.admin.set_ready(false);
        self.desk.close();
        ticking.shutdown().await;
        // An error means that there is no file to write.
        let _ = finish.send(());
        if tokio::time::timeout(deadline, saving.join_next()).await.is_err() {
            tracing::error!(?deadline, "the state could not be written in time");
        }
        self.admin.stop().await;
        self.ending.send_replace(true);
    }
}

fn terms(config: &DiscoveryConfig) -> Result<LeaseTerms, DiscoveryError> {
    let DiscoveryConfig { lease, renew_every, .. } = *config;
    if renew_every < RENEW_EVERY_MIN || renew_every.saturating_mul(3) > lease {
        return Err(DiscoveryError::Terms { lease, renew_every });
    }
    Ok(LeaseTerms { lease, renew_every })
}

fn restore(terms: LeaseTerms, file: Option<&StateFile>, clock: Clock) -> Result<Registry, StateError> {
    let membership = file.map(StateFile::load).transpose()?.unwrap_or_default();
    let nodes: usize =
        membership.iter().flat_map(|kept| &kept.topology.groups).map(|group| group.nodes.len()).sum();
    tracing::info!(clusters = membership.len(), nodes, "starting with what is on disk");
    Registry::new(terms, membership, clock.moment()).map_err(|refusal: Refusal| StateError::Damaged {
        path: file.map(StateFile::path).unwrap_or_default(),
        fault: refusal.to_string(),
    })
}
