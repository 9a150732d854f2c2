//! Before a node decides what it does not go on with: it is promised that nothing older is agreed to, and brought what other
//! zones have of the key, if that is newer.

use std::sync::Arc;
use std::time::Duration;

use evanesce_transport::ConnectionState;
use evanesce_wire::reply::MetaStatus;
use evanesce_wire::request::Request;
use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, sleep, timeout_at};

use super::as_it_is;
use crate::cluster::Cluster;
use crate::core::Core;
use crate::error::NodeError;
use crate::item::Item;
use crate::key::Key;
use crate::member::Member;
use crate::place::Place;
use crate::policy::{Ballot, Bid, Majority, Vote, back_off};
use crate::read::ReadPlan;
use crate::repair::Repair;
use crate::request::{
    Change, Done, Stamp, Want, with_change, with_promise_question, with_repair, with_version_question,
};
use crate::version::Version;

/// How long other zones are waited for: they answer in a round trip, and one that is ill is left out soon after.
const ANSWERS_MAX: Duration = Duration::from_millis(250);

/// So often promises are asked for: the first time may be too low, the second time somebody else may have been quicker.
const ROUNDS_MAX: u32 = 4;

/// So often a zone is asked to go on no more: the first time the version may be too low.
const STOPS_MAX: u32 = 2;

/// So long those are waited for that have not answered when most have: as long as a zone may take that is well. What one alone
/// has, a plain write that others have not yet, is then decided on, too.
const STRAGGLERS_MAX: Duration = Duration::from_millis(20);

/// The zones that decide and agree, by the owners of one key.
pub(super) struct Electorate<'a> {
    /// In the key's order.
    pub(super) members: Vec<&'a Arc<Member>>,
}

/// What a node said of a key.
pub(super) struct Told {
    pub(super) version: Option<Version>,
    /// Of a delete or a flush that left nothing.
    deleted: Option<Version>,
    /// Below which it agrees to no decision, if it was asked for a promise.
    floor: Version,
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
    let mut bid = Bid { least: core.clock.stamp(core.now()).decided_by(place), insists: false };
    for round in 0..ROUNDS_MAX {
        let answers = answers(electorate, key, member, bid, deadline).await;
        let is_refused = |(_, answer): &Answer<'_>| matches!(answer, Err(NodeError::ClockRefused));
        if answers.iter().any(|answer| is_refused(answer) && Arc::ptr_eq(answer.0, member)) {
            return Err(NodeError::ClockRefused);
        }
        let told = answers.iter().filter_map(|(other, answer)| Some((*other, answer.as_ref().ok()?)));
        if !told.clone().any(|(other, _)| Arc::ptr_eq(other, member)) {
            return Err(NodeError::Behind);
        }
        let now = Instant::now();
        let mut ballot = Ballot::new(bid, place, electorate.members.len(), electorate.majority());
        told.for_each(|(other, told)| ballot.told(told.floor, other.has_forgotten(now)));
        bid = match ballot.vote() {
            Vote::Promised(version) => {
                bring_newest(core, key, &answers, member, deadline).await?;
                return Ok(version);
            }
            Vote::Again(bid) => bid,
            // One clock that is behind is no more than a zone that does not answer; if many are, ours is ahead.
            Vote::Outvoted if answers.iter().any(is_refused) => return Err(NodeError::ClockRefused),
            Vote::Outvoted => return Err(NodeError::Outvoted),
        };
        sleep(back_off(round, place, core.ambient().random())).await;
    }
    Err(NodeError::Outvoted)
}

/// What the zones answer, `member` among them. Once it has, and a majority with it, those that are slower than a zone that is well
/// are not waited for: a node that stands still is found out only later.
async fn answers<'a>(
    electorate: &Electorate<'a>,
    key: &Key,
    member: &Arc<Member>,
    bid: Bid,
    deadline: Instant,
) -> Vec<Answer<'a>> {
    let asked = electorate.asked(member);
    let question = asked.iter().enumerate().map(async |(at, other)| {
        let answer = ask(other, key, Some(bid), deadline).await;
        (at, (*other, answer))
    });
    let mut open: FuturesUnordered<_> = question.collect();
    let (mut answers, mut patience) = (Vec::with_capacity(open.len()), None);
    let mut majority = electorate.majority();
    let mut is_with_member = false;
    while let Ok(Some((at, answer))) = timeout_at(patience.unwrap_or(deadline), open.next()).await {
        let (other, told) = &answer;
        is_with_member |= Arc::ptr_eq(other, member);
        if told.is_ok() {
            majority.agreed(other.has_forgotten(Instant::now()));
        }
        answers.push((at, answer));
        if patience.is_none() && is_with_member && majority.is_reached() {
            patience = Some(deadline.min(Instant::now() + STRAGGLERS_MAX));
        }
    }
    // In the key's order, whoever was first.
    answers.sort_by_key(|(at, _)| *at);
    answers.into_iter().map(|(_, answer)| answer).collect()
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
    let mut bid = Bid { least: core.clock.stamp(core.now()).decided_by(other), insists: true };
    for _ in 0..STOPS_MAX {
        let floor = ask(member, key, Some(bid), deadline).await?.floor;
        if floor.is_by_place_of(bid.least) {
            break;
        }
        bid.least = bid.least.taking_over(floor, other);
    }
    Ok(())
}

/// Asks for the version of the item that a node has, and for a promise.
pub(super) async fn ask(
    member: &Member,
    key: &Key,
    bid: Option<Bid>,
    deadline: Instant,
) -> Result<Told, NodeError> {
    let link = &member.link;
    let send = |request: &Request<'_>| link.connection.start_call(request, deadline);
    let outcome = match bid {
        Some(bid) => with_promise_question(key, bid, link.next_opaque(), send).await,
        None => with_version_question(key, link.next_opaque(), send).await,
    };
    let reply = link.judge(outcome)?;
    if reply.status == MetaStatus::NotStored {
        return Err(NodeError::ClockRefused);
    }
    let floor = reply.promised().map(Version).unwrap_or_default();
    let (version, deleted) = (reply.version().map(Version), reply.deleted().map(Version));
    Ok(Told { version, deleted, floor })
}

/// Gives `member` the newest that any zone has, or knows to be deleted. Whether that is newer than what it has.
async fn bring_newest(
    core: &Core,
    key: &Key,
    answers: &[Answer<'_>],
    member: &Arc<Member>,
    deadline: Instant,
) -> Result<bool, NodeError> {
    let known = || answers.iter().filter_map(|(other, answer)| Some((answer.as_ref().ok()?, *other)));
    let latest = |told: &Told| told.version.max(told.deleted);
    let own = known().find(|(_, other)| Arc::ptr_eq(other, member)).and_then(|(told, _)| latest(told));
    let Some((newest, from)) = known().max_by_key(|(told, _)| latest(told)) else { return Ok(false) };
    if latest(newest) <= own {
        return Ok(false);
    }
    match newest.version {
        // What is left there may be what was deleted.
        None => delete(key, newest.deleted, member, deadline).await.map(|()| true),
        Some(_) => match bring(core, key, from, member, How::Set, deadline).await? {
            // What others have may be newer than what is left.
            false if known().filter(|(told, _)| told.version.is_some()).count() > 1 => Err(NodeError::Behind),
            _ => Ok(true),
        },
    }
}

/// Has `to` delete what is no newer than this.
async fn delete(
    key: &Key,
    version: Option<Version>,
    to: &Member,
    deadline: Instant,
) -> Result<(), NodeError> {
    let Some(version) = version else { return Ok(()) };
    let (opaque, stamp, link) = (to.link.next_opaque(), Stamp::With(version), &to.link);
    let send = |request: &Request<'_>| link.connection.start_call(request, deadline);
    let sent = with_change(key, &Change::Delete, stamp, opaque, send).await;
    match link.judge(sent).and_then(|reply| Done::of(&reply)) {
        Ok(Done::ClockAhead) => Err(NodeError::ClockRefused),
        Ok(_) => Ok(()),
        Err(_) => Err(NodeError::Behind),
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
    let send = |request: &Request<'_>| link.connection.start_call(request, deadline);
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
