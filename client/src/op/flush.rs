//! `flush_all`: every node of every zone.

use evanesce_wire::reply::{Reply, Status};
use evanesce_wire::request::{FlushAll, Request};
use futures_util::future::join_all;
use tokio::time::Instant;

use super::OpFuture;
use super::options::{Limit, limit_options};
use crate::core::Core;
use crate::error::{Attempt, NodeError, WriteError};
use crate::member::Member;
use crate::namespace::Namespace;
use crate::observe::{Operation, Watch};
use crate::outcome::Written;
use crate::policy::LatchPolicy;
use crate::skew::clock_ms;
use crate::ttl::Ttl;

/// Empties the whole cluster: what was written before is gone in every zone, whatever prefix this goes through.
///
/// All nodes are asked at once, and all have to say that they did: one that did not still has its items, and serves
/// them. Nothing is tried again. A caller that goes away leaves the nodes that were asked already flushed.
#[must_use = "an operation does nothing until it is awaited"]
pub struct Flush<'a> {
    namespace: &'a Namespace,
    at: Option<Ttl>,
    limit: Limit,
}

impl<'a> Flush<'a> {
    pub(crate) fn new(namespace: &'a Namespace) -> Self {
        Self { namespace, at: None, limit: Limit::of_write(namespace) }
    }

    /// When it takes effect, by the clocks of the nodes. Default now, which [`Ttl::Never`] means too.
    pub fn at(mut self, at: impl Into<Ttl>) -> Self {
        self.at = Some(at.into());
        self
    }

    limit_options!("How long the nodes may take. Default the client's for writes, 500 ms.", limit);

    /// Runs it; awaiting the operation does the same. How many nodes were flushed.
    ///
    /// # Errors
    ///
    /// [`WriteError::NotAcknowledged`] with the nodes that did not say that they were.
    pub async fn run(self) -> Result<usize, WriteError> {
        match Watch::begin(self.namespace, Operation::FlushAll, 0) {
            None => self.execute().await,
            Some(watch) => watch.over(self.execute()).await,
        }
    }

    async fn execute(self) -> Result<usize, WriteError> {
        let core = &self.namespace.core;
        let cluster = core.cluster().ok_or(WriteError::Closed)?;
        let _flushing = core.near.flushing();
        let delay = self.at.map(|at| at.exptime(core.nodes_now()));
        let deadline = self.limit.end_of_write(Instant::now())?;
        let request = Request::FlushAll(FlushAll { delay, noreply: false });
        let flushes = cluster.members().map(|member| flush_member(core, member, &request, deadline));
        let outcomes = join_all(flushes).await;
        let nodes = outcomes.len();
        let attempts: Vec<Attempt> = outcomes.into_iter().flatten().collect();
        if attempts.is_empty() {
            return Ok(nodes);
        }
        core.metrics.write_failures.increment(1);
        let Written { pending, .. } = Written::default();
        let (failed, maybe_applied) = (attempts.len(), attempts.iter().any(|one| one.cause.maybe_applied()));
        let acked = nodes - failed;
        Err(WriteError::NotAcknowledged {
            latch: LatchPolicy::All,
            acked,
            failed,
            pending,
            maybe_applied,
            decided: false,
            attempts,
        })
    }
}

impl Namespace {
    /// Empties the whole cluster, not this prefix alone.
    pub fn flush_all(&self) -> Flush<'_> {
        Flush::new(self)
    }
}

/// What went wrong, if anything. Once it is done, what this client writes is later than it by the node's clock, too.
async fn flush_member(
    core: &Core,
    member: &Member,
    request: &Request<'_>,
    deadline: Instant,
) -> Option<Attempt> {
    let link = &member.link;
    match link.connection.call(request, deadline).await {
        Ok(Reply::Status(Status::Ok)) => {}
        outcome => return Some(member.attempt(link.judge(outcome).err().unwrap_or(NodeError::Unexpected))),
    }
    // A node that does not tell its time has flushed all the same.
    if link.connection.speaks_versions()
        && let Some(node_ms) = clock_ms(link, deadline).await
    {
        core.clock.observe_clock(node_ms, core.now());
    }
    None
}

impl<'a> IntoFuture for Flush<'a> {
    type Output = Result<usize, WriteError>;
    type IntoFuture = OpFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
