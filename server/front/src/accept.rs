//! The thread that accepts connections and deals them out.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener as StdTcpListener, TcpStream as StdTcpStream};
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::hush::Hush;
use crate::listen::{Listen, Place};
use crate::secrets::{Look, Secrets};
use crate::stats::Counters;
use crate::unix::{self, SocketFile};
use crate::worker::{Order, Permit};

/// Connections the kernel holds until they are accepted: a burst of reconnecting clients.
pub(crate) const BACKLOG: i32 = 4096;

/// Rest after a failed accept: with no descriptor left, trying again at once would only burn the thread.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// How often the files of certificates and users are looked at: a password that was taken back should not be good for
/// long, and three small files are soon read.
const RELOAD_EVERY: Duration = Duration::from_secs(10);

/// What a connection too many is told; memcached's own words.
const TOO_MANY: &[u8] = b"ERROR Too many open connections\r\n";

/// What is asked of the connections of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Terms {
    /// They speak TLS.
    pub(crate) tls: bool,
    /// They authenticate.
    pub(crate) auth: bool,
}

/// A listener that is open.
#[derive(Debug)]
pub(crate) struct Opened {
    listener: Listener,
    terms: Terms,
}

#[derive(Debug)]
enum Listener {
    Tcp(StdTcpListener),
    Unix(StdUnixListener, SocketFile),
}

/// A connection on its way to a worker.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) stream: Stream,
    pub(crate) terms: Terms,
    pub(crate) permit: Permit,
}

/// What was accepted.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(StdTcpStream),
    Unix(StdUnixStream),
}

impl Opened {
    /// Opens a listener, and tells where it is with the port that the kernel chose.
    pub(crate) fn open(listen: &Listen, terms: Terms) -> io::Result<(Self, Listen)> {
        let mut at = listen.clone();
        let listener = match &mut at.place {
            Place::Tcp(address) | Place::Tls(address) => {
                let listener = listen_at(*address)?;
                *address = listener.local_addr()?;
                Listener::Tcp(listener)
            }
            Place::Unix { path, mode } => {
                let (listener, file) = unix::listen(path, *mode)?;
                Listener::Unix(listener, file)
            }
        };
        Ok((Self { listener, terms }, at))
    }
}

/// Opens a listening socket.
fn listen_at(address: SocketAddr) -> io::Result<StdTcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Deals connections to workers.
pub(crate) struct Acceptor {
    counters: Arc<Counters>,
    secrets: Arc<Secrets>,
    workers: Vec<mpsc::Sender<Arrival>>,
    /// Limits what is logged of connections that were not let in.
    hush: Mutex<Hush>,
}

impl Acceptor {
    pub(crate) fn new(
        counters: Arc<Counters>,
        secrets: Arc<Secrets>,
        workers: Vec<mpsc::Sender<Arrival>>,
    ) -> Self {
        Self { counters, secrets, workers, hush: Mutex::default() }
    }

    /// Accepts on all listeners until told to end, and looks after the files of certificates and users.
    pub(crate) async fn run(self, listeners: Vec<Opened>, mut orders: watch::Receiver<Order>) {
        let acceptor = Arc::new(self);
        let mut tasks = JoinSet::new();
        for opened in listeners {
            let acceptor = Arc::clone(&acceptor);
            tasks.spawn(async move { acceptor.accept_all(opened).await });
        }
        if !acceptor.secrets.is_empty() {
            tasks.spawn(reload(Arc::clone(&acceptor.secrets), Arc::clone(&acceptor.counters)));
        }
        // An error means that the front is gone, which ends the accepting as well.
        let _ = orders.wait_for(|order| *order != Order::Serve).await;
        tasks.shutdown().await;
    }

    async fn accept_all(&self, opened: Opened) {
        let joined = match opened.listener {
            Listener::Tcp(listener) => TcpListener::from_std(listener).map(Joined::Tcp),
            Listener::Unix(listener, file) => {
                UnixListener::from_std(listener).map(|listener| Joined::Unix(listener, file))
            }
        };
        let listener = match joined {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(%error, "a listener could not join its event loop"),
        };
        let mut turn = 0_usize;
        loop {
            let dealt = match listener.accept().await {
                Ok(stream) => self.deal(stream, opened.terms, turn).await,
                Err(error) => self.failed(&error).await,
            };
            turn = turn.wrapping_add(usize::from(dealt));
        }
    }

    async fn deal(&self, stream: Stream, terms: Terms, turn: usize) -> bool {
        let Some(permit) = Permit::take(&self.counters, turn) else {
            self.counters.rejected_connections.fetch_add(1, Ordering::Relaxed);
            stream.refuse(terms);
            if let Some(unsaid) = self.may_say() {
                let open = self.counters.connections_max;
                tracing::warn!(open, unsaid, "refused a connection: there are connections_max of them");
            }
            return false;
        };
        // A worker that ended closes the connection; the order to end is on its way here too.
        self.workers[permit.worker()].send(Arrival { stream, terms, permit }).await.is_ok()
    }

    async fn failed(&self, error: &io::Error) -> bool {
        self.counters.accept_errors.fetch_add(1, Ordering::Relaxed);
        let gone = matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset);
        if !gone {
            if let Some(unsaid) = self.may_say() {
                tracing::warn!(%error, unsaid, "accepting failed; raise the file-descriptor limit if this goes on");
            }
            tokio::time::sleep(ACCEPT_BACKOFF).await;
        }
        false
    }

    fn may_say(&self) -> Option<u64> {
        self.hush.lock().may_say(self.counters.connections.now())
    }
}

impl Stream {
    /// Tells the peer that there are too many; in TLS that would take a handshake.
    fn refuse(&self, terms: Terms) {
        // The peer may be gone already; there is nobody else to tell.
        let _ = match self {
            _ if terms.tls => Ok(0),
            Self::Tcp(stream) => (&*stream).write(TOO_MANY),
            Self::Unix(stream) => (&*stream).write(TOO_MANY),
        };
    }
}

/// A listener that joined the event loop.
enum Joined {
    Tcp(TcpListener),
    /// The file goes when the listener does.
    Unix(UnixListener, #[expect(dead_code, reason = "it is there to be dropped")] SocketFile),
}

impl Joined {
    /// The next connection, taken out of this event loop.
    async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // Of a peer that is gone already its first read tells.
                let _ = stream.set_nodelay(true);
                stream.into_std().map(Stream::Tcp)
            }
            Self::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                stream.into_std().map(Stream::Unix)
            }
        }
    }
}

/// Takes over changed files, off the event loop: a disk may be slow.
async fn reload(secrets: Arc<Secrets>, counters: Arc<Counters>) {
    // They were read just now.
    let mut ticks = interval_at(Instant::now() + RELOAD_EVERY, RELOAD_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let (secrets, counters) = (Arc::clone(&secrets), Arc::clone(&counters));
        // An error means that the event loop ends.
        let _ = spawn_blocking(move || secrets.reload(Look::Regular, &counters)).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::runtime::Builder;
    use tokio::time::sleep;

    use super::*;
    use crate::budget::Budget;

    #[test]
    fn changed_files_are_taken_over_at_the_next_look() {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let users = dir.path().join("users");
            std::fs::write(&users, "ann:secret\n").unwrap();
            let secrets = Arc::new(Secrets::load(None, Some(users.clone())).unwrap());
            let counters = Arc::new(Counters::new(1, 1, Budget::new(1), Budget::new(1)));
            let _looks = tokio::spawn(reload(Arc::clone(&secrets), Arc::clone(&counters)));
            let admits = |password: &[u8]| secrets.users().unwrap().admit(b"ann", password);
            let counted = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);

            // What is there at the start is not looked at twice.
            sleep(RELOAD_EVERY / 2).await;
            std::fs::write(&users, "ann:changed\n").unwrap();
            sleep(RELOAD_EVERY / 4).await;
            assert!(admits(b"secret") && counted(&counters.reloads) == 0);
            // Time does not go on while a file is read.
            sleep(RELOAD_EVERY / 2).await;
            assert!(admits(b"changed") && !admits(b"secret") && counted(&counters.reloads) == 1);

            // One that cannot be used is told once, however often it is looked at.
            std::fs::write(&users, "").unwrap();
            sleep(RELOAD_EVERY * 3).await;
            assert!(admits(b"changed") && counted(&counters.reload_errors) == 1);
        });
    }
}
