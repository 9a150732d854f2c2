//! Before a node decides what it does not go on with: it is promised that nothing older is agreed to, and brought what other
//! zones have of the key, if that is newer.

use std::sync::Arc;
use std::time::Duration;

use evanesce_transport::ConnectionState;
use evanesce_wire::reply::MetaStatus;
use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use super::as_it_is;
use crate::cluster::Cluster;
use crate::core::Core;
use crate::error::NodeError;
use crate::item::Item;
use crate::key::Key;
use crate::member::Member;
use crate::place::Place;
use crate::policy::Majority;
use crate::read::ReadPlan;
use crate::repair::Repair;
use crate::request::{
    Done, Stamp, Want, with_change, with_promise_question, with_repair, with_version_question,
};
use crate::version::Version;

/// How long other zones are waited for: they answer in a round trip, and one that is ill is left out soon after.
const ANSWERS_MAX: Duration = Duration::from_millis(250);

/// So often promises are asked for: the first time may be too low, the second time somebody else may have been quicker.
const ROUNDS_MAX: u32 = 4;

/// So often a zone is asked to go on no more: the first time the version may be too low.
const STOPS_MAX: u32 = 2;

/// Who stands in lets those before it in the order go first when both ask for promises at once.
const BACK_OFF: Duration = Duration::from_millis(2);

/// The zones that decide and agree, by the owners of one key.
pub(super) struct Electorate<'a> {
    /// In the key's order.
    pub(super) members: Vec<&'a Arc<Member>>,
}

/// What a node said of a key.
pub(super) struct Told {
    pub(super) version: Option<Version>,
    /// Below which it agrees to no decision.
    floor: Option<Version>,
}

/// A node and its answer.
type Answer<'a> = (&'a Arc<Member>, Result<Told, NodeError>);

/// How a node is given what another has.
#[derive(Clone, Copy)]
pub(super) enum How {
    /// A node refuses it that has forgotten deletes, if it may be older than one of those.
    Repaired,
    /// To who is to decide: those deletes may have been of other keys, and it would decide on nothing. A delete that it
    /// remembers wins all the same.
    Set,
}

impl<'a> Electorate<'a> {
    /// Servers that keep no versions can tell nothing, and are not counted.
    pub(super) fn of(cluster: &'a Cluster, key: &Key) -> Self {
        let hash = cluster.placement().key_hash(key.as_bytes());
        let groups = cluster.placement().home_order(hash);
        let members = groups.into_iter().filter_map(|group| cluster.owner(group, hash));
        Self { members: members.filter(|member| member.link.keeps_versions()).collect() }
    }

    fn majority(&self) -> Majority {
        let gone = self.members.iter().filter(|member| member.is_gone()).count();
        Majority::of(self.members.len(), gone)
    }

    /// Whether more than half of the zones are well, as far as is known.
    pub(super) fn is_well(&self) -> bool {
        let well = self.members.iter().filter(|member| !member.link.is_suspect()).count();
        self.majority().is_reached_with(well)
    }

    /// Whom to ask: those that are well, and if that are too few all that are connected, for only who is asked is found out
    /// to be well again.
    fn asked(&self, decider: &Arc<Member>) -> Vec<&'a Arc<Member>> {
        let is_well = self.is_well();
        let is_asked = |member: &&&Arc<Member>| {
            let is_up = !matches!(member.link.connection.state(), ConnectionState::Down { .. });
            Arc::ptr_eq(member, decider) || if is_well { !member.link.is_suspect() } else { is_up }
        };
        self.members.iter().filter(is_asked).copied().collect()
    }
}

/// Has more than half of the zones promise to agree to nothing older than what `member`, the node in this
/// place, is going to decide, and gives it the newest that any of them has. It may lack it: it has been evicted, was
/// lost in a restart, or a write missed it. Returns the least version of the decision.
///
/// # Errors
///
/// [`NodeError::Outvoted`] when too few zones promised, [`NodeError::Behind`] when it did not answer, or could not be brought
/// the newest. Nothing has been decided then.
pub(super) async fn catch_up(
    core: &Core,
    electorate: &Electorate<'_>,
    key: &Key,
    (member, place): (&Arc<Member>, Place),
    deadline: Instant,
) -> Result<Version, NodeError> {
    let deadline = deadline.min(Instant::now() + ANSWERS_MAX);
    let asked = electorate.asked(member);
    let mut least = core.clock.stamp(core.now()).decided_by(place);
    for round in 0..ROUNDS_MAX {
        let question =
            join_all(asked.iter().map(async |other| (*other, ask(other, key, Some(least), deadline).await)));
        let answers = question.await;
        let refused = |(_, answer): &&Answer<'_>| matches!(answer, Err(NodeError::ClockRefused));
        if answers.iter().find(refused).is_some_and(|(other, _)| Arc::ptr_eq(other, member)) {
            return Err(NodeError::ClockRefused);
        }
        let told = || answers.iter().filter_map(|(other, answer)| Some((*other, answer.as_ref().ok()?)));
        if !told().any(|(other, _)| Arc::ptr_eq(other, member)) {
            return Err(NodeError::Behind);
        }
        let (now, mut majority) = (Instant::now(), electorate.majority());
        let promised = |told: &Told| told.floor.filter(|floor| floor.is_by_place_of(least));
        for (other, _) in told().filter(|(_, told)| promised(told).is_some()) {
            majority.agreed(other.has_forgotten(now));
        }
        let floor = told().filter_map(|(_, told)| told.floor).max();
        // Of two zones one is enough only where the other says nothing.
        let alone = electorate.members.len() <= 2 && told().any(|(_, told)| promised(told).is_none());
        // Who has promised somebody else something newer agrees to nothing that comes of these.
        let most = told().filter_map(|(_, told)| promised(told)).max();
        let is_other = |floor: &Version| floor.is_decided() && !floor.is_by_place_of(least);
        let is_refused = alone || floor.is_some_and(|floor| is_other(&floor) && Some(floor) > most);
        if majority.is_reached() && !is_refused {
            bring_newest(core, key, &answers, member, deadline).await?;
            return Ok(most.unwrap_or(least));
        }
        match floor.filter(|floor| !floor.is_by_place_of(least) || *floor > least) {
            // Somebody else decides there: once more, as one who takes over.
            Some(floor) => least = least.taking_over(floor, place),
            // One clock that is behind is no more than a zone that does not answer; if many are, ours is ahead.
            None if answers.iter().any(|answer| refused(&answer)) => return Err(NodeError::ClockRefused),
            None => return Err(NodeError::Outvoted),
        }
        sleep(BACK_OFF * round * place.rank()).await;
    }
    Err(NodeError::Outvoted)
}

/// Gives `member`, the node in this place, the newest that any zone has: what it decided was overtaken, and
/// so would be all that it decides until it has that. If it has it, somebody was promised something of which nothing came:
/// then it must not go on either, and whoever lets it decide next asks for promises again.
pub(super) async fn refresh(
    core: &Core,
    electorate: &Electorate<'_>,
    key: &Key,
    (member, place): (&Arc<Member>, Place),
    deadline: Instant,
) -> Result<(), NodeError> {
    let asked = electorate.asked(member);
    let question = join_all(asked.iter().map(async |other| (*other, ask(other, key, None, deadline).await)));
    if bring_newest(core, key, &question.await, member, deadline).await? {
        return Ok(());
    }
    let other = place.of_nobody();
    let mut least = core.clock.stamp(core.now()).decided_by(other);
    for _ in 0..STOPS_MAX {
        match ask(member, key, Some(least), deadline).await?.floor {
            Some(floor) if !floor.is_by_place_of(least) => least = least.taking_over(floor, other),
            _ => break,
        }
    }
    Ok(())
}

/// Asks for the version of the item that a node has, and for a promise.
pub(super) async fn ask(
    member: &Member,
    key: &Key,
    promise: Option<Version>,
    deadline: Instant,
) -> Result<Told, NodeError> {
    let link = &member.link;
    let send = |request: &evanesce_wire::request::Request<'_>| link.connection.start_call(request, deadline);
    let outcome = match promise {
        Some(least) => with_promise_question(key, least, link.next_opaque(), send).await,
        None => with_version_question(key, link.next_opaque(), send).await,
    };
    let reply = link.judge(outcome)?;
    if reply.status == MetaStatus::NotStored {
        return Err(NodeError::ClockRefused);
    }
    Ok(Told { version: reply.version().map(Version), floor: reply.promised().map(Version) })
}

/// Whether anybody had anything newer.
async fn bring_newest(
    core: &Core,
    key: &Key,
    answers: &[Answer<'_>],
    member: &Arc<Member>,
    deadline: Instant,
) -> Result<bool, NodeError> {
    let known = answers.iter().filter_map(|(other, answer)| Some((answer.as_ref().ok()?.version?, *other)));
    let own = known.clone().find(|(_, other)| Arc::ptr_eq(other, member)).map(|(version, _)| version);
    match known.clone().max_by_key(|(version, _)| *version) {
        Some((newest, other)) if own.is_none_or(|own| own < newest) => {
            match bring(core, key, other, member, How::Set, deadline).await? {
                // What others have may be newer than what is left.
                false if known.count() > 1 => Err(NodeError::Behind),
                _ => Ok(true),
            }
        }
        _ => Ok(false),
    }
}

/// Gives `to` the item of `from`. Whether that had it still.
pub(super) async fn bring(
    core: &Core,
    key: &Key,
    from: &Member,
    to: &Member,
    how: How,
    deadline: Instant,
) -> Result<bool, NodeError> {
    let plan = ReadPlan::new(core, Want::Item, ANSWERS_MAX);
    let found = from.get(key, &plan, deadline).await.map_err(|_| NodeError::Behind)?;
    let Some(item @ Item { version: Some(version), .. }) = found else { return Ok(false) };
    let (change, link) = (as_it_is(core, item), &to.link);
    let (opaque, stamp) = (link.next_opaque(), Stamp::With(version));
    let send = |request: &evanesce_wire::request::Request<'_>| link.connection.start_call(request, deadline);
    let sent = match how {
        How::Repaired => with_repair(&Repair { key: key.clone(), change, version }, opaque, send),
        How::Set => with_change(key, &change, stamp, opaque, send),
    };
    match link.judge(sent.await).and_then(|reply| Done::of(&reply)) {
        Ok(Done::ClockAhead) => Err(NodeError::ClockRefused),
        // It may know of a delete, or of something newer still.
        Ok(_) => Ok(true),
        Err(_) => Err(NodeError::Behind),
    }
}
