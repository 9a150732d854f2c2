//! Runs one role until it is told to end, and ends it in order.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use evanesce_discovery::{Discovery, RunningDiscovery};
use evanesce_front::Listen;
use evanesce_gateway::{Gateway, RunningGateway};
use evanesce_node::{Node, RunningNode};

use crate::config::{RoleSettings, Settings};
use crate::stop::{Hangup, Stop, Stops};

/// Without a parent there is nobody to wait for: what is in flight gets a moment, no more.
const ORPHAN_DEADLINE: Duration = Duration::from_secs(1);
/// What a role may take beyond its drain's deadline to close what remains; then it is not waited for.
const END_GRACE: Duration = Duration::from_secs(2);
/// What a step that blocks gets to end; then it is not waited for.
const STEP_GRACE: Duration = Duration::from_millis(500);
/// Threads for what is not memcached: gRPC, HTTP, membership. Memcached connections have threads of their own; but a
/// gateway's client drives its connections to nodes here, and gets as many as the gateway has.
const CONTROL_THREADS: usize = 2;
/// How nice a node's threads are that no memcached connection waits for: what it gives to others and takes from them, compares and
/// expires has what its requests leave, on a machine that is short of cores.
const NODE_NICE: i32 = 5;

/// Runs the role that `settings` are for.
pub(crate) fn main(settings: Settings) -> ExitCode {
    crate::logging::start(settings.log.as_deref(), settings.log_format);
    crate::machine::raise_descriptor_limit(settings.role.connections_max());
    let role = settings.role.name();
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(CONTROL_THREADS).enable_all();
    // Elsewhere than on Linux it would be that of the whole process.
    if cfg!(target_os = "linux") && matches!(settings.role, RoleSettings::Node(_)) {
        // Where it is not allowed they are as all others.
        builder.on_thread_start(|| _ = rustix::process::setpriority_process(None, NODE_NICE));
    }
    let outcome = match builder.build() {
        Ok(runtime) => {
            let outcome = runtime.block_on(run(settings));
            // A store that is at work when its process ends has more to read at the next start: its steps are short.
            runtime.shutdown_timeout(STEP_GRACE);
            outcome
        }
        Err(error) => Err(error).context("cannot start a runtime"),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{role} failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(settings: Settings) -> anyhow::Result<()> {
    let mut stops = Stops::listen()?;
    let mut hangup = if settings.role.reads_files() { stops.take_hangup() } else { Hangup::NEVER };
    let running = tokio::select! {
        running = Running::start(settings.role) => running?,
        stop = stops.next() => {
            tracing::info!(?stop, "told to end before all was up");
            return Ok(());
        }
    };
    let deadline = tokio::select! {
        never = reload_at(&mut hangup, &running) => match never {},
        told = running.drain_requested() => match told {
            Some(deadline) => deadline,
            None => return Ok(()),
        },
        stop = stops.next() => match stop {
            Stop::Signal(signal) => {
                let deadline = settings.drain_deadline;
                tracing::info!(signal, ?deadline, "draining; a second signal ends at once");
                deadline
            }
            Stop::ParentGone => {
                tracing::info!("the process that started this one is gone: ending");
                settings.drain_deadline.min(ORPHAN_DEADLINE)
            }
        },
    };
    tokio::select! {
        drained = tokio::time::timeout(deadline + END_GRACE, running.drain(deadline)) => match drained {
            Ok(()) => Ok(()),
            Err(_) => bail!("not drained within {deadline:?}: what was in flight is lost"),
        },
        stop = stops.again() => bail!("{stop:?} while draining: what was in flight is lost"),
    }
}

/// Looks at the files of certificates and users at each SIGHUP, to the end.
async fn reload_at(hangup: &mut Hangup, running: &Running) -> Infallible {
    loop {
        hangup.next().await;
        tracing::info!("SIGHUP: looking at the files of certificates, users and namespaces' stores");
        match running {
            Running::Node(node) => node.reload(),
            Running::Gateway(gateway) => gateway.reload(),
            Running::Discovery(_) => {}
        }
    }
}

/// A role at work.
enum Running {
    Node(Box<RunningNode>),
    Discovery(RunningDiscovery),
    Gateway(Box<RunningGateway>),
}

impl Running {
    async fn start(settings: RoleSettings) -> anyhow::Result<Self> {
        match settings {
            RoleSettings::Node(config) => {
                let name = config.name.clone();
                let node = Node::start(*config).await?;
                let (memcached, grpc, http) = (node.memcached_addr(), node.grpc_addr(), node.http_addr());
                let listen = listed(node.listening());
                tracing::info!(name, listen, %memcached, grpc = shown(grpc), http = shown(http), "node serves");
                Ok(Self::Node(Box::new(node)))
            }
            RoleSettings::Discovery(config) => {
                let discovery = Discovery::start(config)?;
                let (grpc, http) = (discovery.grpc_addr(), discovery.http_addr());
                tracing::info!(%grpc, http = shown(http), "discovery serves");
                Ok(Self::Discovery(discovery))
            }
            RoleSettings::Gateway(config) => {
                let gateway = Gateway::start(*config).await?;
                let (memcached, grpc, http) =
                    (gateway.memcached_addr(), gateway.grpc_addr(), gateway.http_addr());
                let listen = listed(gateway.listening());
                tracing::info!(listen, %memcached, grpc = shown(grpc), http = shown(http), "gateway serves");
                Ok(Self::Gateway(Box::new(gateway)))
            }
        }
    }

    /// Waits until an operator asks over gRPC to drain, and returns by when; `None` when it drained by itself.
    async fn drain_requested(&self) -> Option<Duration> {
        match self {
            Self::Node(node) => Some(node.drain_requested().await),
            Self::Gateway(gateway) => Some(gateway.drain_requested().await),
            Self::Discovery(discovery) => {
                discovery.ended().await;
                None
            }
        }
    }

    async fn drain(self, deadline: Duration) {
        match self {
            Self::Node(node) => {
                let drained = node.drain(deadline).await;
                tracing::info!(?drained, "node ended");
            }
            Self::Gateway(gateway) => {
                let drained = gateway.drain(deadline).await;
                tracing::info!(?drained, "gateway ended");
            }
            Self::Discovery(discovery) => discovery.drain(deadline).await,
        }
    }
}

/// Everywhere a role listens.
fn listed(listening: &[Listen]) -> String {
    listening.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// An address, or that the side is off.
fn shown(address: Option<SocketAddr>) -> String {
    address.map_or("off".to_owned(), |address| address.to_string())
}
