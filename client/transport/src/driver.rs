//! The task behind a connection: connects, serves, connects again, while handles live.

use std::sync::Arc;

use tokio::time::{Instant, sleep};
use tracing::{debug, warn};

use crate::arrival::{Arrival, arrive};
use crate::cause::{Cause, Failure};
use crate::error::TransportError;
use crate::greeting::Greeting;
use crate::queue::{Abandoned, Shared};
use crate::session::{Loss, Session, fail};
use crate::stream::Stream;

/// Runs until the last handle is gone. Whatever ends it, its runtime's end included, no request stays unanswered.
pub(crate) fn drive(shared: Arc<Shared>) -> impl Future<Output = ()> {
    // Made here, since a runtime that ends may drop the future before its first step.
    let mut driver = Driver { shared, told: None };
    async move {
        let shared = Arc::clone(&driver.shared);
        let mut delays = shared.options.delays();
        while !shared.inner.lock().retired {
            if driver.serve_once().await {
                delays = shared.options.delays();
                continue;
            }
            let delay = delays.next().unwrap_or(shared.options.backoff_max);
            // Biased, here and below: what happens is a function of what came before.
            tokio::select! {
                biased;
                () = shared.retire.notified() => {}
                () = sleep(delay) => {}
            }
        }
    }
}

struct Driver {
    shared: Arc<Shared>,
    /// The misconfiguration that was logged since the last connection: once is enough, and it stays for long.
    told: Option<Cause>,
}

impl Driver {
    /// One attempt and, when it succeeds, the life of its connection. True when the node has answered any request.
    async fn serve_once(&mut self) -> bool {
        let shared = Arc::clone(&self.shared);
        let arrival = tokio::select! {
            biased;
            () = shared.retire.notified() => return false,
            arrival = arrive(&shared) => arrival,
        };
        match arrival {
            Ok(arrival) => {
                self.told = None;
                metrics::counter!("evanesce_transport_connections_opened_total").increment(1);
                match arrival {
                    Arrival::Plain(stream, greeting) => serve(&shared, stream, greeting).await,
                    #[cfg(feature = "tls")]
                    Arrival::Tls(stream, greeting) => serve(&shared, stream, greeting).await,
                    #[cfg(feature = "simulation")]
                    Arrival::Simulated(stream, greeting) => serve(&shared, stream, greeting).await,
                }
            }
            Err(failure) => {
                self.report(&failure);
                let (address, cause) = (shared.address, failure.cause);
                // There was nothing to write to.
                let abandoned = shared.set_down(Instant::now(), failure);
                fail(abandoned.unwritten, TransportError::Unreachable { address, cause });
                false
            }
        }
    }

    fn report(&mut self, failure: &Failure) {
        let (address, cause) = (self.shared.address, failure.cause);
        let reason = cause.label();
        metrics::counter!("evanesce_transport_connects_failed_total", "reason" => reason).increment(1);
        if cause.is_misconfiguration() && self.told != Some(cause) {
            self.told = Some(cause);
            warn!(%address, reason, "cannot connect: {failure}");
        } else {
            debug!(%address, reason, "cannot connect: {failure}");
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.shared.retire();
        let ended = Cause::Io(std::io::ErrorKind::ConnectionAborted);
        let abandoned = self.shared.set_down(Instant::now(), ended.into());
        fail_abandoned(abandoned, &self.shared);
    }
}

async fn serve(shared: &Shared, stream: impl Stream, greeting: Greeting) -> bool {
    let mut session = Session::new(shared, stream, greeting);
    let loss = session.run().await;
    let answered = session.has_answered();
    report_loss(shared, loss);
    let abandoned = shared.set_down(Instant::now(), loss.cause().into());
    fail(session.take_unanswered(), loss.error(shared));
    fail_abandoned(abandoned, shared);
    answered
}

fn report_loss(shared: &Shared, loss: Loss) {
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

fn fail_abandoned(abandoned: Abandoned, shared: &Shared) {
    let address = shared.address;
    fail(abandoned.written, TransportError::Closed { address, sent: true });
    fail(abandoned.unwritten, TransportError::Closed { address, sent: false });
}
