//! A comparison with a node of the same group, which gives its keys away.

use std::sync::Arc;

use evanesce_grpc::peer::v1::Pair;
use evanesce_grpc::peer::v1::peer_client::PeerClient;
use evanesce_store::Version;
use evanesce_topology::{NodeRef, Placement};
use tonic::Status;

use super::exchange::{Exchange, Mode};
use super::others::{Group, Other, Others};
use super::scan::Haste;
use super::tally::Tally;
use crate::shared::Shared;
use crate::warm::{answer_bytes_max, channel};

/// Compares what both nodes of the pair are to hold, and takes what is newer there, or not here.
pub(crate) async fn compare_with_owner(
    shared: &Arc<Shared>,
    placement: Placement,
    pair: Pair,
    address: &str,
) -> Result<Tally, Status> {
    let peer = PeerClient::new(channel(address).await?).max_decoding_message_size(answer_bytes_max(shared));
    let others = Others::alone(pair.cluster.clone(), placement);
    let other = Other { at: NodeRef { group: 0, node: 0 }, client: peer };
    let group = Group { at: 0, nodes: Vec::new(), absent: 0 };
    // All that is not here was to come, however old it is.
    let mode = Mode { haste: Haste::Some, gap: None, keeps_since: Version::default() };
    let mut tally = Tally::default();
    let exchange =
        Exchange { shared, others: &others, group: &group, other: &other, mode, tally: &mut tally };
    if exchange.run(pair).await? {
        return Ok(tally);
    }
    Err(Status::aborted("it lacks something itself"))
}
