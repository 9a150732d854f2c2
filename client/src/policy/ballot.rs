//! Whether a decision may be made: what the zones promised to whoever is to make it.

use std::time::Duration;

use super::Majority;
use crate::place::Place;
use crate::version::Version;

/// What zones are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bid {
    /// To agree to nothing older than this.
    pub(crate) least: Version,
    /// Also those that have promised the same place something older: see [`Ballot`].
    pub(crate) insists: bool,
}

/// What is to be done once zones have answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Vote {
    /// Decide, no earlier than this.
    Promised(Version),
    /// Ask again.
    Again(Bid),
    /// Nobody can be asked for more.
    Outvoted,
}

/// The promises that zones gave to one place. Pure: events in, answer out.
///
/// A zone that has promised something to a place, or has something that was decided there, has promised it by that all that
/// is less than 1,024 counts later: nobody else is promised anything in between. So its word counts for a decision less than
/// half as much later; the other half is for what the node decides between its answer and the decision. Of a zone that has
/// promised less more has to be asked for, or somebody else could be promised something that is older than the decision and
/// knows nothing of it. The first time nobody insists: that would overtake what the place is deciding meanwhile for others.
#[derive(Debug, Clone)]
pub(crate) struct Ballot {
    bid: Bid,
    place: Place,
    zones: usize,
    majority: Majority,
    /// What the zones told: the latest that they know of the key, or have promised, and whether they may have forgotten.
    told: Vec<(Version, bool)>,
}

impl Ballot {
    /// So many zones, by whose majority it is decided, are asked for this.
    pub(crate) fn new(bid: Bid, place: Place, zones: usize, majority: Majority) -> Self {
        Self { bid, place, zones, majority, told: Vec::new() }
    }

    /// A zone told what it knows or has promised.
    pub(crate) fn told(&mut self, floor: Version, has_forgotten: bool) {
        self.told.push((floor, has_forgotten));
    }

    pub(crate) fn vote(&self) -> Vote {
        let Bid { least, insists } = self.bid;
        let own = |floor: &Version| floor.is_by_place_of(least);
        let most = self.told.iter().map(|(floor, _)| *floor).filter(own).max();
        let counts = |floor: &Version| own(floor) && most.is_some_and(|most| floor.covers(most));
        let mut majority = self.majority.clone();
        let counted = self.told.iter().filter(|(floor, _)| counts(floor));
        counted.for_each(|(_, has_forgotten)| majority.agreed(*has_forgotten));
        // Of two zones one is enough only where the other says nothing.
        let is_alone = self.zones <= 2 && self.told.iter().any(|(floor, _)| !counts(floor));
        let latest = self.told.iter().map(|(floor, _)| *floor).max();
        // Who has promised somebody else something newer agrees to nothing that comes of these; and of what was written, or deleted,
        // later than this nothing is made.
        let refused = latest.is_some_and(|latest| !own(&latest));
        if let Some(most) = most.filter(|_| majority.is_reached() && !is_alone && !refused) {
            return Vote::Promised(most);
        }
        // Where somebody else decides, or where it was written later: as one who takes over.
        let others = self.told.iter().map(|(floor, _)| *floor).filter(|floor| !own(floor)).max();
        let next = others.map(|others| least.taking_over(others, self.place)).max(most).unwrap_or(least);
        let lags =
            most.is_some_and(|most| self.told.iter().any(|(floor, _)| own(floor) && !floor.covers(most)));
        if next > least || (lags && !insists) {
            return Vote::Again(Bid { least: next.max(least), insists: true });
        }
        Vote::Outvoted
    }
}

/// How long whoever was refused waits before the next attempt, `random` being 0 up to but not 1: two who refuse each other again
/// and again ask apart soon. Who stands in lets those before it in the order go first.
pub(crate) fn back_off(attempt: u32, place: Place, random: f64) -> Duration {
    /// Some round trips within a zone.
    const FIRST: Duration = Duration::from_millis(2);
    /// A few round trips between zones; a change has half a second for all.
    const MAX: Duration = Duration::from_millis(32);
    if attempt == 0 {
        return Duration::ZERO;
    }
    let longest = FIRST.saturating_mul(1 << (attempt - 1).min(8)).min(MAX);
    longest.mul_f64(random) + FIRST * place.rank()
}

#[cfg(test)]
mod tests;
