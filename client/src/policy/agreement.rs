//! Whether what one zone decided stays, whoever decides next.

use super::latch::Decision;

/// More than half of the zones that there are, whoever believes which of them to be well: of two majorities some zone is in
/// both. Pure: events in, answer out.
///
/// A zone whose process is new has forgotten what it agreed to, and counts only where all agree. Of two zones each is
/// enough: there is no majority without the other, and a cluster of two is to go on with one.
#[derive(Debug, Clone)]
pub(crate) struct Majority {
    zones: usize,
    needed: usize,
    agreed: usize,
    /// Of those that agreed, who has forgotten nothing.
    seasoned: usize,
}

/// What the other zones say to the outcome of a decision. Pure: events in, decision out.
///
/// An outcome stays once a majority has it and has promised nobody to agree to nothing so old: whoever decides next asks a
/// majority before it does, and one of those has it. Zones that are well are waited for beyond that, so that they do not
/// fall behind.
#[derive(Debug, Clone)]
pub(crate) struct Agreement {
    majority: Majority,
    /// What another zone decided, or is to decide, was met.
    overtaken: bool,
}

impl Majority {
    /// Of so many zones, of which so many are not there any more: the topology says so, and nobody listens there.
    pub(crate) fn of(zones: usize, gone: usize) -> Self {
        let needed = if zones <= 2 { 1 } else { zones.saturating_sub(gone) / 2 + 1 };
        Self { zones, needed, agreed: 0, seasoned: 0 }
    }

    /// One of the zones agrees, which may have forgotten what it agreed to before.
    pub(crate) fn agreed(&mut self, has_forgotten: bool) {
        self.agreed += 1;
        self.seasoned += usize::from(!has_forgotten);
    }

    pub(crate) fn is_reached(&self) -> bool {
        self.is_reached_with(0)
    }

    /// Whether it would be if so many more agreed.
    pub(crate) fn is_reached_with(&self, more: usize) -> bool {
        let least = if self.zones <= 2 { self.agreed } else { self.seasoned };
        least + more >= self.needed || self.agreed + more >= self.zones
    }
}

impl Agreement {
    /// Nobody has said anything yet.
    pub(crate) fn new(majority: Majority) -> Self {
        Self { majority, overtaken: false }
    }

    /// A zone has the outcome, or something that was made of it, or a plain write that came after.
    pub(crate) fn agreed(&mut self, has_forgotten: bool) {
        self.majority.agreed(has_forgotten);
    }

    /// A zone has what another zone decided, or has promised to agree to nothing older than what that is going to decide.
    pub(crate) fn overtaken(&mut self) {
        self.overtaken = true;
    }

    pub(crate) fn is_overtaken(&self) -> bool {
        self.overtaken
    }

    /// Whether what has been agreed to is enough, though a zone that may be well has said nothing in time. Of two zones one is
    /// not.
    pub(crate) fn decide_at_last(&self) -> Decision {
        let is_met = !self.overtaken && self.majority.zones > 2 && self.majority.is_reached();
        if is_met { Decision::Met } else { Decision::Impossible }
    }

    /// Whether to go on waiting, while so many zones are silent, and so many of those are well. One that is ill is waited
    /// for only as long as it takes it to make a majority.
    pub(crate) fn decide(&self, silent: usize, well: usize) -> Decision {
        if self.overtaken {
            Decision::Impossible
        } else if well > 0 {
            Decision::Waiting
        } else if self.majority.is_reached() {
            Decision::Met
        } else if self.majority.is_reached_with(silent) {
            Decision::Waiting
        } else {
            Decision::Impossible
        }
    }
}

#[cfg(test)]
mod tests;
