//! What must hold once all is healed and quiet.

use std::collections::BTreeMap;

use crate::check::readable;
use crate::history::{History, Outcome, What, Write, brief, expires};
use crate::plan::{Host, ZONES};
use crate::world::World;

/// Writes that lie farther apart than the clocks are in the order in which they were made. A client whose clock is wrong
/// by a tenth of a second or more goes by the nodes'.
const CLOCKS_APART_MS: u64 = 250;

/// What there is to tell of an end, besides violations.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Conclusion {
    /// Items that one zone has and another has not, counted apart: this is a cache.
    pub(crate) absent: u64,
    /// Acknowledged, not there, and not promised to be.
    pub(crate) additions_lost: u64,
}

/// A key and what a zone has of it.
type Zone = BTreeMap<String, (String, u64)>;

/// Whether no caller is at work and no client owes anything to a node.
pub(crate) fn is_quiet(world: &World) -> bool {
    world.at_work.get() == 0 && world.clients.borrow().values().all(|client| client.repairs_pending() == 0)
}

/// The end of a run: everything is healed, nobody has written for a while, and each client has read everything.
pub(crate) fn conclude(world: &World, now_ms: u64) -> Conclusion {
    let zones: Vec<Zone> = (0..ZONES.len()).map(|zone| zone_at(world, zone, now_ms)).collect();
    let mut history = world.history.lock();
    if world.at_work.get() > 0 {
        history.violated(format!("callers of {} clients wait still", world.at_work.get()));
    }
    for (host, client) in world.clients.borrow().iter() {
        let (pending, name) = (client.repairs_pending(), host.name());
        if pending > 0 {
            history.violated(format!("{name} still owes {pending} writes"));
        }
    }
    let all = history.writes().clone();
    let mut conclusion = Conclusion::default();
    for (key, writes) in &all {
        let held: Vec<&(String, u64)> = zones.iter().filter_map(|zone| zone.get(key)).collect();
        conclusion.absent += u64::from(!held.is_empty()) * (ZONES.len() - held.len()) as u64;
        if held.windows(2).any(|pair| pair[0] != pair[1]) && !is_left_by_orphans(writes, &held) {
            let of = |zone: &Zone| zone.get(key).map(|(value, version)| (brief(value), *version));
            let shown: Vec<_> = ZONES.iter().zip(&zones).map(|(name, zone)| (name, of(zone))).collect();
            history.violated(format!("zones differ in {key}: {shown:?}"));
        }
        see_last_reads(world, &mut history, key, &held);
        let last = held.into_iter().max_by_key(|(_, version)| *version);
        let fault = match key.as_bytes()[0] {
            b'n' | b's' => fault_of_sum(world, writes, last, &mut conclusion),
            _ => fault_of_last(world, &history, key, writes, last).or_else(|| {
                let is_promised = world.plan.promises_order();
                is_promised.then(|| fault_of_order(writes)).flatten()
            }),
        };
        if let Some(fault) = fault {
            let last = last.map(|(value, version)| (brief(value), *version));
            history.violated(format!("{key} is {last:?} in the end: {fault}"));
        }
    }
    conclusion
}

/// Each client has read what the zones have, and has missed only what one of them has not.
fn see_last_reads(world: &World, history: &mut History, key: &str, held: &[&(String, u64)]) {
    for client in world.clients.borrow().keys() {
        let reads = world.last_reads.borrow();
        let read = reads.get(client).and_then(|reads| reads.get(key));
        let is_right = match read {
            Some(Ok(_)) if expires(key) => true,
            Some(Ok(None)) => held.len() < ZONES.len(),
            Some(Ok(Some(value))) => held.iter().any(|(known, _)| known == value),
            Some(Err(_)) | None => false,
        };
        if !is_right {
            let name = client.name();
            history.violated(format!("{name} read {key} as {read:?} in the end"));
        }
    }
}

fn zone_at(world: &World, zone: usize, now_ms: u64) -> Zone {
    let nodes = world.nodes.borrow();
    let of_zone = nodes.iter().filter(|(host, _)| matches!(host, Host::Node(of, _) if *of == zone));
    let items = of_zone.flat_map(|(host, seat)| {
        let items = seat.node.items(world.node_wall_ms(*host, now_ms));
        items.into_iter().filter_map(|item| readable(&item).map(|(key, value)| (key, (value, item.version))))
    });
    items.collect()
}

/// Those acknowledged with a version that lost to none.
fn acknowledged(writes: &[Write]) -> impl Iterator<Item = (u64, &Write)> {
    writes.iter().filter_map(|write| match write.outcome {
        Outcome::Done(Some(version)) => Some((version, write)),
        _ => None,
    })
}

/// What was acknowledged, and lost to none, is not older than what is there in the end.
fn fault_of_last(
    world: &World,
    history: &History,
    key: &str,
    writes: &[Write],
    last: Option<&(String, u64)>,
) -> Option<String> {
    let (newest, write) = acknowledged(writes).max_by_key(|(version, _)| *version)?;
    let version = last.map_or(0, |(_, version)| *version);
    let is_delete = write.what == What::Delete;
    // Nothing there is no value: a node that ended has taken it along, or a write of unknown outcome was a delete.
    let may_be_none = is_delete || world.plan.forgets() || has_open_delete(writes) || expires(key);
    let is_gone = last.is_none() && may_be_none;
    // Only who has ended knew who had missed it, or had it still to bring to one that forgot it.
    let is_lost = write.is_orphan && (is_delete || world.plan.forgets());
    // What has expired leaves nothing to tell by that an older write with a longer life is no more.
    let has_expired = match &write.what {
        What::Set(value) => history.ends_ms(value).is_some_and(|end_ms| end_ms <= history.now_ms()),
        _ => false,
    };
    match () {
        () if version > newest || is_gone || is_lost || has_expired => None,
        () if last.is_some() && is_delete => Some(format!("{newest} deleted it")),
        () if version < newest => Some(format!("{:?} of {newest} was acknowledged", write.what)),
        () => None,
    }
}

/// Whether a zone may lack what another has because a client has ended that was to bring it there.
fn is_left_by_orphans(writes: &[Write], held: &[&(String, u64)]) -> bool {
    let oldest = held.iter().map(|(_, version)| *version).min().unwrap_or(0);
    writes.iter().filter(|write| write.is_orphan).any(|write| match write.outcome {
        Outcome::Done(Some(version)) => version > oldest,
        Outcome::Unknown | Outcome::Done(None) => true,
        Outcome::NotDone | Outcome::Superseded => false,
    })
}

fn has_open_delete(writes: &[Write]) -> bool {
    writes.iter().any(|write| write.what == What::Delete && write.outcome == Outcome::Unknown)
}

/// Of two writes of which one began well after the other had ended, the later is the newer, or was told that it lost.
fn fault_of_order(writes: &[Write]) -> Option<String> {
    let mut newest: Option<(u64, &Write)> = None;
    let mut ended: Vec<_> = acknowledged(writes).collect();
    ended.sort_by_key(|(_, write)| write.ended_ms);
    let mut ended = ended.into_iter().peekable();
    let mut begun: Vec<_> = acknowledged(writes).collect();
    begun.sort_by_key(|(_, write)| write.begun_ms);
    for (version, write) in begun {
        let is_before = |(_, earlier): &(u64, &Write)| {
            earlier.ended_ms.is_some_and(|ended| ended + CLOCKS_APART_MS < write.begun_ms)
        };
        while let Some(earlier) = ended.next_if(is_before) {
            newest = Some(newest.filter(|(known, _)| *known > earlier.0).unwrap_or(earlier));
        }
        if let Some((known, earlier)) = newest.filter(|(known, _)| *known > version) {
            let (one, other) = (&earlier.what, &write.what);
            return Some(format!("{one:?} of {known} was there long before {other:?} of {version}"));
        }
    }
    None
}

/// What was added is there once; what may have been added is there once or not.
fn fault_of_sum(
    world: &World,
    writes: &[Write],
    last: Option<&(String, u64)>,
    conclusion: &mut Conclusion,
) -> Option<String> {
    let sum = |which: fn(&Outcome) -> bool| -> u64 {
        let those = writes.iter().filter(|write| which(&write.outcome));
        those.map(|write| write.what.weight()).sum()
    };
    let done = sum(|outcome| matches!(outcome, Outcome::Done(_)));
    let maybe = sum(|outcome| matches!(outcome, Outcome::Unknown | Outcome::Superseded));
    let there = last.map_or(0, |(value, _)| match value.parse::<u64>() {
        Ok(number) => number,
        Err(_) => value.split_terminator(',').count() as u64,
    });
    if there > done + maybe {
        return Some(format!("only {done} were added, and {maybe} perhaps"));
    }
    let lost = done.saturating_sub(there);
    if lost > 0 && world.plan.promises_sums() {
        return Some(format!("{done} were added, and {maybe} perhaps"));
    }
    conclusion.additions_lost += lost;
    None
}

impl What {
    /// What it adds, each token counting as one.
    fn weight(&self) -> u64 {
        match self {
            Self::Add(number) => *number,
            Self::Append(_) => 1,
            Self::Set(_) | Self::Delete => 0,
        }
    }
}
