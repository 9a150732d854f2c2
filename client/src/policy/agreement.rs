//! Whether what one zone decided stays, whoever decides next.

use super::latch::Decision;

/// Counts what the other zones say to the outcome of a decision. Pure: events in, decision out.
///
/// Who decides next may be any zone that is well. So each of those has to have the outcome before anyone is told of it, and
/// more than half of all zones that live do. One that had something else decided says so; one that is known to be ill is
/// not waited for: it does not decide before it has caught up with the others.
#[derive(Debug, Clone)]
pub(crate) struct Agreement {
    zones: usize,
    /// Zones that have it, the one that decided among them.
    agreed: usize,
    /// Zones whose process has ended: what they had is gone, and they ask the others before they decide.
    ended: usize,
    /// What another zone decided was met.
    overtaken: bool,
}

impl Agreement {
    /// Of so many zones one has decided.
    pub(crate) fn new(zones: usize) -> Self {
        Self { zones, agreed: 1, ended: 0, overtaken: false }
    }

    /// A zone has the outcome, or something that was made of it, or a plain write that came after.
    pub(crate) fn agreed(&mut self) {
        self.agreed += 1;
    }

    /// A zone has what another zone decided.
    pub(crate) fn overtaken(&mut self) {
        self.overtaken = true;
    }

    /// A zone refuses connections: nobody is there.
    pub(crate) fn ended(&mut self) {
        self.ended += 1;
    }

    pub(crate) fn is_overtaken(&self) -> bool {
        self.overtaken
    }

    /// Whether to go on waiting, while so many zones that are well are silent.
    pub(crate) fn decide(&self, silent: usize) -> Decision {
        if self.overtaken {
            Decision::Impossible
        } else if silent > 0 {
            Decision::Waiting
        } else if self.agreed >= self.needed() {
            Decision::Met
        } else {
            Decision::Impossible
        }
    }

    /// Of two zones one has to do: there is no majority without the other.
    fn needed(&self) -> usize {
        match self.zones {
            0..=2 => 1,
            zones => zones.saturating_sub(self.ended) / 2 + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_zone_that_is_well_is_waited_for() {
        let mut agreement = Agreement::new(3);
        agreement.agreed();
        assert_eq!(agreement.decide(1), Decision::Waiting);
        assert_eq!(agreement.decide(0), Decision::Met, "the third is ill");
    }

    #[test]
    fn one_of_three_is_not_enough_unless_the_others_have_ended() {
        let mut agreement = Agreement::new(3);
        assert_eq!(agreement.decide(0), Decision::Impossible);
        agreement.ended();
        assert_eq!(agreement.decide(0), Decision::Impossible);
        agreement.ended();
        assert_eq!(agreement.decide(0), Decision::Met);
        assert_eq!(Agreement::new(2).decide(0), Decision::Met);
    }

    #[test]
    fn decision_of_another_zone_ends_the_waiting() {
        let mut agreement = Agreement::new(3);
        agreement.agreed();
        agreement.overtaken();
        assert_eq!(agreement.decide(1), Decision::Impossible);
        assert!(agreement.is_overtaken());
    }
}
