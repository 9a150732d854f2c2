//! One connection of a worker, from its arrival to its end.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::ReadBuf;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::SemaphorePermit;

use crate::accept::{Arrival, Stream};
use crate::connection::{Ended, Endpoints};
use crate::peer::Peer;
use crate::refusal::{HANDSHAKE_RECORD, HandshakeRefusal, Refused};
use crate::service::Service;
use crate::session::{Session, linger};
use crate::slot::{Phase, Slot};
use crate::tls::{Tls, Unshaken, handshake};
use crate::worker::{Permit, Worker};

/// What somebody is told who does not speak TLS where that is wanted.
const SPEAKS_TLS: &[u8] = b"CLIENT_ERROR this port speaks TLS only\r\n";

/// A connection that is there; no more when dropped.
struct Present(Rc<Slot>);

impl Drop for Present {
    fn drop(&mut self) {
        let worker = &self.0.worker;
        worker.counters.connections.close(&self.0.connection);
        worker.left();
    }
}

impl Worker {
    /// Serves a connection that was dealt to this worker.
    pub(crate) fn admit<S: Service>(self: &Rc<Self>, arrival: Arrival, service: &Rc<S>) {
        if self.is_draining() {
            return;
        }
        let Arrival { stream, terms, permit } = arrival;
        let (worker, service) = (Rc::clone(self), Rc::clone(service));
        let joined = match stream {
            Stream::Tcp(stream) if terms.tls => TcpStream::from_std(stream)
                .map(|stream| spawn(move || worker.serve_tls(stream, service, terms.auth), permit)),
            Stream::Tcp(stream) => TcpStream::from_std(stream)
                .map(|stream| spawn(move || worker.serve(stream, service, terms.auth), permit)),
            Stream::Unix(stream) => UnixStream::from_std(stream)
                .map(|stream| spawn(move || worker.serve(stream, service, terms.auth), permit)),
        };
        if let Err(error) = joined {
            tracing::warn!(%error, "a connection could not join its event loop");
        }
    }

    /// Serves one connection to its end, once its peer has authenticated where it must.
    pub(crate) fn serve<IO, S>(
        self: Rc<Self>,
        stream: IO,
        service: Rc<S>,
        must_authenticate: bool,
    ) -> impl Future<Output = ()>
    where
        IO: Peer,
        S: Service,
    {
        let present = self.enter(stream.endpoints());
        talk(present, stream, service, must_authenticate)
    }

    /// The same in TLS.
    async fn serve_tls<S: Service>(
        self: Rc<Self>,
        stream: TcpStream,
        service: Rc<S>,
        must_authenticate: bool,
    ) {
        let present = self.enter(stream.endpoints());
        // Boxed, because what a handshake needs is gone after it.
        if let Some(stream) = Box::pin(shake_hands(&present.0, stream)).await {
            talk(present, stream, service, must_authenticate).await;
        }
    }

    fn enter(self: Rc<Self>, endpoints: Endpoints) -> Present {
        let connection = self.counters.connections.open(endpoints);
        self.came();
        Present(Slot::new(self, connection))
    }
}

/// The future is made where it is awaited: one that is moved there takes its room twice, for as long as it lives.
fn spawn<F: Future<Output = ()>>(connection: impl FnOnce() -> F + 'static, permit: Permit) {
    tokio::task::spawn_local(async move {
        connection().await;
        drop(permit);
    });
}

async fn talk<IO: Peer, S: Service>(present: Present, stream: IO, service: Rc<S>, must_authenticate: bool) {
    service.connected(&present.0.connection);
    let session = Session::new(stream, Rc::clone(&service), Rc::clone(&present.0));
    let ended = match session.run(must_authenticate).await {
        Ok(()) if present.0.worker.is_draining() => Ended::Shutdown,
        Ok(()) => Ended::Normal,
        Err(error) => {
            tracing::debug!(%error, "a connection ended early");
            if error.kind() == ErrorKind::TimedOut { Ended::Idle } else { Ended::Error }
        }
    };
    service.disconnected(&present.0.connection, ended);
}

/// `None` for a peer that was refused, and told so as well as can be.
async fn shake_hands(slot: &Slot, stream: TcpStream) -> Option<Tls> {
    match try_to_shake_hands(slot, stream).await {
        Ok(stream) => {
            slot.worker.mine().tls_handshakes.add(1);
            Some(stream)
        }
        Err((refused, stream)) => {
            refuse(slot, refused?);
            // An error means that the peer is gone.
            let _ = linger(&mut stream?, slot).await;
            None
        }
    }
}

async fn try_to_shake_hands(slot: &Slot, stream: TcpStream) -> Result<Tls, Unshaken> {
    // Somebody silent takes nobody's turn.
    match poll_fn(|cx| poll_begin(slot, &stream, cx)).await {
        Ok(()) => {}
        Err(refused) => {
            if refused.as_ref().is_some_and(|refused| refused.reason == HandshakeRefusal::PlainText) {
                // What does not fit at once is for a peer that does not read.
                let _ = stream.try_write(SPEAKS_TLS);
            }
            return Err((refused, Some(stream)));
        }
    }
    let _turn = my_turn(slot).await.map_err(|refused| (refused, None))?;
    // There is no listener for TLS without a certificate.
    let config = slot.worker.secrets.tls().ok_or((None, None))?;
    handshake(slot, config, stream).await
}

/// Waits for the peer's first byte, and leaves it where it is.
fn poll_begin(slot: &Slot, stream: &TcpStream, cx: &mut Context<'_>) -> Poll<Result<(), Option<Refused>>> {
    let mut first = [0; 1];
    let mut first = ReadBuf::new(&mut first);
    let peeked = match stream.poll_peek(cx, &mut first) {
        Poll::Pending => return poll_on(slot, Phase::Greeting, cx),
        Poll::Ready(peeked) => peeked.map(|_| first.filled().first()),
    };
    Poll::Ready(match peeked {
        Ok(Some(&HANDSHAKE_RECORD)) => Ok(()),
        Ok(Some(_)) => Err(Some(HandshakeRefusal::PlainText.into())),
        Ok(None) => Err(Some(HandshakeRefusal::Gone.into())),
        Err(error) => Err(Some(error.into())),
    })
}

/// Waits until not too many others shake hands.
async fn my_turn(slot: &Slot) -> Result<SemaphorePermit<'_>, Option<Refused>> {
    let mut acquire = pin!(slot.worker.handshakes.acquire());
    poll_fn(|cx| match acquire.as_mut().poll(cx) {
        // The semaphore is never closed.
        Poll::Ready(permit) => Poll::Ready(permit.map_err(|_| None)),
        Poll::Pending => poll_on(slot, Phase::Greeting, cx),
    })
    .await
}

/// Goes on waiting, unless that takes too long, or the worker drains, for which there is no reason to tell.
pub(crate) fn poll_on<T>(
    slot: &Slot,
    phase: Phase,
    cx: &mut Context<'_>,
) -> Poll<Result<T, Option<Refused>>> {
    if slot.worker.is_draining() {
        return Poll::Ready(Err(None));
    }
    match slot.wait(phase, cx.waker()) {
        Ok(()) => Poll::Pending,
        Err(error) => Poll::Ready(Err(Some(error.into()))),
    }
}

/// Counts and logs it. Somebody who comes and goes, as a probe of a load balancer does, is no news.
pub(crate) fn refuse(slot: &Slot, Refused { reason, detail }: Refused) {
    let worker = &slot.worker;
    worker.mine().refused_handshake(reason);
    if reason == HandshakeRefusal::Gone {
        return;
    }
    if let Some(unsaid) = worker.hush.may_say(worker.now()) {
        let peer = slot.connection.endpoints().name();
        let (reason, text) = (reason.label(), reason.text());
        tracing::warn!(peer, reason, detail, unsaid, "refused a TLS connection: {text}");
    }
}

#[cfg(test)]
mod tests;
