//! What callers and the driver of a connection share.

use std::collections::VecDeque;
use std::mem;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Waker;

use bytes::{Buf, BytesMut};
use evanesce_wire::Expect;
use evanesce_wire::request::{MetaGet, Request};
use parking_lot::Mutex;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::cause::{Cause, Failure};
use crate::completion::Target;
use crate::error::{TransportError, Unsupported, Violation};
use crate::greeting::Greeting;
use crate::opaque::Opaque;
use crate::options::ConnectionOptions;
#[cfg(feature = "tls")]
use crate::tls::Handshake;

/// A write buffer that grew beyond this for large items is given back once it is empty.
pub(crate) const WRITE_BUFFER_KEPT_BYTES_MAX: usize = 256 << 10;

/// Where a connection is in its life. An attempt succeeds with the node's greeting.
///
/// ```text
///              first attempt succeeds
///  Connecting ------------------------> Up <-----------+
///      |                                |              | an attempt succeeds
///      | it fails                       | it is lost   |
///      +-------------> Down <-----------+--------------+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionState {
    /// The first attempt is under way; requests wait for its end.
    Connecting,
    /// There is a connection.
    Up,
    /// There is none, and requests fail at once while attempts go on.
    Down {
        /// Since when.
        since: Instant,
        /// What the last attempt, or the last connection, ended with.
        cause: Cause,
    },
}

/// A request whose reply is due, in the order of the replies.
pub(crate) struct Pending {
    pub(crate) expect: Expect,
    pub(crate) opaque: Option<Opaque>,
    /// Whether what others read may depend on it.
    pub(crate) changes: bool,
    pub(crate) bytes: usize,
    pub(crate) target: Target,
    pub(crate) token: usize,
}

/// What is kept of a request until its reply.
#[derive(Clone, Copy)]
struct Asked {
    expect: Expect,
    opaque: Option<Opaque>,
    changes: bool,
}

impl Asked {
    fn of(request: &Request<'_>) -> Result<Self, TransportError> {
        let unsupported = |reason| TransportError::Unsupported { reason };
        let expect = request.expect().ok_or(unsupported(Unsupported::NoReply))?;
        Ok(Self { expect, opaque: Opaque::of(request).map_err(unsupported)?, changes: changes(request) })
    }
}

/// Whether a request may change what later ones are answered. What is not known to be a mere question may.
fn changes(request: &Request<'_>) -> bool {
    match request {
        Request::MetaGet(MetaGet { touch, vivify, recache_below, promise, .. }) => {
            touch.is_some() || vivify.is_some() || recache_below.is_some() || promise.is_some()
        }
        Request::Get(get) => get.touch.is_some(),
        Request::MetaNoop | Request::MetaNoopVersions | Request::Version | Request::Stats(_) => false,
        _ => true,
    }
}

/// Requests that the session never knew when the connection ended.
pub(crate) struct Abandoned {
    /// Written inline, the last perhaps in part: the node may have executed them.
    pub(crate) written: VecDeque<Pending>,
    /// Never written.
    pub(crate) unwritten: VecDeque<Pending>,
}

pub(crate) struct Shared {
    pub(crate) address: SocketAddr,
    pub(crate) options: ConnectionOptions,
    /// With nodes that speak TLS.
    #[cfg(feature = "tls")]
    pub(crate) handshake: Option<Handshake>,
    /// Tells a driver that sleeps between attempts that no handle is left.
    pub(crate) retire: Notify,
    /// Tells who waits for the end of the first attempt.
    pub(crate) settle: Notify,
    /// Whether the present connection's node keeps versions.
    pub(crate) versions: AtomicBool,
    /// Whether the present connection's node told that it settles, and may do so still.
    pub(crate) settles: AtomicBool,
    /// Whether there was a connection before the present one.
    pub(crate) is_again: AtomicBool,
    /// Changes without an outcome. Written under the lock: up before the request can be written, down after its reply was read.
    pub(crate) changes: AtomicUsize,
    /// The only lock of a connection. Completions are called after its release.
    pub(crate) inner: Mutex<Inner>,
}

pub(crate) struct Inner {
    pub(crate) state: ConnectionState,
    /// Of the present connection.
    pub(crate) greeting: Option<Greeting>,
    /// Why there is no connection.
    pub(crate) failure: Option<Failure>,
    /// Encoded requests that are not yet the session's.
    pub(crate) out: BytesMut,
    /// Requests that the session does not know yet. Those written inline have no bytes in `out` any more.
    pub(crate) queued: VecDeque<Pending>,
    /// Requests without an outcome: queued and in flight.
    pub(crate) outstanding: usize,
    /// The session's socket, for writing inline.
    pub(crate) writer: Option<Arc<OwnedWriteHalf>>,
    /// The session holds bytes that the socket did not take yet: nobody else may write.
    pub(crate) write_blocked: bool,
    /// The last replies came several at once: others are about to ask, too, and one write is to take them all.
    pub(crate) crowded: bool,
    /// The session has stopped looking for stalls, because nothing was asked for a while.
    pub(crate) unwatched: bool,
    /// The session, when it waits.
    pub(crate) session: Option<Waker>,
    /// What a caller found wrong with a reply of the present connection.
    pub(crate) distrusted: Option<Violation>,
    /// No handle is left, or the runtime is gone.
    pub(crate) retired: bool,
}

impl Shared {
    pub(crate) fn new(address: SocketAddr, options: ConnectionOptions) -> Self {
        let inner = Inner {
            state: ConnectionState::Connecting,
            greeting: None,
            failure: None,
            out: BytesMut::new(),
            queued: VecDeque::new(),
            outstanding: 0,
            writer: None,
            write_blocked: false,
            crowded: false,
            unwatched: false,
            session: None,
            distrusted: None,
            retired: false,
        };
        Self {
            address,
            #[cfg(feature = "tls")]
            handshake: options.tls.as_ref().map(|tls| Handshake::new(tls, address)),
            options,
            retire: Notify::new(),
            settle: Notify::new(),
            versions: AtomicBool::new(false),
            settles: AtomicBool::new(false),
            is_again: AtomicBool::new(false),
            changes: AtomicUsize::new(0),
            inner: Mutex::new(inner),
        }
    }

    /// Accepts a request, or says why not. An accepted one is completed exactly once.
    pub(crate) fn submit(
        &self,
        request: &Request<'_>,
        target: Target,
        token: usize,
    ) -> Result<(), TransportError> {
        let asked = Asked::of(request)?;
        let mut inner = self.inner.lock();
        self.admit(&inner)?;
        let alone = inner.outstanding == 0 && !inner.crowded;
        self.push(&mut inner, request, asked, target, token);
        let waker = inner.send_inline_or_wake(alone, &self.options);
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    /// Accepts requests that go out in one write; their tokens are their positions. Returns those that are not
    /// accepted, and why.
    pub(crate) fn submit_batch(
        &self,
        requests: &[Request<'_>],
        target: impl Fn() -> Target,
    ) -> Vec<(usize, TransportError)> {
        let mut refused = Vec::new();
        let mut inner = self.inner.lock();
        let alone = inner.outstanding == 0;
        for (token, request) in requests.iter().enumerate() {
            match Asked::of(request).and_then(|asked| self.admit(&inner).map(|()| asked)) {
                Ok(asked) => self.push(&mut inner, request, asked, target(), token),
                Err(error) => refused.push((token, error)),
            }
        }
        let waker = inner.send_inline_or_wake(alone, &self.options);
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
        refused
    }

    fn push(&self, inner: &mut Inner, request: &Request<'_>, asked: Asked, target: Target, token: usize) {
        self.changes.fetch_add(usize::from(asked.changes), Ordering::AcqRel);
        inner.push(request, asked, target, token);
    }

    /// So many requests have their outcome. Before anybody is told of it, so that a caller who asks again finds them gone.
    pub(crate) fn answered<'p>(&self, requests: impl ExactSizeIterator<Item = &'p Pending>) {
        let count = requests.len();
        let changes = requests.filter(|pending| pending.changes).count();
        let mut inner = self.inner.lock();
        inner.outstanding -= count;
        inner.crowded = count > 1;
        self.changes.fetch_sub(changes, Ordering::AcqRel);
    }

    /// Whether there is a connection to a node that keeps versions, and every change that was sent to it has its answer.
    pub(crate) fn is_caught_up(&self) -> bool {
        // In this order: while a connection is lost the versions go before the changes.
        self.changes.load(Ordering::Acquire) == 0 && self.versions.load(Ordering::Acquire)
    }

    fn admit(&self, inner: &Inner) -> Result<(), TransportError> {
        let address = self.address;
        if inner.retired {
            return Err(TransportError::Closed { address, sent: false });
        }
        if let ConnectionState::Down { cause, .. } = inner.state {
            return Err(TransportError::Unreachable { address, cause });
        }
        if inner.queued.len() >= self.options.queue_max || inner.out.len() >= self.options.queued_bytes_max {
            return Err(TransportError::QueueFull { address });
        }
        Ok(())
    }

    /// A connection is there: what waited for it and is still wanted goes first. Without a writer callers leave all
    /// writing to the session.
    pub(crate) fn set_up(&self, writer: Option<Arc<OwnedWriteHalf>>, greeting: Greeting) {
        let mut inner = self.inner.lock();
        inner.drop_unwanted();
        let changes = inner.queued.iter().filter(|pending| pending.changes).count();
        self.changes.store(changes, Ordering::Release);
        inner.state = ConnectionState::Up;
        inner.greeting = Some(greeting);
        inner.failure = None;
        inner.writer = writer;
        inner.distrusted = None;
        inner.write_blocked = false;
        inner.unwatched = false;
        self.versions.store(greeting.versions, Ordering::Release);
        self.settles.store(greeting.settles_until.is_some(), Ordering::Release);
        drop(inner);
        self.settle.notify_waiters();
    }

    /// There is no connection: takes what was queued, to be failed.
    #[must_use]
    pub(crate) fn set_down(&self, since: Instant, failure: Failure) -> Abandoned {
        let mut inner = self.inner.lock();
        // An outage lasts from its first failure.
        let since = match inner.state {
            ConnectionState::Down { since, .. } => since,
            _ => since,
        };
        if inner.state == ConnectionState::Up {
            self.is_again.store(true, Ordering::Release);
        }
        inner.state = ConnectionState::Down { since, cause: failure.cause };
        inner.greeting = None;
        inner.failure = Some(failure);
        inner.writer = None;
        inner.session = None;
        inner.outstanding = 0;
        self.versions.store(false, Ordering::Release);
        self.settles.store(false, Ordering::Release);
        self.changes.store(0, Ordering::Release);
        let abandoned = inner.abandon();
        drop(inner);
        self.settle.notify_waiters();
        abandoned
    }

    /// Waits until the first attempt to connect is over.
    pub(crate) async fn settled(&self) {
        let mut told = pin!(self.settle.notified());
        // Told of what happens from here on, though not polled yet.
        told.as_mut().enable();
        if self.inner.lock().state == ConnectionState::Connecting {
            told.await;
        }
    }

    /// Ends the present connection: a caller found that the peer broke the protocol.
    pub(crate) fn distrust(&self, violation: Violation) {
        let mut inner = self.inner.lock();
        inner.distrusted = Some(violation);
        let waker = inner.session.take();
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Ends the connection for good.
    pub(crate) fn retire(&self) {
        let waker = {
            let mut inner = self.inner.lock();
            inner.retired = true;
            inner.session.take()
        };
        self.retire.notify_one();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Inner {
    fn push(&mut self, request: &Request<'_>, asked: Asked, target: Target, token: usize) {
        let Asked { expect, opaque, changes } = asked;
        let before = self.out.len();
        request.encode(&mut self.out);
        let bytes = self.out.len() - before;
        self.queued.push_back(Pending { expect, opaque, changes, bytes, target, token });
        self.outstanding += 1;
    }

    /// On an idle connection, which the caller then has `alone`, it writes itself, which saves a task switch; on a busy
    /// one the session writes what many callers left, in one go. Returns the session's waker when it has something to
    /// do.
    fn send_inline_or_wake(&mut self, alone: bool, options: &ConnectionOptions) -> Option<Waker> {
        if alone && !self.write_blocked && !self.out.is_empty() {
            self.send_inline(options);
        }
        if self.out.is_empty() && !self.unwatched { None } else { self.session.take() }
    }

    fn send_inline(&mut self, options: &ConnectionOptions) {
        let Some(writer) = &self.writer else { return };
        // An error here is the session's to find.
        if let Ok(written) = writer.try_write(&self.out) {
            options.count_written(written);
            if written == self.out.len() {
                self.out.clear();
            } else {
                self.out.advance(written);
            }
        }
    }

    /// Takes what was queued. The first ones may have been written inline: they went out on an idle connection.
    fn abandon(&mut self) -> Abandoned {
        let unwritten_bytes = mem::take(&mut self.out).len();
        let mut written = mem::take(&mut self.queued);
        let mut bytes = 0;
        // From the back, those of which nothing has been written.
        let is_unwritten = |pending: &&Pending| {
            bytes += pending.bytes;
            bytes <= unwritten_bytes
        };
        let unwritten = written.iter().rev().take_while(is_unwritten).count();
        let unwritten = written.split_off(written.len() - unwritten);
        Abandoned { written, unwritten }
    }

    /// Drops requests whose callers have gone while the first attempt was under way: they are not to be sent late.
    fn drop_unwanted(&mut self) {
        let mut out = BytesMut::with_capacity(self.out.len());
        let mut wanted = VecDeque::with_capacity(self.queued.len());
        for pending in self.queued.drain(..) {
            let bytes = self.out.split_to(pending.bytes);
            if pending.target.is_wanted() {
                out.extend_from_slice(&bytes);
                wanted.push_back(pending);
            }
        }
        self.outstanding = wanted.len();
        self.out = out;
        self.queued = wanted;
    }
}

#[cfg(test)]
mod tests;
