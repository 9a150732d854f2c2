//! Listeners and tasks: bind first, so that addresses are known; start when the role stands; stop at the end.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use evanesce_grpc::FILE_DESCRIPTOR_SET;
use evanesce_grpc::admin::v1::admin_server::{AdminServer, SERVICE_NAME as ADMIN_SERVICE};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::NamedService;
use tonic::service::{Routes, RoutesBuilder};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_health::ServingStatus;
use tonic_health::server::{HealthReporter, health_reporter};

use crate::metrics::{RecorderError, metrics_recorder};
use crate::role::{Role, RoleState, RoleStatus};
use crate::service::AdminService;

/// How long open calls may take once told to stop: watches never end by themselves, everything else takes
/// milliseconds.
const STOP_GRACE: Duration = Duration::from_millis(500);

/// How often histograms are folded: they grow with every sample until then.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// How long a silent peer may keep a gRPC connection before it is pinged, and how long it then has to answer: a
/// discovery's watcher that died without a word is forgotten within half a minute.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(20);
/// See [`KEEPALIVE_EVERY`].
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Calls in flight on one gRPC connection: a client needs a handful, so this only stops a runaway one.
const STREAMS_PER_CONNECTION_MAX: u32 = 1024;

/// Where to listen. Port 0 lets the kernel choose; `None` turns a side off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AdminConfig {
    /// For gRPC.
    pub grpc: Option<SocketAddr>,
    /// For HTTP.
    pub http: Option<SocketAddr>,
}

/// The admin side, not yet listening.
#[derive(Debug)]
pub struct Admin;

impl Admin {
    /// Binds what is configured. Connections wait in the kernel's queue until [`Bound::start`].
    ///
    /// # Errors
    ///
    /// [`BindError`] when an address is in use or not this machine's.
    pub fn bind(config: AdminConfig) -> Result<Bound, BindError> {
        let grpc = config.grpc.map(|address| Listener::bind(address, "gRPC")).transpose()?;
        let http = config.http.map(|address| Listener::bind(address, "HTTP")).transpose()?;
        Ok(Bound { grpc, http })
    }
}

/// Why the admin side cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for {purpose}: choose another address, or end what holds it")]
pub struct BindError {
    /// The address refused.
    pub address: SocketAddr,
    /// `gRPC` or `HTTP`.
    pub purpose: &'static str,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// Why the admin side cannot serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// HTTP is on and the metrics recorder cannot be had.
    #[error(transparent)]
    Recorder(#[from] RecorderError),
    /// The system refused to hand a listener to the runtime.
    #[error("cannot serve the admin side")]
    Listener(#[from] io::Error),
}

/// The admin side, listening but not yet answering.
#[derive(Debug)]
pub struct Bound {
    grpc: Option<Listener>,
    http: Option<Listener>,
}

/// A listener and the address it got.
#[derive(Debug)]
struct Listener {
    listener: TcpListener,
    address: SocketAddr,
}

impl Listener {
    fn bind(address: SocketAddr, purpose: &'static str) -> Result<Self, BindError> {
        let refused = |source| BindError { address, purpose, source };
        let listener = TcpListener::bind(address).map_err(refused)?;
        listener.set_nonblocking(true).map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        Ok(Self { listener, address })
    }

    fn into_tokio(self) -> io::Result<tokio::net::TcpListener> {
        tokio::net::TcpListener::from_std(self.listener)
    }
}

impl Bound {
    /// Where gRPC is, if it is on.
    #[must_use]
    pub fn grpc_addr(&self) -> Option<SocketAddr> {
        self.grpc.as_ref().map(|listener| listener.address)
    }

    /// Where HTTP is, if it is on.
    #[must_use]
    pub fn http_addr(&self) -> Option<SocketAddr> {
        self.http.as_ref().map(|listener| listener.address)
    }

    /// Starts answering for `role`, with the role's own gRPC services beside ours. Not ready until
    /// [`RunningAdmin::set_ready`].
    ///
    /// # Errors
    ///
    /// [`StartError`] when there is no metrics recorder to be had, or the system refuses.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn start(self, role: Arc<dyn Role>, extra: Services) -> Result<RunningAdmin, StartError> {
        let shared = Arc::new(Shared {
            role,
            ready: watch::Sender::new(false),
            started: Instant::now(),
            grpc: self.grpc_addr(),
            http: self.http_addr(),
        });
        let stop = watch::Sender::new(false);
        let mut running = RunningAdmin { shared, stop, servers: Vec::new(), chores: Vec::new() };
        if let Some(listener) = self.http {
            running.serve_http(listener.into_tokio()?, metrics_recorder()?);
        }
        if let Some(listener) = self.grpc {
            running.serve_grpc(listener.into_tokio()?, extra);
        }
        Ok(running)
    }
}

/// gRPC services of a role, served beside the admin side's own, with their health.
#[derive(Debug, Default)]
pub struct Services {
    routes: RoutesBuilder,
    names: Vec<&'static str>,
}

impl Services {
    /// Adds a generated server, e.g. `DiscoveryServer::new(..)`.
    #[must_use]
    pub fn with<S>(mut self, service: S) -> Self
    where
        S: Service<http::Request<Body>, Error = std::convert::Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Response: axum::response::IntoResponse,
        S::Future: Send + 'static,
    {
        self.routes.add_service(service);
        self.names.push(S::NAME);
        self
    }
}

/// What the faces answer from.
pub(crate) struct Shared {
    pub(crate) role: Arc<dyn Role>,
    pub(crate) ready: watch::Sender<bool>,
    pub(crate) started: Instant,
    pub(crate) grpc: Option<SocketAddr>,
    pub(crate) http: Option<SocketAddr>,
}

impl Shared {
    /// Why the process is not ready; empty when it is.
    pub(crate) fn not_ready(&self, status: &RoleStatus) -> Vec<String> {
        if status.state == RoleState::Draining {
            return vec!["draining: about to end".to_owned()];
        }
        if *self.ready.borrow() {
            return Vec::new();
        }
        let mut reasons = vec![format!("{}: not ready yet", status.state)];
        reasons.extend(status.warnings.iter().cloned());
        reasons
    }
}

/// The admin side at work. Dropping it ends its tasks at once.
pub struct RunningAdmin {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    servers: Vec<JoinHandle<()>>,
    chores: Vec<JoinHandle<()>>,
}

impl RunningAdmin {
    /// Where gRPC is, if it is on.
    #[must_use]
    pub fn grpc_addr(&self) -> Option<SocketAddr> {
        self.shared.grpc
    }

    /// Where HTTP is, if it is on.
    #[must_use]
    pub fn http_addr(&self) -> Option<SocketAddr> {
        self.shared.http
    }

    /// Says whether the process should get work; gRPC health and `/health/ready` follow. A role that is
    /// [`RoleState::Draining`] is not ready over HTTP whatever was said here, so say `false` when draining begins.
    pub fn set_ready(&self, ready: bool) {
        self.shared.ready.send_replace(ready);
    }

    /// Stops answering: calls in flight may end within half a second, then connections are closed.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        let deadline = tokio::time::Instant::now() + STOP_GRACE;
        for mut server in std::mem::take(&mut self.servers) {
            if tokio::time::timeout_at(deadline, &mut server).await.is_err() {
                server.abort();
            }
        }
    }

    fn serve_http(&mut self, listener: tokio::net::TcpListener, metrics: PrometheusHandle) {
        let router = crate::http::router(self.shared.clone(), metrics.clone());
        let stopped = stopped(self.stop.subscribe());
        self.servers.push(tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stopped).await {
                tracing::error!(%error, "the admin HTTP side ended");
            }
        }));
        self.chores.push(tokio::spawn(fold_histograms(metrics)));
    }

    fn serve_grpc(&mut self, listener: tokio::net::TcpListener, extra: Services) {
        let (reporter, health) = health_reporter();
        let names = [&["", ADMIN_SERVICE], extra.names.as_slice()].concat();
        self.chores.push(tokio::spawn(report_health(reporter, names, self.shared.ready.subscribe())));
        let routes = extra
            .routes
            .routes()
            .add_service(AdminServer::new(AdminService { shared: self.shared.clone() }))
            .add_service(health);
        let stopped = stopped(self.stop.subscribe());
        let served = Server::builder()
            .http2_keepalive_interval(Some(KEEPALIVE_EVERY))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
            .add_routes(with_reflection(routes))
            .serve_with_incoming_shutdown(TcpIncoming::from(listener).with_nodelay(Some(true)), stopped);
        self.servers.push(tokio::spawn(async move {
            if let Err(error) = served.await {
                tracing::error!(%error, "the admin gRPC side ended");
            }
        }));
    }
}

impl Drop for RunningAdmin {
    fn drop(&mut self) {
        self.servers.iter().chain(&self.chores).for_each(JoinHandle::abort);
    }
}

/// Both generations of reflection: tools in the field still speak the older.
fn with_reflection(routes: Routes) -> Routes {
    let builder = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    routes
        .add_service(builder().build_v1().expect("our own descriptor set decodes"))
        .add_service(builder().build_v1alpha().expect("our own descriptor set decodes"))
}

/// Tells gRPC health what [`RunningAdmin::set_ready`] said, for as long as the admin side lives.
async fn report_health(reporter: HealthReporter, names: Vec<&'static str>, mut ready: watch::Receiver<bool>) {
    loop {
        let status =
            if *ready.borrow_and_update() { ServingStatus::Serving } else { ServingStatus::NotServing };
        for name in &names {
            reporter.set_service_status(name, status).await;
        }
        if ready.changed().await.is_err() {
            return;
        }
    }
}

async fn fold_histograms(metrics: PrometheusHandle) {
    let mut every = tokio::time::interval(UPKEEP_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        metrics.run_upkeep();
    }
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    // An error means that the sender is gone, and with it the admin side: stop as well.
    let _ = stop.wait_for(|stop| *stop).await;
}
