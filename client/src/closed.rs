//! Ending a client: what it owes to replicas is given to them as far as time allows, and the rest is told.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, timeout_at};

use crate::core::{Core, HOME_WRITES_MAX, TIMEOUT_MAX};
#[cfg(feature = "discovery")]
use crate::repair::tell_at_the_end;
use crate::repair::{NodeId, drain_until};
use crate::version::Version;

/// Of the time to close, what is kept for telling discovery who misses something.
#[cfg(feature = "discovery")]
const TELL_MAX: Duration = Duration::from_secs(1);

/// What a client that was closed leaves undone. `Display` tells it for a log.
///
/// What a node misses it will not have until something is read or written again, or nodes reconcile.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Closed {
    /// The nodes that are owed something.
    pub nodes: Vec<NodeLeft>,
    /// Writes to single replicas that have no answer: they may have been executed, or may still be.
    pub unanswered: usize,
    /// Changes that one place decides, such as `incr`, that had not come to an end: whether they were made is not known.
    pub undecided: usize,
}

/// What one node is owed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NodeLeft {
    /// Its server group.
    pub group: String,
    /// Its ring name.
    pub node: String,
    /// Writes that it has missed and was not given.
    pub missed: usize,
    /// The lowest version among them: it misses nothing of this client's that is older.
    pub lowest: Version,
}

impl Closed {
    /// Whether nothing is left.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        *self == Self::default()
    }

    /// Writes that some node has missed and was not given.
    #[must_use]
    pub fn missed(&self) -> usize {
        self.nodes.iter().map(|node| node.missed).sum()
    }

    fn of(core: &Core) -> Self {
        let left = core.repairs.lock().left();
        let node = |(id, missed, lowest): (NodeId, _, _)| {
            let NodeId { group, node } = id;
            NodeLeft { group, node, missed, lowest }
        };
        Self {
            nodes: left.into_iter().map(node).collect(),
            unanswered: core.unanswered.load(Ordering::Acquire),
            undecided: HOME_WRITES_MAX - core.home_writes.available_permits(),
        }
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_clean() {
            return f.write_str("nothing is left");
        }
        let Self { nodes, unanswered, undecided } = self;
        write!(f, "left: {unanswered} writes without an answer, {undecided} changes undecided")?;
        for NodeLeft { group, node, missed, lowest } in nodes {
            write!(f, "; node {node} of {group} misses {missed} writes from version {lowest} on")?;
        }
        Ok(())
    }
}

/// Closes the client, and gives replicas what they are owed until `limit` has passed.
pub(crate) async fn close_within(core: &Arc<Core>, limit: Duration) -> Closed {
    let cluster = core.close();
    #[cfg(feature = "discovery")]
    drop(core.watch.lock().take());
    let deadline = Instant::now() + limit.min(TIMEOUT_MAX);
    // Those that do not end in time are told of.
    let _ = timeout_at(deadline, wait_for_home_writes(core)).await;
    if let Some(cluster) = &cluster {
        #[cfg(feature = "discovery")]
        {
            drain_until(core, cluster, deadline - TELL_MAX.min(limit / 4)).await;
            if !core.repairs.lock().is_empty() {
                tell_at_the_end(core, deadline).await;
            }
        }
        #[cfg(not(feature = "discovery"))]
        drain_until(core, cluster, deadline).await;
    }
    Closed::of(core)
}

async fn wait_for_home_writes(core: &Core) {
    let all = u32::try_from(HOME_WRITES_MAX).expect("the limit is small");
    // Never closed: an error cannot happen, and there would be nothing to wait for.
    let _ = core.home_writes.acquire_many(all).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_told_in_a_line() {
        assert_eq!(Closed::default().to_string(), "nothing is left");
        let node = NodeLeft { group: "b".into(), node: "n1".into(), missed: 2, lowest: Version(5) };
        let closed = Closed { nodes: vec![node], unanswered: 3, undecided: 1 };
        let told = format!(
            "left: 3 writes without an answer, 1 changes undecided; node n1 of b misses 2 writes from version {} on",
            Version(5)
        );
        assert_eq!(closed.to_string(), told);
        assert_eq!(closed.missed(), 2);
        assert!(!closed.is_clean());
    }
}
