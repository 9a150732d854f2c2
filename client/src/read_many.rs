//! Reading many keys: one batch for each node, and elsewhere only for the keys that need it.

use std::sync::Arc;
use std::time::Duration;

use evanesce_transport::{Connection, TransportError};
use evanesce_wire::reply::Reply;
use evanesce_wire::request::Request;
use futures_util::future::join_all;
use tokio::time::{Instant, sleep_until};

use crate::cluster::{Cluster, Walk};
use crate::core::{Core, TIMEOUT_MAX};
use crate::error::{Attempt, NodeError, ReadError};
use crate::item::Item;
use crate::key::Key;
use crate::member::Member;
use crate::observe::{node_batch_span, traced};
use crate::policy::held_up;
use crate::read::{Hit, ReadPlan, SHED_PAUSE, copy};
use crate::request::{Want, get_flags, get_request, read_hit};

/// Requests sent to one node at once: well below what a connection's queue holds, so that bulk reads leave room for
/// others, and enough to fill several round trips.
const BATCH_KEYS_MAX: usize = 256;

/// What came of one key.
pub(crate) type Found<'a> = Result<Option<Hit<'a>>, ReadError>;

/// What holds for one key, whatever does for the others.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) timeout: Duration,
    /// Whether another zone may be asked after a miss.
    pub(crate) falls_back: bool,
}

/// A key on its way.
struct Search<'a> {
    index: usize,
    key: &'a Key,
    falls_back: bool,
    deadline: Instant,
    walk: Walk<'a>,
    /// A node has said that it does not have it.
    missed: Option<&'a Member>,
    /// A newcomer has said so, that was asked because nobody else was well: whoever is ill, was slow, or bore no more has the last word.
    newcomer_missed: bool,
    /// Who is asked, or was asked last.
    asked: Option<&'a Member>,
    /// Those of one number ask the same node.
    batch: usize,
    attempts: Vec<Attempt>,
    /// The attempts before the present walk.
    walked: usize,
}

/// What a node said of a key.
type Outcome = Result<Option<Item>, NodeError>;

/// Reads `keys`; the outcomes are in their order.
pub(crate) async fn read_many<'a>(
    core: &'a Core,
    cluster: &'a Cluster,
    keys: &'a [Key],
    plan: &ReadPlan,
) -> Vec<Found<'a>> {
    let terms = plan.terms();
    read_each(core, cluster, keys, |_| terms, plan).await
}

/// The same, each key on its own terms. What travels with keys that have more time is waited for as long as they are, and
/// goes nowhere else after its own.
pub(crate) async fn read_each<'a>(
    core: &'a Core,
    cluster: &'a Cluster,
    keys: &'a [Key],
    terms: impl Fn(usize) -> Terms,
    plan: &ReadPlan,
) -> Vec<Found<'a>> {
    core.count_reads(keys.len() as u64);
    let mut found: Vec<Found<'_>> = Vec::new();
    // Each search puts its own in its place; one that did not would be no miss.
    found.resize_with(keys.len(), || Err(ReadError::Unanswered { attempts: Vec::new() }));
    let begun = Instant::now();
    let mut searches: Vec<Search<'_>> =
        keys.iter().enumerate().map(|key| Search::new(core, cluster, key, begun)).collect();
    // Sorting out many keys takes its time, too, and is not the nodes' time.
    let now = Instant::now();
    for search in &mut searches {
        let Terms { timeout, falls_back } = terms(search.index);
        (search.deadline, search.falls_back) = (now + timeout.min(TIMEOUT_MAX), falls_back);
    }
    // Time in which this process did not run is not the zones' time.
    let mut late = Duration::ZERO;
    let (mut first, mut pause) = (Some(now), SHED_PAUSE);
    while !searches.is_empty() {
        let mut now = first.take().unwrap_or_else(Instant::now);
        if searches.iter().any(|search| search.is_shed() && !search.walk.has_more()) {
            let last = searches.iter().map(|search| search.deadline).min().unwrap_or(now);
            sleep_until((now + pause).min(last + late)).await;
            pause *= 2;
            now = Instant::now();
        }
        batch(core, &mut searches, &mut found, (now, late));
        let answers = ask_all(core, &mut searches, plan, late).await;
        late += answers.iter().map(|(_, late)| *late).max().unwrap_or_default();
        let mut answers = answers.into_iter().flat_map(|(answers, _)| answers);
        searches.retain_mut(|search| {
            let answer = answers.next().expect("each that asks has an answer");
            search.settle(core, answer, &mut found)
        });
    }
    count(core, &found);
    found
}

/// Puts the searches together by the node that each asks next; settles those that have nobody left to ask.
fn batch<'a>(
    core: &Core,
    searches: &mut Vec<Search<'a>>,
    found: &mut [Found<'a>],
    (now, late): (Instant, Duration),
) {
    let mut members: Vec<&Member> = Vec::new();
    let spent = now.checked_sub(late).unwrap_or(now);
    searches.retain_mut(|search| {
        let member = if spent < search.deadline { search.next_member(now) } else { None };
        let Some(member) = member else {
            found[search.index] = search.end();
            return false;
        };
        if search.missed.is_none() && !search.attempts.is_empty() {
            core.metrics.error_fallbacks.increment(1);
        }
        let known = members.iter().position(|known| std::ptr::eq(*known, member));
        search.batch = known.unwrap_or_else(|| {
            members.push(member);
            members.len() - 1
        });
        true
    });
    if members.len() > 1 {
        searches.sort_by_key(|search| search.batch);
    }
}

/// What came of each search, in their order, by batches, each with how long this process was held up meanwhile.
async fn ask_all(
    core: &Core,
    searches: &mut [Search<'_>],
    plan: &ReadPlan,
    late: Duration,
) -> Vec<(Vec<Outcome>, Duration)> {
    let mut batches = searches.chunk_by_mut(|one, next| one.batch == next.batch);
    match (batches.next(), batches.next()) {
        (Some(only), None) => vec![ask(core, only, plan, late).await],
        (first, second) => {
            let batches = first.into_iter().chain(second).chain(batches);
            join_all(batches.map(|batch| ask(core, batch, plan, late))).await
        }
    }
}

impl<'a> Search<'a> {
    fn new(core: &'a Core, cluster: &'a Cluster, (index, key): (usize, &'a Key), begun: Instant) -> Self {
        let walk = Walk::new(core, cluster, key);
        Self {
            index,
            key,
            falls_back: true,
            deadline: begun,
            walk,
            missed: None,
            newcomer_missed: false,
            asked: None,
            batch: 0,
            attempts: Vec::new(),
            walked: 0,
        }
    }

    fn next_member(&mut self, now: Instant) -> Option<&'a Member> {
        let member = if self.missed.is_some() {
            self.walk.next_well(now)
        } else {
            self.next_to_say(now).or_else(|| self.walk_again(now))
        };
        self.asked = member.map(|member| &**member).or(self.asked);
        member.map(|member| &**member)
    }

    /// Whoever was only slow is asked once more: what made it so is often over, and a node that was late with the keys
    /// before may never have been asked for this one.
    fn walk_again(&mut self, now: Instant) -> Option<&'a Arc<Member>> {
        if !self.is_shed() && !self.attempts[self.walked..].iter().any(Attempt::is_timeout) {
            return None;
        }
        self.walked = self.attempts.len();
        self.walk = self.walk.anew();
        self.next_to_say(now)
    }

    /// A newcomer is asked once; and after its miss none that owes the key, and has something older.
    fn next_to_say(&mut self, now: Instant) -> Option<&'a Arc<Member>> {
        let has_said = self.newcomer_missed;
        let may_say = |walk: &Walk<'_>, member: &Member| !has_said || !(member.warming || walk.owes(member));
        while let Some(member) = self.walk.next(now) {
            if may_say(&self.walk, member) {
                return Some(member);
            }
        }
        None
    }

    /// A newcomer has missed it, and others bear no more.
    fn is_shed(&self) -> bool {
        self.newcomer_missed && self.attempts[self.walked..].iter().any(Attempt::is_overload)
    }

    /// Takes an answer; true when the search goes on.
    fn settle(&mut self, core: &Core, answer: Outcome, found: &mut [Found<'a>]) -> bool {
        let asked = self.asked.expect("who answers was asked");
        let hit = |item| Hit { item, from: asked };
        if self.missed.is_some() {
            if let Ok(answer) = &answer {
                core.miss_fallback_answered(answer.is_some());
            }
            found[self.index] = Ok(answer.unwrap_or(None).map(hit));
            return false;
        }
        match answer {
            Ok(Some(item)) => found[self.index] = Ok(Some(hit(item))),
            Ok(None) if asked.warming => {
                self.newcomer_missed = true;
                return true;
            }
            Ok(None) if self.falls_back && self.walk.has_more() && core.falls_back_on_miss() => {
                self.missed = self.asked;
                return true;
            }
            Ok(None) => found[self.index] = Ok(None),
            Err(cause) => {
                self.attempts.push(asked.attempt(cause));
                return true;
            }
        }
        false
    }

    /// Nobody is left to ask.
    fn end(&mut self) -> Found<'a> {
        let attempts = std::mem::take(&mut self.attempts);
        let is_missed = self.missed.is_some() || self.newcomer_missed;
        if is_missed { Ok(None) } else { Err(ReadError::Unanswered { attempts }) }
    }
}

/// Asks their node for keys: the answers, and for how long this process was held up meanwhile. A node that is late with one
/// part is not asked for the next: those keys go on at once, while there is time for them to be asked elsewhere.
async fn ask(
    core: &Core,
    searches: &mut [Search<'_>],
    plan: &ReadPlan,
    before: Duration,
) -> (Vec<Outcome>, Duration) {
    let member = searches.first().and_then(|search| search.asked).expect("a batch has keys, and a node");
    let mut answers = Vec::new();
    let mut late = Duration::ZERO;
    let mut is_late = false;
    for part in searches.chunks_mut(BATCH_KEYS_MAX) {
        let now = Instant::now();
        let deadline = part.iter().map(|search| search.deadline).max().unwrap_or(now);
        let due = (deadline + before + late).min(now + plan.attempt_timeout);
        if is_late || now >= due {
            answers.extend(part.iter().map(|_| Err(member.too_late())));
            continue;
        }
        let asked = match node_batch_span(&member.zone) {
            None => member.get_part(core, part, plan, due).await,
            Some(span) => traced(span, member.get_part(core, part, plan, due)).await,
        };
        is_late = asked.iter().any(|outcome| outcome.as_ref().is_err_and(NodeError::is_timeout));
        match answers.is_empty() {
            true => answers = asked,
            false => answers.extend(asked),
        }
        late += held_up(due, Instant::now()).unwrap_or_default();
    }
    // One for each, whatever came: those of the next node follow.
    answers.resize_with(searches.len(), || Err(member.too_late()));
    for (search, answer) in searches.iter().zip(&answers) {
        if let (Some(missed), Ok(Some(item))) = (search.missed, answer) {
            copy(core, search.key, item, member, missed);
        }
    }
    (answers, late)
}

impl Member {
    /// What came of a key for which no time was left.
    fn too_late(&self) -> NodeError {
        TransportError::Timeout { address: self.link.connection.address(), sent: false }.into()
    }

    /// Asks this node for many keys at once.
    async fn get_batch(&self, searches: &[Search<'_>], plan: &ReadPlan, due: Instant) -> Vec<Outcome> {
        if !self.link.has_large_values() && lines::are_plain(searches, plan) {
            return lines::get_lines(self, searches, plan, due).await;
        }
        let connection = self.link.way(plan.lane);
        let versions = connection.speaks_versions();
        let flags = searches.iter().map(|search| {
            // What is found after a miss is copied, and that takes all of it.
            let want = if search.missed.is_some() { Want::Item } else { plan.want };
            get_flags(search.key, want, plan.touch, versions, self.link.next_opaque())
        });
        let flags: Vec<_> = flags.collect();
        let requests: Vec<_> = searches
            .iter()
            .zip(&flags)
            .map(|(search, flags)| get_request(search.key, flags.as_flags(), plan.touch))
            .collect();
        let outcomes = self.call_batch(connection, &requests, plan, due).await;
        let Some(outcomes) = outcomes else { return overloaded(searches) };
        let found: Vec<Outcome> =
            outcomes.into_iter().map(|outcome| read_hit(&mut self.link.judge(outcome)?)).collect();
        let values = found.iter().flatten().flatten().map(|item| item.value.len()).sum();
        self.link.note_values(values);
        found
    }

    /// Sends requests at once; once more when this process was held up and has no answer for that reason alone. `None` when
    /// as many batches as the node bears are under way.
    async fn call_batch(
        &self,
        connection: &Connection,
        requests: &[Request<'_>],
        plan: &ReadPlan,
        due: Instant,
    ) -> Option<Vec<Result<Reply, TransportError>>> {
        let mut permit = self.link.batch_permit(Instant::now(), plan.hedges)?;
        let mut outcomes = connection.call_batch(requests, due).await;
        let now = Instant::now();
        if let Some(last) = outcomes.last() {
            permit.ended(last);
        }
        if held_up(due, now).is_some() {
            permit.held_up(now);
            ask_again(connection, requests, &mut outcomes, now + plan.attempt_timeout).await;
        }
        Some(outcomes)
    }
}

/// Asks once more for what has no answer; the answers in hand stay.
async fn ask_again(
    connection: &Connection,
    requests: &[Request<'_>],
    outcomes: &mut [Result<Reply, TransportError>],
    due: Instant,
) {
    let is_open = |index: &usize| matches!(outcomes[*index], Err(TransportError::Timeout { .. }));
    let open: Vec<usize> = (0..outcomes.len()).filter(is_open).collect();
    let requests: Vec<_> = open.iter().map(|&index| requests[index].clone()).collect();
    let answers = connection.call_batch(&requests, due).await;
    for (index, answer) in open.into_iter().zip(answers) {
        outcomes[index] = answer;
    }
}

fn overloaded(searches: &[Search<'_>]) -> Vec<Outcome> {
    searches.iter().map(|_| Err(NodeError::Overloaded)).collect()
}

fn count(core: &Core, found: &[Found<'_>]) {
    let hits = found.iter().filter(|found| matches!(found, Ok(Some(_)))).count() as u64;
    let errors = found.iter().filter(|found| found.is_err()).count() as u64;
    core.metrics.hits.increment(hits);
    core.metrics.read_errors.increment(errors);
    core.metrics.misses.increment(found.len() as u64 - hits - errors);
}

mod hedge;
mod lines;
#[cfg(test)]
mod tests;
