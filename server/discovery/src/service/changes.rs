//! Operators' changes over gRPC.

use std::sync::Arc;
use std::time::Duration;

use evanesce_grpc::discovery::v1;
use evanesce_topology::{Placement, Topology};
use tonic::{Request, Response, Status};

use super::{DiscoveryService, status};
use crate::registry::{Change, PlannedChange};

/// Keys by which the share of a group that moves is judged: to a quarter of a percent.
const SAMPLE_KEYS: u32 = 1 << 17;

/// What one node takes in while it serves, on a small machine: assumed, for a plan's estimate alone.
const FILL_BYTES_PER_SECOND: u64 = 50 << 20;

/// The same in items.
const FILL_ITEMS_PER_SECOND: u64 = 150_000;

impl DiscoveryService {
    pub(super) async fn change(
        &self,
        request: Request<v1::ChangeGroupRequest>,
    ) -> Result<Response<v1::ChangeGroupResponse>, Status> {
        self.check_open()?;
        let request = request.into_inner();
        let kind = request.kind();
        if kind == v1::ChangeKind::Unspecified {
            return Err(Status::invalid_argument("the kind of change is missing"));
        }
        let v1::ChangeGroupRequest { cluster, group, nodes, zone, nodes_min, begin, .. } = request;
        let change = Change { cluster, group, kind, nodes, zone, nodes_min };
        let planned = self.desk.with(|registry, now| {
            if begin {
                registry.begin(&change, now)
            } else {
                registry.plan(&change, now).map(|planned| (planned, 0))
            }
        });
        let (planned, number) = planned.map_err(|refusal| status(&refusal))?;
        if begin {
            let what = &planned.roster.what;
            tracing::warn!(cluster = planned.cluster, change = number, what, "a change begins");
        }
        let lease = self.desk.with(|registry, _| registry.lease());
        // Rings take a moment to build.
        let plan = tokio::task::spawn_blocking(move || plan(planned, lease)).await;
        let plan = plan.map_err(|_| super::ending())?;
        Ok(Response::new(v1::ChangeGroupResponse { plan: Some(plan), change: number }))
    }

    pub(super) fn changes(
        &self,
        request: Request<v1::GetChangesRequest>,
    ) -> Result<Response<v1::GetChangesResponse>, Status> {
        self.check_open()?;
        let asked = request.into_inner().cluster;
        let found = self.desk.with(|registry, now| registry.changes(&asked, now));
        let (cluster, groups, standing_by) = found.map_err(|refusal| status(&refusal))?;
        Ok(Response::new(v1::GetChangesResponse { cluster, groups, standing_by }))
    }

    pub(super) fn abort(
        &self,
        request: Request<v1::AbortChangeRequest>,
    ) -> Result<Response<v1::AbortChangeResponse>, Status> {
        self.check_open()?;
        let v1::AbortChangeRequest { cluster, group } = request.into_inner();
        let said = self.desk.with(|registry, now| registry.abort(&cluster, &group, now));
        let said = said.map_err(|refusal| status(&refusal))?.to_owned();
        tracing::warn!(cluster, group, said, "a change is taken back");
        Ok(Response::new(v1::AbortChangeResponse { said }))
    }
}

fn plan(planned: PlannedChange, lease: Duration) -> v1::Plan {
    let PlannedChange { cluster, roster, before, after, rings, items, bytes, mut remarks } = planned;
    let moved = rings.as_ref().and_then(moved_per_million);
    if rings.is_some() && moved.is_none() {
        remarks.push("the rings cannot be built to tell what moves".to_owned());
    }
    let part = |of: u64| (u128::from(of) * u128::from(moved.unwrap_or_default()) / 1_000_000) as u64;
    let (items, bytes) = (part(items), part(bytes));
    // Those that are filled share what moves; both waits for clients come on top.
    let takers = roster.others.iter().filter(|place| !before.contains(&place.name)).count();
    let takers = if takers == 0 { roster.others.len() } else { takers }.max(1) as u64;
    let seconds = (items / FILL_ITEMS_PER_SECOND).max(bytes / FILL_BYTES_PER_SECOND) / takers;
    let takes = lease * 2 + Duration::from_secs(seconds);
    v1::Plan {
        cluster,
        group: roster.group,
        what: roster.what,
        before,
        after,
        moved_per_million: moved.unwrap_or_default(),
        items,
        bytes,
        takes_ms: super::millis(takes),
        remarks,
    }
}

/// How many of a million keys have another owner on the second ring of the only group.
fn moved_per_million(topology: &Topology) -> Option<u32> {
    let placement = Placement::new(Arc::new(topology.clone())).ok()?;
    let moves = |key: &u32| placement.second_owner(0, placement.key_hash(&key.to_le_bytes())).is_some();
    let moved = (0..SAMPLE_KEYS).filter(moves).count() as u64;
    Some((moved * 1_000_000 / u64::from(SAMPLE_KEYS)) as u32)
}
