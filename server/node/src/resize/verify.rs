//! Whether a node that was filled has what those have who gave it.

use std::sync::Arc;
use std::time::Duration;

use evanesce_grpc::discovery::v1;
use evanesce_grpc::peer::v1::Pair;
use evanesce_topology::{Node, Placement, PlacementError, ServerGroup, Topology};
use tokio::time::sleep;
use tonic::Status;

use super::fill::next_ring;
use super::view::{View, gives};
use crate::reconcile::{Tally, compare_with_owner};
use crate::shared::Shared;
use crate::warm::Newcomer;

/// Comparisons at most: what clients write meanwhile is on its way to both, and would be found for ever.
const ROUNDS_MAX: usize = 3;

/// How often a giver is asked that has no place for a walk, or cannot answer.
const ATTEMPTS_MAX: usize = 5;

/// Between two such attempts.
const RETRY: Duration = Duration::from_secs(1);

/// What the comparisons after a fill came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Verified {
    /// Items here that were compared with those of their givers, by counts and sums of ranges.
    pub(super) items: u64,
    /// What the givers had otherwise, and was taken over: items, and deletes.
    pub(super) mended: u64,
    /// What the last comparison still found, most likely what was being written.
    pub(super) left: u64,
}

/// Compares with every node that gave, and takes over what differs, until nothing does.
pub(super) async fn verify(shared: &Arc<Shared>, view: &View, me: &Newcomer) -> Result<Verified, Status> {
    let mut verified = Verified::default();
    for _ in 0..ROUNDS_MAX {
        let mut tally = Tally::default();
        for giver in view.sources().into_iter().filter(|node| gives(node)) {
            tally.add(&compare(shared, view, me, giver).await?);
        }
        verified.items = tally.compared;
        verified.left = tally.taken + tally.deleted;
        verified.mended += verified.left;
        if verified.left == 0 {
            break;
        }
    }
    Ok(verified)
}

async fn compare(shared: &Arc<Shared>, view: &View, me: &Newcomer, giver: &Node) -> Result<Tally, Status> {
    let (pair, address) =
        (pair(view, me, giver)?, giver.grpc.map(|grpc| grpc.to_string()).unwrap_or_default());
    let mut attempts = 0;
    loop {
        let placement = placement(view).map_err(|error| Status::internal(error.to_string()))?;
        attempts += 1;
        match compare_with_owner(shared, placement, pair.clone(), &address).await {
            Ok(tally) => return Ok(tally),
            Err(status) if attempts >= ATTEMPTS_MAX => return Err(status),
            Err(_) => sleep(RETRY).await,
        }
    }
}

/// The keys that the next ring gives this node and the one that is read the other: as of two groups, of which one has the next
/// ring.
fn pair(view: &View, me: &Newcomer, giver: &Node) -> Result<Pair, Status> {
    let gone = || Status::cancelled("the next ring is gone");
    let (group, mut next) = (view.group().ok_or_else(gone)?, next_ring(view).ok_or_else(gone)?);
    next.name = if group.name == "next" { "later".to_owned() } else { "next".to_owned() };
    let now = ServerGroup { second: None, ..group.clone() };
    Ok(Pair {
        cluster: me.cluster.clone(),
        profile: Some(v1::RingProfile::from(view.topology.profile)),
        asker_group: Some(v1::ServerGroup::from(&next)),
        asker: me.name.clone(),
        giver_group: Some(v1::ServerGroup::from(&now)),
        giver: giver.name.clone(),
    })
}

fn placement(view: &View) -> Result<Placement, PlacementError> {
    let groups = view.group().into_iter().map(|group| ServerGroup { second: None, ..group.clone() });
    Placement::new(Arc::new(Topology { groups: groups.collect(), ..(*view.topology).clone() }))
}
