//! Reading one key: the nearest zone, and on through the others.

use std::sync::Arc;
use std::time::Duration;

use evanesce_transport::{Completion, TransportError};
use evanesce_wire::reply::Reply;
use evanesce_wire::request::Exptime;
use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep_until};

use crate::attempt::{Attempted, attempt};
use crate::cluster::{Cluster, Walk};
use crate::core::{Core, TIMEOUT_MAX};
use crate::error::{Attempt, ReadError};
use crate::home::as_it_is;
use crate::item::Item;
use crate::key::Key;
use crate::lanes::Lane;
use crate::member::Member;
use crate::observe::{attempt_span, attempts_are_told, traced};
use crate::policy::held_up;
use crate::read_many::Terms;
use crate::repair::Repair;
use crate::request::{Want, with_repair};
use crate::value::flags::MANIFEST;

/// After a newcomer's miss those that bear no more are asked again so soon, for most of what they bear takes less; then after twice the
/// time.
pub(crate) const SHED_PAUSE: Duration = Duration::from_millis(2);

/// An item as a node has it, and which.
pub(crate) struct Hit<'a> {
    pub(crate) item: Item,
    pub(crate) from: &'a Member,
}

/// How a read goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReadPlan {
    pub(crate) want: Want,
    pub(crate) touch: Option<Exptime>,
    /// At most `timeout`, since one that is made again because this process was held up gets it whole.
    pub(crate) attempt_timeout: Duration,
    pub(crate) timeout: Duration,
    /// Whether the near cache is looked into first.
    pub(crate) near: bool,
    /// Whether another zone may be asked after a miss.
    pub(crate) falls_back: bool,
    /// Whether a bulk read is hedged, as single reads are in any case.
    pub(crate) hedges: bool,
    /// Where it comes from, if that has connections of its own.
    pub(crate) lane: Option<Lane>,
}

impl ReadPlan {
    pub(crate) fn new(core: &Core, want: Want, timeout: Duration) -> Self {
        let timeout = timeout.min(TIMEOUT_MAX);
        let attempt_timeout = core.settings.read_attempt_timeout.min(timeout);
        Self {
            want,
            touch: None,
            attempt_timeout,
            timeout,
            near: false,
            falls_back: true,
            hedges: false,
            lane: None,
        }
    }

    /// Until when the first attempt of a read that begins at `now` may take.
    fn due(&self, now: Instant) -> Instant {
        now + self.timeout.min(self.attempt_timeout)
    }

    /// What holds for each key of many that are read so.
    pub(crate) fn terms(&self) -> Terms {
        Terms { timeout: self.timeout, falls_back: self.falls_back }
    }
}

/// Reads `key`, from `now` on. `None` is a miss: the last word of a node that was asked.
pub(crate) fn read<'a, 'p>(
    core: &'a Core,
    cluster: &'a Cluster,
    key: &'a Key,
    plan: &'p ReadPlan,
    now: Instant,
) -> impl Future<Output = Result<Option<Hit<'a>>, ReadError>> + Send + use<'a, 'p> {
    core.count_reads(1);
    let mut walk = Walk::new(core, cluster, key);
    let first = walk.next(now);
    async move {
        let times = (now, plan.due(now));
        let first = match first {
            Some(member) if attempts_are_told() => Some(attempt_told(&mut walk, member, plan, times).await),
            Some(member) => Some(attempt(&mut walk, member, plan, times).await),
            None => None,
        };
        // Boxed, both: they are rare beside hits, and every read would carry room for them.
        let found = match first {
            Some(Attempted::Hit(hit)) => Ok(Some(hit)),
            Some(Attempted::Miss(member)) if !member.warming => {
                Box::pin(fall_back_on_miss(walk, plan, now + plan.timeout, member)).await
            }
            first => Box::pin(go_on(walk, plan, first, now)).await,
        };
        match &found {
            Ok(Some(_)) => core.metrics.hits.increment(1),
            Ok(None) => core.metrics.misses.increment(1),
            Err(_) => core.metrics.read_errors.increment(1),
        }
        found
    }
}

/// One attempt, with its span where somebody looks on.
fn attempt_told<'w, 'a: 'w>(
    walk: &'w mut Walk<'a>,
    member: &'a Arc<Member>,
    plan: &'w ReadPlan,
    times: (Instant, Instant),
) -> BoxFuture<'w, Attempted<'a>> {
    match attempt_span(&member.zone) {
        None => Box::pin(attempt(walk, member, plan, times)),
        Some(span) => traced(span, attempt(walk, member, plan, times)),
    }
}

/// Goes on with a read that began at `now`, after what its first attempt came to, if there was a node to ask.
async fn go_on<'a>(
    mut walk: Walk<'a>,
    plan: &ReadPlan,
    first: Option<Attempted<'a>>,
    mut now: Instant,
) -> Result<Option<Hit<'a>>, ReadError> {
    let (core, key) = (walk.core, walk.key);
    let (mut deadline, mut due) = (now + plan.timeout, plan.due(now));
    let mut attempts: Vec<Attempt> = Vec::new();
    let (mut round, mut is_missed, mut pause) = (0, false, SHED_PAUSE);
    let mut last = first;
    loop {
        if let Some(attempted) = last.take() {
            match attempted {
                Attempted::Hit(hit) => return Ok(Some(hit)),
                // It was not given all yet, and is asked because nobody else is well: whoever is ill, was slow, or bore no more has
                // the last word, if they say it in time.
                Attempted::Miss(member) if member.warming => is_missed = true,
                Attempted::Miss(member) => return fall_back_on_miss(walk, plan, deadline, member).await,
                Attempted::Failed(failed) => attempts.extend(failed),
            }
            now = Instant::now();
            // Time in which this process did not run is not the zones' time.
            deadline += held_up(due, now).unwrap_or_default();
            if now >= deadline {
                break;
            }
        }
        let Some(member) = walk.next(now) else {
            // Whoever was only slow is asked once more: what made it so is often over, and its late reply comes first.
            let is_shed = is_missed && attempts[round..].iter().any(Attempt::is_overload);
            if !is_shed && !attempts[round..].iter().any(Attempt::is_timeout) {
                break;
            }
            if is_shed {
                sleep_until(deadline.min(now + pause)).await;
                pause *= 2;
                now = Instant::now();
                if now >= deadline {
                    break;
                }
            }
            round = attempts.len();
            walk = walk.anew();
            continue;
        };
        // What owes the key has something older.
        if is_missed && (member.warming || core.owes(member, key)) {
            continue;
        }
        if !attempts.is_empty() {
            core.metrics.error_fallbacks.increment(1);
        }
        due = deadline.min(now + plan.attempt_timeout);
        last = Some(attempt_told(&mut walk, member, plan, (now, due)).await);
    }
    if is_missed { Ok(None) } else { Err(ReadError::Unanswered { attempts }) }
}

/// One more zone after a miss, if that is worth it. What goes wrong there leaves the miss as it is.
async fn fall_back_on_miss<'a>(
    mut walk: Walk<'a>,
    plan: &ReadPlan,
    deadline: Instant,
    missed: &Member,
) -> Result<Option<Hit<'a>>, ReadError> {
    let (core, key) = (walk.core, walk.key);
    if !plan.falls_back || !walk.has_more() || !core.falls_back_on_miss() {
        return Ok(None);
    }
    let now = Instant::now();
    let Some(member) = walk.next_well(now) else { return Ok(None) };
    let plan = ReadPlan { want: Want::Item, ..*plan };
    let Ok(found) = member.get(key, &plan, deadline.min(now + plan.attempt_timeout)).await else {
        return Ok(None);
    };
    core.miss_fallback_answered(found.is_some());
    if let Some(item) = &found {
        copy(core, key, item, member, missed);
    }
    Ok(found.map(|item| Hit { item, from: member }))
}

/// Gives a node that missed the item of one that had it, with its version and what is left of its life. Nobody waits
/// for it. A node that has missed writes itself is no source.
///
/// A manifest is not copied: its chunks come first, and whoever has read them sees to both.
pub(crate) fn copy(core: &Core, key: &Key, item: &Item, from: &Member, to: &Member) {
    if item.flags & MANIFEST == 0 {
        copy_at_once(core, key, item, from, to);
    }
}

/// The same for any item.
pub(crate) fn copy_at_once(core: &Core, key: &Key, item: &Item, from: &Member, to: &Member) {
    let Some(version) = item.version else { return };
    let link = &to.link;
    if !link.connection.speaks_versions() || core.repairs.lock().misses_any(&from.id()) {
        return;
    }
    let repair = Repair { key: key.clone(), change: as_it_is(core, item.clone()), version };
    let sent =
        with_repair(&repair, link.next_opaque(), |request| link.connection.submit(request, nobody(), 0));
    // One that cannot be sent is copied after the next miss.
    if sent.is_ok() {
        core.metrics.read_repairs.increment(1);
    }
}

/// For a request of which nobody asks what came of it.
pub(crate) fn nobody() -> Arc<dyn Completion> {
    Arc::new(Forgotten)
}

struct Forgotten;

impl Completion for Forgotten {
    fn complete(&self, _token: usize, _outcome: Result<Reply, TransportError>) {}
}

#[cfg(test)]
mod tests;
