//! A front: its listeners, its threads, its end.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::accept::{Acceptor, Opened, Terms};
use crate::budget::Budget;
use crate::config::FrontConfig;
use crate::listen::{Listen, Place, listen_to_tell};
use crate::secrets::{Look, Secrets, SecretsError};
use crate::service::Service;
use crate::stats::{Counters, FrontStats, StatsHandle};
use crate::worker::{ARRIVALS_MAX, Order, Worker};

/// How long threads may take to notice that they must stop now: one batch and the closing of all sockets.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// Opens listeners.
#[derive(Debug, Clone, Copy)]
pub struct Front;

/// Why a front could not open its listeners. The operator's to mend; nothing is left open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// No address was given.
    #[error("no address to listen on: give at least one")]
    NoAddress,
    /// The system refused an address.
    #[error("cannot listen on {listen}: {source}; choose a free address of this host")]
    Listen {
        /// Where.
        listen: Listen,
        /// What the system said.
        source: io::Error,
    },
    /// A Unix socket cannot be had.
    #[error("cannot listen on unix:{path}: {source}; choose another path, in a directory that this process may write to", path = path.display())]
    Socket {
        /// Its file.
        path: PathBuf,
        /// What is in the way.
        source: io::Error,
    },
    /// A listener speaks TLS and there is no certificate.
    #[error("{listen} speaks TLS and there is no certificate: give one and its key")]
    NoCertificate {
        /// Where.
        listen: Listen,
    },
    /// Certificates or users cannot be taken from their files.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
}

/// A front whose listeners are open. Peers may connect already; they are served from [`Bound::start`] on.
#[derive(Debug)]
pub struct Bound {
    config: Arc<FrontConfig>,
    listeners: Vec<Opened>,
    places: Places,
    counters: Arc<Counters>,
    secrets: Arc<Secrets>,
}

/// Where a front listens, with the ports that the kernel chose.
#[derive(Debug)]
struct Places {
    listening: Vec<Listen>,
    addrs: Vec<SocketAddr>,
}

/// A front that serves. Dropped without [`Running::drain`], it stops at once.
#[derive(Debug)]
pub struct Running {
    counters: Arc<Counters>,
    secrets: Arc<Secrets>,
    places: Places,
    orders: watch::Sender<Order>,
    /// Closed when the last thread ended.
    alive: mpsc::Receiver<()>,
    threads: Vec<JoinHandle<()>>,
}

/// How a drain went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections that had work in hand at the deadline and were cut.
    pub cut_connections: u64,
}

impl Front {
    /// Opens the listeners of `config`.
    ///
    /// # Errors
    ///
    /// An address is missing, taken, or not this host's; certificates or users cannot be read.
    pub fn bind(config: FrontConfig) -> Result<Bound, BindError> {
        if config.listen.is_empty() {
            return Err(BindError::NoAddress);
        }
        let secrets = Secrets::load(config.tls.clone(), config.auth_file.clone())?;
        let open = |listen: &Listen| open(listen, &config);
        let opened = config.listen.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let (listeners, listening): (Vec<_>, Vec<_>) = opened.into_iter().unzip();
        let addrs = listening.iter().filter_map(Listen::address).collect();
        let places = Places { listening, addrs };
        let (input, output) = (Budget::new(config.input_bytes_max), Budget::new(config.output_bytes_max));
        let counters = Counters::new(config.threads.get(), config.connections_max, input, output);
        let (counters, secrets) = (Arc::new(counters), Arc::new(secrets));
        Ok(Bound { config: Arc::new(config), listeners, places, counters, secrets })
    }
}

fn open(listen: &Listen, config: &FrontConfig) -> Result<(Opened, Listen), BindError> {
    let terms = Terms { tls: listen.is_tls(), auth: listen.auth && config.auth_file.is_some() };
    if terms.tls && config.tls.is_none() {
        return Err(BindError::NoCertificate { listen: listen.clone() });
    }
    Opened::open(listen, terms).map_err(|source| match &listen.place {
        Place::Unix { path, .. } => BindError::Socket { path: path.clone(), source },
        Place::Tcp(_) | Place::Tls(_) => BindError::Listen { listen: listen.clone(), source },
    })
}

impl Bound {
    /// The addresses it listens on, in the order of [`FrontConfig::listen`], with the ports the kernel chose. Unix
    /// sockets have none.
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.places.addrs
    }

    /// Where it listens, in the order of [`FrontConfig::listen`], with the ports the kernel chose.
    #[must_use]
    pub fn listening(&self) -> &[Listen] {
        &self.places.listening
    }

    /// The address of what [`listen_to_tell`] finds; `0.0.0.0:0` where there are Unix sockets only.
    #[must_use]
    pub fn told_addr(&self) -> SocketAddr {
        let told = listen_to_tell(&self.places.listening).and_then(Listen::address);
        told.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)))
    }

    /// Reads the counters, from now on and after the start: for services that show them.
    #[must_use]
    pub fn stats_handle(&self) -> StatsHandle {
        StatsHandle(Arc::clone(&self.counters))
    }

    /// Starts the threads. `make` runs once in each worker, inside its event loop, with the worker's number.
    ///
    /// # Errors
    ///
    /// The system refused a thread or an event loop. Threads that did start are stopped.
    pub fn start<S: Service>(self, make: impl Fn(usize) -> S + Send + Sync + 'static) -> io::Result<Running> {
        let (orders, _) = watch::channel(Order::Serve);
        let (alive_sender, alive) = mpsc::channel(1);
        let mut running = Running {
            counters: Arc::clone(&self.counters),
            secrets: Arc::clone(&self.secrets),
            places: self.places,
            orders,
            alive,
            threads: Vec::new(),
        };
        let make = Arc::new(make);
        let mut workers = Vec::with_capacity(self.config.threads.get());
        for index in 0..self.config.threads.get() {
            let (sender, arrivals) = mpsc::channel(ARRIVALS_MAX);
            workers.push(sender);
            let (config, counters) = (Arc::clone(&self.config), Arc::clone(&self.counters));
            let (make, secrets) = (Arc::clone(&make), Arc::clone(&self.secrets));
            let orders = running.orders.subscribe();
            running.spawn(format!("worker-{index}"), alive_sender.clone(), async move || {
                let worker = Worker::new(config, counters, secrets, index);
                worker.run(make(index), arrivals, orders).await;
            })?;
        }
        let acceptor = Acceptor::new(self.counters, self.secrets, workers);
        let (listeners, orders) = (self.listeners, running.orders.subscribe());
        running
            .spawn("accept".to_owned(), alive_sender, async move || acceptor.run(listeners, orders).await)?;
        Ok(running)
    }
}

impl Running {
    /// The addresses it listens on, in the order of [`FrontConfig::listen`]. Unix sockets have none.
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.places.addrs
    }

    /// Where it listens, in the order of [`FrontConfig::listen`], with the ports the kernel chose.
    #[must_use]
    pub fn listening(&self) -> &[Listen] {
        &self.places.listening
    }

    /// Takes over what changed in the files of certificates and users, now and not at the next look in some seconds.
    /// What cannot be used is logged and counted, and leaves in force what is. Open connections go on as they are.
    pub fn reload(&self) {
        self.secrets.reload(Look::Asked, &self.counters);
    }

    /// The counters as they are now.
    #[must_use]
    pub fn stats(&self) -> FrontStats {
        self.stats_handle().stats()
    }

    /// Reads the counters from elsewhere.
    #[must_use]
    pub fn stats_handle(&self) -> StatsHandle {
        StatsHandle(Arc::clone(&self.counters))
    }

    /// Stops accepting, lets batches in hand end and be flushed, closes all connections and joins the threads.
    /// What still works at the deadline is cut.
    pub async fn drain(mut self, deadline: Duration) -> Drained {
        self.orders.send_replace(Order::Drain);
        let mut cut_connections = 0;
        if timeout(deadline, self.alive.recv()).await.is_err() {
            cut_connections = self.stats().curr_connections;
            self.orders.send_replace(Order::Stop);
            if timeout(STOP_GRACE, self.alive.recv()).await.is_err() {
                tracing::warn!("a worker thread did not stop in time and is left behind");
                self.threads.clear();
            }
        }
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the front had panicked");
            }
        }
        Drained { cut_connections }
    }

    /// Starts a thread with an event loop and waits until it has one.
    fn spawn<F>(&mut self, name: String, alive: mpsc::Sender<()>, main: F) -> io::Result<()>
    where
        F: AsyncFnOnce() + Send + 'static,
    {
        let (started_sender, started) = std::sync::mpsc::sync_channel(1);
        let body = move || {
            let runtime =
                match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
                    Ok(runtime) => runtime,
                    Err(error) => return drop(started_sender.send(Err(error))),
                };
            drop(started_sender.send(Ok(())));
            runtime.block_on(main());
            // Connections close here, before the front hears that the thread is done.
            drop(runtime);
            drop(alive);
        };
        self.threads.push(thread::Builder::new().name(name).spawn(body)?);
        started.recv().unwrap_or_else(|_| Err(io::Error::other("a thread of the front ended at its start")))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.orders.send_replace(Order::Stop);
    }
}
