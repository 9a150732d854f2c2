//! What stands behind a front.

use std::future::Future;
use std::io;

use evanesce_wire::request::Request;

use crate::connection::{Connection, Ended};
use crate::output::Output;

/// Answers batches of requests. Each worker thread has its own, so it need be neither `Send` nor `Sync`.
///
/// Keep the future of [`Service::call`] small, or box it: every connection carries room for one, idle or not.
pub trait Service: 'static {
    /// Answers the requests of `batch` in order, appending to `out`.
    ///
    /// A batch holds 1 to [`crate::BATCH_REQUESTS_MAX`] requests of one connection. No `quit` is ever among
    /// them, of any protocol: the front closes by itself. Between the items of a long reply, call [`Output::flush`] when
    /// [`Output::is_full`].
    ///
    /// # Errors
    ///
    /// Whatever [`Output::flush`] returned; the connection is closed.
    fn call(&self, batch: &[Request<'_>], out: &mut Output<'_>) -> impl Future<Output = io::Result<Flow>>;

    /// A connection was let in. It is this worker's.
    fn connected(&self, _connection: &Connection) {}

    /// A connection ended.
    fn disconnected(&self, _connection: &Connection, _ended: Ended) {}
}

/// Whether a connection goes on after a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Flow {
    /// It does.
    Continue,
    /// What was written is flushed, then it is closed.
    Close,
}
