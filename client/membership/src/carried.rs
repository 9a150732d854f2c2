//! What a node carries between its discoveries, and tells them of itself as time goes on.

use evanesce_grpc::discovery::v1::{NodeReport, Place, Roster, Stage};
use evanesce_grpc::rosters::Rosters;
use parking_lot::Mutex;

/// The newest rosters that any discovery has told, and the node's last report.
#[derive(Debug, Default)]
pub(crate) struct Carried {
    rosters: Mutex<Rosters>,
    report: Mutex<NodeReport>,
}

impl Carried {
    /// What to tell a discovery whose rosters had this mark: all, where ours have another.
    pub(crate) fn to_tell(&self, mark_there: u64) -> (Vec<Roster>, u64) {
        let rosters = self.rosters.lock();
        let mark = rosters.mark();
        (if mark == mark_there { Vec::new() } else { rosters.to_messages() }, mark)
    }

    /// Takes over what a discovery has told. Whether anything was new, and others are to hear of it.
    pub(crate) fn take(&self, told: Vec<Roster>) -> bool {
        let mut rosters = self.rosters.lock();
        // Not `any`: each is to be taken.
        told.into_iter().map(|roster| rosters.merge(roster)).filter(|was_new| *was_new).count() > 0
    }

    /// Whether the group has a roster that lacks the node. A group that opens takes everybody.
    pub(crate) fn stands_by(&self, group: &str, node: &str) -> bool {
        let rosters = self.rosters.lock();
        let is_among = |places: &[Place]| places.iter().any(|place| place.name == node);
        rosters.get(group).is_some_and(|roster| {
            let lacks = !is_among(&roster.nodes) && !is_among(&roster.others);
            roster.stage() != Stage::Opening && (lacks || roster.stage() == Stage::Gone)
        })
    }

    pub(crate) fn report(&self) -> NodeReport {
        self.report.lock().clone()
    }

    pub(crate) fn set_report(&self, report: NodeReport) {
        *self.report.lock() = report;
    }
}
