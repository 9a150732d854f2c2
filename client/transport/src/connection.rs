//! The handle of a connection.

use std::fmt;
use std::future::poll_fn;
use std::mem;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use evanesce_wire::reply::Reply;
use evanesce_wire::request::Request;
use tokio::time::{Instant, timeout_at};

use crate::cause::Failure;
use crate::completion::{BatchCell, CallCell, Completion, Target};
use crate::driver::drive;
use crate::error::{TransportError, Violation};
use crate::greeting::Greeting;
use crate::options::ConnectionOptions;
use crate::queue::{ConnectionState, Shared};

/// A connection to one node. Clones share it; it closes when the last of them goes.
#[derive(Clone)]
pub struct Connection {
    handle: Arc<Handle>,
}

struct Handle {
    shared: Arc<Shared>,
}

/// A request that was sent. Dropping it disturbs no other: the reply is read and thrown away.
#[derive(Debug)]
#[must_use = "its reply is thrown away"]
pub struct Call {
    cell: Arc<CallCell>,
    connection: Connection,
}

impl Call {
    /// Waits for the reply until `then`; `None` when it has not come by then, and may be waited for again.
    pub async fn wait(&mut self, then: Instant) -> Option<Result<Reply, TransportError>> {
        timeout_at(then, poll_fn(|cx| self.cell.poll(cx))).await.ok()
    }

    /// Waits for the reply until `deadline`.
    ///
    /// # Errors
    ///
    /// As those of [`Connection::call`].
    pub async fn end(mut self, deadline: Instant) -> Result<Reply, TransportError> {
        match self.wait(deadline).await {
            Some(outcome) => outcome,
            None => Err(self.give_up()),
        }
    }

    /// Stops to wait, with the error that says so. Its reply is thrown away: nothing comes of waiting again.
    pub fn give_up(&mut self) -> TransportError {
        let waiting = mem::take(&mut self.cell);
        self.connection.timed_out(waiting)
    }
}

impl Connection {
    /// Starts to connect to `address`, on the current tokio runtime, and keeps connecting while handles live.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    #[must_use]
    pub fn spawn(address: SocketAddr, options: ConnectionOptions) -> Self {
        let shared = Arc::new(Shared::new(address, options));
        tokio::spawn(drive(Arc::clone(&shared)));
        Self { handle: Arc::new(Handle { shared }) }
    }

    /// Sends one request and waits for its reply.
    ///
    /// Dropping the future disturbs no other request: its reply is read and thrown away. While the first attempt to
    /// connect is under way the request waits for it; once the node is known to be away it fails at once.
    ///
    /// # Errors
    ///
    /// See [`TransportError`]. An error line of the server is an `Ok`.
    pub async fn call(&self, request: &Request<'_>, deadline: Instant) -> Result<Reply, TransportError> {
        self.start_call(request, deadline).await
    }

    /// Like [`call`](Self::call), but sends before it is first polled, and the future does not keep the request.
    ///
    /// # Errors
    ///
    /// The future's, as those of [`call`](Self::call).
    pub fn start_call(
        &self,
        request: &Request<'_>,
        deadline: Instant,
    ) -> impl Future<Output = Result<Reply, TransportError>> + Send + use<> {
        let call = self.begin(request);
        async move { call?.end(deadline).await }
    }

    /// Sends one request; its reply is waited for with the [`Call`].
    ///
    /// # Errors
    ///
    /// When the request is not accepted.
    pub fn begin(&self, request: &Request<'_>) -> Result<Call, TransportError> {
        let cell = Arc::new(CallCell::default());
        let caller = Arc::downgrade(&cell);
        self.handle.shared.submit(request, Target::Caller(caller), 0)?;
        Ok(Call { cell, connection: self.clone() })
    }

    /// Sends many requests at once and waits for all replies, or the deadline. One outcome for each, in their order.
    ///
    /// Those beyond what the queue holds fail with [`TransportError::QueueFull`], so send no more than
    /// [`ConnectionOptions::queue_max`].
    pub async fn call_batch(
        &self,
        requests: &[Request<'_>],
        deadline: Instant,
    ) -> Vec<Result<Reply, TransportError>> {
        let cell = Arc::new(BatchCell::new(requests.len()));
        let caller: Weak<BatchCell> = Arc::downgrade(&cell);
        for (token, error) in self.handle.shared.submit_batch(requests, || Target::Caller(caller.clone())) {
            cell.complete(token, Err(error));
        }
        // On a timeout the outcomes that are there count all the same.
        let _ = timeout_at(deadline, poll_fn(|cx| cell.poll(cx))).await;
        let outcomes = cell.take();
        let missing = self.timed_out(cell);
        outcomes.into_iter().map(|outcome| outcome.unwrap_or(Err(missing))).collect()
    }

    /// Sends one request and hands its outcome to `completion`, with `token`. Returns at once.
    ///
    /// It has no deadline of its own: it ends with its reply or with the connection, at the latest soon after
    /// [`ConnectionOptions::stall_timeout`].
    ///
    /// # Errors
    ///
    /// When the request is not accepted; `completion` is not called then.
    pub fn submit(
        &self,
        request: &Request<'_>,
        completion: Arc<dyn Completion>,
        token: usize,
    ) -> Result<(), TransportError> {
        self.handle.shared.submit(request, Target::Owned(completion), token)
    }

    /// Ends the present connection, whose replies cannot be right: a reply said what only its caller can tell to be wrong.
    /// Requests under way on it fail with this [`Violation`], and another connection is made.
    pub fn distrust(&self, violation: Violation) {
        self.handle.shared.distrust(violation);
    }

    /// The node's address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.handle.shared.address
    }

    /// Where the connection is in its life.
    #[must_use]
    pub fn state(&self) -> ConnectionState {
        self.handle.shared.inner.lock().state
    }

    /// Whether there is a connection.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.state() == ConnectionState::Up
    }

    /// Resolves once the first attempt to connect is over, however it ended. Any number may wait; dropping the future
    /// is free, and it keeps no handle.
    pub fn settled(&self) -> impl Future<Output = ()> + Send + use<> {
        let shared = Arc::clone(&self.handle.shared);
        async move { shared.settled().await }
    }

    /// What the node told of itself when the present connection began; `None` while there is none.
    #[must_use]
    pub fn greeting(&self) -> Option<Greeting> {
        self.handle.shared.inner.lock().greeting
    }

    /// Whether requests may carry versions: there is a connection, and its node keeps them. One load of an atomic.
    ///
    /// The connection may end, and the next one lead to another kind of server, before the request is sent: that one
    /// answers with an error line, and does nothing.
    #[must_use]
    pub fn speaks_versions(&self) -> bool {
        self.handle.shared.versions.load(Ordering::Acquire)
    }

    /// Whether there is a connection to a node that keeps versions, and no request that may change anything is without an answer
    /// there: then another connection to this node sees all that was sent over this one before. Two loads of an atomic.
    ///
    /// What was lost with a connection counts no more once it has failed, and there is no connection until then.
    #[must_use]
    pub fn is_caught_up(&self) -> bool {
        self.handle.shared.is_caught_up()
    }

    /// Whether the node settles, as it told when the connection began. One load of an atomic where it does not.
    #[must_use]
    pub fn settles(&self, now: Instant) -> bool {
        let shared = &self.handle.shared;
        if !shared.settles.load(Ordering::Acquire) {
            return false;
        }
        let inner = shared.inner.lock();
        let settles =
            inner.greeting.and_then(|greeting| greeting.settles_until).is_some_and(|until| now < until);
        // Under the lock, so that what the next connection tells stays.
        shared.settles.store(settles, Ordering::Release);
        settles
    }

    /// Whether there was a connection to this address that has ended: what is there now may be another process.
    #[must_use]
    pub fn has_been_lost(&self) -> bool {
        self.handle.shared.is_again.load(Ordering::Acquire)
    }

    /// Why there is no connection, in more words than [`state`](Self::state) has. `None` while there is one, and during
    /// the first attempt.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        self.handle.shared.inner.lock().failure.clone()
    }

    /// Requests that have no outcome yet.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.handle.shared.inner.lock().outstanding
    }

    /// Lets go of whom the connection was to tell before it looks: a request that waits for the first connection then
    /// is never sent, and one that might be is called sent.
    fn timed_out<C>(&self, waiting: Arc<C>) -> TransportError {
        drop(waiting);
        let sent = self.state() != ConnectionState::Connecting;
        TransportError::Timeout { address: self.address(), sent }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.retire();
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("address", &self.address())
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}
