//! A part of a bulk read that is hedged as single reads are: what its node has not answered when it is slow is asked of the
//! next zone, each key for itself.
//!
//! ```text
//!  node    |--------- p95 ----------|......................| due
//!  spares                           |-- those allowed -----|
//!                                   the node's hits first; a key that it does not answer has its spare's
//! ```

use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, join_all, select};
use tokio::time::{Instant, timeout_at};

use super::{Outcome, Search};
use crate::core::Core;
use crate::item::Item;
use crate::member::Member;
use crate::policy::held_up;
use crate::read::ReadPlan;

/// Keys of a part that is hedged: more would spend in one go what all reads may, and gain little where a few are late.
const HEDGED_KEYS_MAX: usize = 16;

/// What the next zone has, and who there.
type Spared<'a> = Option<(Item, &'a Member)>;

impl Member {
    /// What this node, or a spare of a key, says of the keys of a part.
    pub(super) async fn get_part(
        &self,
        core: &Core,
        part: &mut [Search<'_>],
        plan: &ReadPlan,
        due: Instant,
    ) -> Vec<Outcome> {
        let may_hedge = plan.hedges && part.len() <= HEDGED_KEYS_MAX;
        let delay = if may_hedge { core.hedge_delay(self) } else { None };
        let Some(delay) = delay else { return self.get_batch(part, plan, due).await };
        let (mut outcomes, spared) = self.get_hedged(core, part, plan, (delay, due)).await;
        for ((search, outcome), spared) in part.iter_mut().zip(&mut outcomes).zip(spared) {
            let (Some((item, spare)), false) = (spared, matches!(outcome, Ok(Some(_)))) else { continue };
            core.metrics.hedges_won.increment(1);
            (search.asked, *outcome) = (Some(spare), Ok(Some(item)));
        }
        outcomes
    }

    /// The outcomes of this node, and what its spares have; misses where all spares were faster.
    async fn get_hedged<'a>(
        &self,
        core: &Core,
        part: &[Search<'a>],
        plan: &ReadPlan,
        (delay, due): (Duration, Instant),
    ) -> (Vec<Outcome>, Vec<Spared<'a>>) {
        let mut first = pin!(self.get_batch(part, plan, due));
        let mut slow_at = Instant::now() + delay;
        loop {
            if let Ok(outcomes) = timeout_at(slow_at.min(due), first.as_mut()).await {
                return (outcomes, Vec::new());
            }
            let now = Instant::now();
            if now >= due {
                return (first.await, Vec::new());
            }
            if held_up(slow_at, now).is_none() {
                break;
            }
            // This process did not run: the node gets its time once more.
            slow_at = now + delay;
        }
        let spares = pin!(join_all(part.iter().map(|search| search.ask_spare(core, plan, due))));
        match select(first, spares).await {
            Either::Left((outcomes, _)) if outcomes.iter().all(|outcome| matches!(outcome, Ok(Some(_)))) => {
                (outcomes, Vec::new())
            }
            Either::Left((outcomes, spares)) => (outcomes, spares.await),
            Either::Right((spared, _)) if spared.iter().all(Option::is_some) => {
                (part.iter().map(|_| Ok(None)).collect(), spared)
            }
            Either::Right((spared, first)) => (first.await, spared),
        }
    }
}

impl<'a> Search<'a> {
    /// What the next zone has of this key, if it may be asked.
    async fn ask_spare(&self, core: &Core, plan: &ReadPlan, due: Instant) -> Spared<'a> {
        if self.missed.is_some() {
            // This node is asked beside another already.
            return None;
        }
        let spare = core.spare(&mut self.walk.clone())?;
        let item = spare.get(self.key, plan, due).await.ok()??;
        Some((item, spare))
    }
}
