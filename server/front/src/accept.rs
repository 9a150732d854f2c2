//! The thread that accepts connections and deals them out.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener as StdTcpListener, TcpStream as StdTcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::stats::Counters;
use crate::worker::{Order, Permit};

/// Connections the kernel holds until they are accepted: a burst of reconnecting clients.
const BACKLOG: i32 = 4096;

/// Rest after a failed accept: with no descriptor left, trying again at once would only burn the thread.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// What a connection too many is told; memcached's own words.
const TOO_MANY: &[u8] = b"ERROR Too many open connections\r\n";

/// Opens a listening socket.
pub(crate) fn listen(address: SocketAddr) -> io::Result<StdTcpListener> {
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
    pub(crate) counters: Arc<Counters>,
    pub(crate) workers: Vec<mpsc::Sender<(StdTcpStream, Permit)>>,
}

impl Acceptor {
    /// Accepts on all listeners until told to end.
    pub(crate) async fn run(self, listeners: Vec<StdTcpListener>, mut orders: watch::Receiver<Order>) {
        let acceptor = Arc::new(self);
        let mut tasks = JoinSet::new();
        for listener in listeners {
            let acceptor = Arc::clone(&acceptor);
            tasks.spawn(async move { acceptor.accept_all(listener).await });
        }
        // An error means that the front is gone, which ends the accepting as well.
        let _ = orders.wait_for(|order| *order != Order::Serve).await;
    }

    async fn accept_all(&self, listener: StdTcpListener) {
        let listener = match TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(%error, "a listener could not join its event loop"),
        };
        let mut turn = 0_usize;
        loop {
            let dealt = match listener.accept().await.and_then(|(stream, _)| ready(stream)) {
                Ok(stream) => self.deal(stream, turn).await,
                Err(error) => self.failed(&error).await,
            };
            turn = turn.wrapping_add(usize::from(dealt));
        }
    }

    async fn deal(&self, stream: StdTcpStream, turn: usize) -> bool {
        let Some(permit) = Permit::take(&self.counters, turn) else {
            self.counters.rejected_connections.fetch_add(1, Ordering::Relaxed);
            // The peer may be gone already; there is nobody else to tell.
            let _ = (&stream).write(TOO_MANY);
            return false;
        };
        // A worker that ended closes the connection; the order to end is on its way here too.
        self.workers[permit.worker()].send((stream, permit)).await.is_ok()
    }

    async fn failed(&self, error: &io::Error) -> bool {
        self.counters.accept_errors.fetch_add(1, Ordering::Relaxed);
        let gone = matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset);
        if !gone {
            tracing::warn!(%error, "accepting failed; raise the file-descriptor limit if this goes on");
            tokio::time::sleep(ACCEPT_BACKOFF).await;
        }
        false
    }
}

/// Takes an accepted stream out of the acceptor's event loop.
fn ready(stream: tokio::net::TcpStream) -> io::Result<StdTcpStream> {
    stream.set_nodelay(true)?;
    stream.into_std()
}
