//! A gateway put together, running, and taken down.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use evanesce_admin::{Admin, AdminConfig, DrainSignal, RoleState, RunningAdmin, Services};
use evanesce_client::{Client, ConnectError};
use evanesce_front::{Drained, Front, Listen, Running};
use evanesce_persister::Persister;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::clusters::{self, Namespaces};
use crate::config::GatewayConfig;
use crate::metrics;
use crate::nodes::NodeAccessErrors;
use crate::persister::{self, PersisterFileError};
use crate::role::GatewayRole;
use crate::service::{GatewayService, Shared};

/// Why a gateway could not start. The operator's to mend; nothing is left running.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The cluster cannot be found.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The way to nodes cannot be had.
    #[error(transparent)]
    Nodes(#[from] NodeAccessErrors),
    /// A backing store, a log, or what is said of them.
    #[error(transparent)]
    Persister(#[from] PersisterFileError),
    /// A memcached address cannot be had.
    #[error(transparent)]
    Front(#[from] evanesce_front::BindError),
    /// A gRPC or HTTP address cannot be had.
    #[error(transparent)]
    AdminBind(#[from] evanesce_admin::BindError),
    /// The admin side cannot serve.
    #[error(transparent)]
    Admin(#[from] evanesce_admin::StartError),
    /// The system refused threads or event loops.
    #[error("cannot start worker threads: {0}; raise the limits of this process")]
    Threads(#[from] io::Error),
}

/// A gateway.
#[derive(Debug, Clone, Copy)]
pub struct Gateway;

/// A gateway at work. Dropped without [`RunningGateway::drain`] it ends at once.
pub struct RunningGateway {
    front: Running,
    admin: RunningAdmin,
    role: Arc<GatewayRole>,
    drain_deadline: Duration,
    /// Where it is said which namespaces have a backing store.
    persister: Option<PathBuf>,
}

impl std::fmt::Debug for RunningGateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunningGateway").field("memcached", &self.role.memcached).finish_non_exhaustive()
    }
}

impl Gateway {
    /// Opens all listeners, shows itself to its operator, finds the cluster, and serves. Connections made before the
    /// cluster is found wait; `/health/live` answers meanwhile, and `/health/ready` says no.
    ///
    /// # Errors
    ///
    /// A [`StartError`] says what to change.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with time and I/O.
    pub async fn start(config: GatewayConfig) -> Result<RunningGateway, StartError> {
        let front = Front::bind(config.front())?;
        let admin = Admin::bind(AdminConfig { grpc: config.grpc, http: config.http })?;
        let role = Arc::new(GatewayRole {
            shared: OnceLock::new(),
            cluster: config.cluster.clone(),
            zone: config.zone.clone(),
            memcached: front.told_addr(),
            drain: DrainSignal::new(),
            state: Mutex::new(RoleState::Starting),
        });
        let admin = admin.start(role.clone(), Services::default())?;
        metrics::describe();
        let (client, namespaces) = match &config.persister {
            None => (connect(&config).await?, None),
            Some(file) => {
                Persister::describe_metrics();
                let read = persister::read(file).await?;
                let (client, namespaces) = Namespaces::start(&config, file, read).await?;
                (client, Some(namespaces))
            }
        };
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let configuration = config.configuration(role.memcached, started.as_secs());
        let mut shared = Shared::new(client, config.threads.get(), front.stats_handle(), configuration);
        shared.flush_command = config.flush_command;
        shared.namespaces = namespaces;
        let shared = Arc::new(shared);
        let shared = role.shared.get_or_init(|| shared);
        let for_workers = Arc::clone(shared);
        let front = front.start(move |worker| GatewayService::new(&for_workers, worker))?;
        *role.state.lock() = RoleState::Serving;
        admin.set_ready(true);
        let GatewayConfig { drain_deadline, persister, .. } = config;
        Ok(RunningGateway { front, admin, role, drain_deadline, persister })
    }
}

/// A client of the cluster that `config` names.
pub(crate) async fn connect(config: &GatewayConfig) -> Result<Client, StartError> {
    let client = Client::builder(&config.cluster).discovery(&config.discoveries).zone(&config.zone);
    let client = config.nodes.give(client)?.lanes(config.threads.get());
    let client = match config.node_timeout {
        Some(time) => client.read_attempt_timeout(time).read_timeout(time).write_timeout(time),
        None => client,
    };
    Ok(client.connect_timeout(config.connect_timeout).connect().await?)
}

impl RunningGateway {
    /// Where it speaks memcached: the first address of [`GatewayConfig::listen`]; `0.0.0.0:0` where there are Unix sockets
    /// only.
    #[must_use]
    pub fn memcached_addr(&self) -> SocketAddr {
        self.role.memcached
    }

    /// Where it listens, with the ports the kernel chose.
    #[must_use]
    pub fn listening(&self) -> &[Listen] {
        self.front.listening()
    }

    /// Takes over what changed in the listeners' files of certificates and users now, and not within seconds; and what changed
    /// in the file of the namespaces' stores, in the background. What is wrong with that is logged, and changes nothing.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn reload(&self) {
        self.front.reload();
        let shared = self.role.shared.get().cloned();
        let namespaces = shared.and_then(|shared| shared.namespaces.clone());
        if let Some((path, namespaces)) = self.persister.clone().zip(namespaces) {
            tokio::spawn(async move { persister::reload(&path, &namespaces).await });
        }
    }

    /// Where it speaks gRPC, if it does.
    #[must_use]
    pub fn grpc_addr(&self) -> Option<SocketAddr> {
        self.admin.grpc_addr()
    }

    /// Where it speaks HTTP, if it does.
    #[must_use]
    pub fn http_addr(&self) -> Option<SocketAddr> {
        self.admin.http_addr()
    }

    /// Waits until an operator asks the gateway to drain, and returns the deadline to drain by. Cancel-safe.
    pub async fn drain_requested(&self) -> Duration {
        self.role.drain.requested().await.unwrap_or(self.drain_deadline)
    }

    /// Finishes the requests in hand, closes all connections and ends the threads, in `deadline` at most, give or take
    /// a second for what has to be cut.
    pub async fn drain(self, deadline: Duration) -> Drained {
        *self.role.state.lock() = RoleState::Draining;
        self.admin.set_ready(false);
        let end = Instant::now() + deadline;
        let drained = self.front.drain(deadline).await;
        if let Some(shared) = self.role.shared.get() {
            if let Some(namespaces) = &shared.namespaces {
                namespaces.close(end).await;
            }
            clusters::close(&shared.client).await;
        }
        self.admin.stop().await;
        drained
    }
}
