//! One connection of a worker, from its arrival to its end.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use tokio::net::{TcpStream, UnixStream};
use tokio::sync::SemaphorePermit;

use crate::accept::{Arrival, Stream};
use crate::connection::{Ended, Endpoints};
use crate::peer::Peer;
use crate::refusal::HandshakeRefusal;
use crate::service::Service;
use crate::session::{Session, linger};
use crate::slot::{Phase, Slot};
use crate::tls::{Tls, handshake};
use crate::worker::{Permit, Worker};

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
    let worker = &slot.worker;
    // There is no listener for TLS without a certificate.
    let config = worker.secrets.tls()?;
    let turn = match my_turn(slot).await {
        Ok(turn) => turn?,
        Err(error) => {
            refuse(slot, HandshakeRefusal::of(&error));
            return None;
        }
    };
    match handshake(slot, Arc::clone(&config), stream).await {
        Ok(stream) => {
            worker.mine().tls_handshakes.add(1);
            Some(stream)
        }
        Err((refusal, stream)) => {
            drop(turn);
            refuse(slot, refusal?);
            // An error means that the peer is gone.
            let _ = linger(&mut stream?, slot).await;
            None
        }
    }
}

/// Waits until not too many others shake hands. `None` when the worker drains.
async fn my_turn(slot: &Slot) -> io::Result<Option<SemaphorePermit<'_>>> {
    let mut acquire = pin!(slot.worker.handshakes.acquire());
    poll_fn(|cx| match acquire.as_mut().poll(cx) {
        Poll::Ready(permit) => Poll::Ready(Ok(permit.ok())),
        Poll::Pending if slot.worker.is_draining() => Poll::Ready(Ok(None)),
        Poll::Pending => match slot.wait(Phase::Handshaking, cx.waker()) {
            Ok(()) => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        },
    })
    .await
}

fn refuse(slot: &Slot, refusal: HandshakeRefusal) {
    let worker = &slot.worker;
    worker.mine().refused_handshake(refusal);
    if let Some(unsaid) = worker.hush.may_say(worker.now()) {
        let (peer, reason) = (slot.connection.endpoints().name(), refusal.label());
        tracing::warn!(peer, reason, unsaid, "refused a TLS connection: {}", refusal.text());
    }
}

#[cfg(test)]
mod tests;
