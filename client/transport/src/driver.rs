//! The task behind a connection: connects, serves, connects again, while handles live.

use std::io;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, warn};

use crate::error::TransportError;
use crate::queue::{Abandoned, Shared};
use crate::session::{Loss, Session, fail};

/// Runs until the last handle is gone. Whatever ends it, its runtime's end included, no request stays unanswered.
pub(crate) async fn drive(shared: Arc<Shared>) {
    let _end = EndOfDriver { shared: &shared };
    let mut delays = shared.options.delays();
    while !shared.inner.lock().retired {
        if serve_once(&shared).await {
            delays = shared.options.delays();
            continue;
        }
        let delay = delays.next().unwrap_or(shared.options.backoff_max);
        tokio::select! {
            () = shared.retire.notified() => {}
            () = sleep(delay) => {}
        }
    }
}

/// One attempt and, when it succeeds, the life of its connection. True when the node has answered anything.
async fn serve_once(shared: &Shared) -> bool {
    let attempt = tokio::select! {
        () = shared.retire.notified() => return false,
        attempt = timeout(shared.options.connect_timeout, connect(shared)) => attempt,
    };
    match attempt.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        Ok(stream) => serve(shared, stream).await,
        Err(error) => {
            debug!(address = %shared.address, %error, "cannot connect");
            let (address, kind) = (shared.address, error.kind());
            // There was no socket to write to.
            let abandoned = shared.set_down(Instant::now(), kind);
            fail(abandoned.unwritten, TransportError::Unreachable { address, kind });
            false
        }
    }
}

async fn connect(shared: &Shared) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(shared.address).await?;
    stream.set_nodelay(true)?;
    metrics::counter!("evanesce_transport_connections_opened_total").increment(1);
    Ok(stream)
}

async fn serve(shared: &Shared, stream: TcpStream) -> bool {
    let mut session = Session::new(shared, stream);
    let loss = session.run().await;
    let answered = session.has_answered();
    report(shared, loss);
    let abandoned = shared.set_down(Instant::now(), loss.kind());
    fail(session.take_unanswered(), loss.error(shared));
    fail_abandoned(abandoned, shared);
    answered
}

fn report(shared: &Shared, loss: Loss) {
    let reason = match loss {
        Loss::Retired => return,
        Loss::EndOfFile => "closed",
        Loss::Io(_) => "io",
        Loss::Stalled => "stalled",
        Loss::Violation(_) => "protocol",
    };
    metrics::counter!("evanesce_transport_connections_lost_total", "reason" => reason).increment(1);
    warn!(address = %shared.address, ?loss, "connection lost");
}

/// Runs when the driver ends, or is dropped with its runtime.
struct EndOfDriver<'a> {
    shared: &'a Shared,
}

impl Drop for EndOfDriver<'_> {
    fn drop(&mut self) {
        self.shared.retire();
        let abandoned = self.shared.set_down(Instant::now(), io::ErrorKind::ConnectionAborted);
        fail_abandoned(abandoned, self.shared);
    }
}

fn fail_abandoned(abandoned: Abandoned, shared: &Shared) {
    let address = shared.address;
    fail(abandoned.written, TransportError::Closed { address, sent: true });
    fail(abandoned.unwritten, TransportError::Closed { address, sent: false });
}
