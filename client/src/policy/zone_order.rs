//! In which order zones are asked.

use std::sync::Arc;
use std::time::Duration;

/// The share of a new round trip in the average: some dozens settle it, one late reply moves it by a sixteenth.
const SHARE: f64 = 1.0 / 16.0;

/// Fewer round trips are not yet an average.
const SAMPLES_MIN: u32 = 16;

/// A zone is put before another when it takes at most this share of the other's time ...
const NEARER_SHARE: f64 = 0.8;

/// ... and so much less of it: zones that differ by less than a scheduler's hiccup are equally near.
const NEARER_MIN: Duration = Duration::from_micros(100);

/// No round trip counts for more: one reply that took a pause says nothing of the distance.
const ROUND_TRIP_MAX: Duration = Duration::from_millis(100);

/// The order in which a read goes through the zones: the local one, then the nearest by measured latency. Pure.
///
/// ```text
///  configured     local   b     c     d     e
///  measured               4 ms  ?     2 ms  1 ms        ? = fewer than 16 round trips
///  order          local   e     c     d     b           c keeps its place; the others share theirs by latency
/// ```
///
/// Two zones change places only when the farther one has become clearly nearer, by a fifth and by 100 us, so that
/// zones alike do not flap and each keeps the same spare. Writes go to all zones, so that those that are never read
/// are measured too. A zone whose nodes do not answer is the breakers' business: what it took is not recorded, and its
/// place stays.
#[derive(Debug, Clone, Default)]
pub(crate) struct ZoneOrder {
    /// As configured.
    zones: Vec<Zone>,
    /// Indices into `zones`, in the order to ask.
    order: Vec<usize>,
    local: Option<usize>,
}

#[derive(Debug, Clone)]
struct Zone {
    name: Arc<str>,
    average: Duration,
    samples: u32,
}

impl ZoneOrder {
    /// Zones in their configured order, of which `local`, if it is among them, comes first.
    pub(crate) fn new(names: impl IntoIterator<Item = Arc<str>>, local: &str) -> Self {
        let zones: Vec<Zone> = names.into_iter().map(Zone::unknown).collect();
        let local = zones.iter().position(|zone| &*zone.name == local);
        let others = (0..zones.len()).filter(|&at| Some(at) != local);
        let order = local.into_iter().chain(others).collect();
        Self { zones, order, local }
    }

    /// The zones of a new topology. Those that were there keep what was measured of them, and their order among
    /// themselves.
    pub(crate) fn renewed(&self, names: impl IntoIterator<Item = Arc<str>>, local: &str) -> Self {
        let mut renewed = Self::new(names, local);
        for zone in &mut renewed.zones {
            if let Some(known) = self.zones.iter().find(|known| known.name == zone.name) {
                *zone = known.clone();
            }
        }
        let known = renewed.measured();
        let mut by_rank: Vec<usize> = known.iter().map(|&place| renewed.order[place]).collect();
        by_rank.sort_by_key(|&at| self.rank(&renewed.zones[at].name));
        known.iter().zip(by_rank).for_each(|(&place, at)| renewed.order[place] = at);
        renewed.settle();
        renewed
    }

    /// Where each zone stands: positions in the configured order, the first to ask first.
    #[cfg(test)]
    pub(crate) fn order(&self) -> &[usize] {
        &self.order
    }

    /// The zones, the first to ask first.
    pub(crate) fn zones(&self) -> Vec<Arc<str>> {
        self.order.iter().map(|&at| Arc::clone(&self.zones[at].name)).collect()
    }

    /// The position of a zone in the configured order.
    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        self.zones.iter().position(|zone| &*zone.name == name)
    }

    /// A node of this zone, by its position in the configured order, answered after `took`. Whether the order changed.
    pub(crate) fn on_answer(&mut self, zone: usize, took: Duration) -> bool {
        let Some(zone) = self.zones.get_mut(zone) else { return false };
        zone.learn(took.min(ROUND_TRIP_MAX));
        self.settle()
    }

    /// The average round trip of a zone, by its position in the configured order; `None` while it is unknown.
    #[cfg(test)]
    pub(crate) fn average(&self, zone: usize) -> Option<Duration> {
        self.zones.get(zone).and_then(Zone::known)
    }

    fn rank(&self, name: &str) -> usize {
        self.order.iter().position(|&at| &*self.zones[at].name == name).unwrap_or(usize::MAX)
    }

    /// The places in the order that are shared by latency.
    fn measured(&self) -> Vec<usize> {
        let shared = |&place: &usize| {
            let at = self.order[place];
            Some(at) != self.local && self.zones[at].known().is_some()
        };
        (0..self.order.len()).filter(shared).collect()
    }

    /// Moves zones forward past those that are clearly farther. Each exchange takes an inversion away, so it ends.
    fn settle(&mut self) -> bool {
        let places = self.measured();
        let mut changed = false;
        for sorted in 1..places.len() {
            for place in (1..=sorted).rev() {
                let (before, after) = (places[place - 1], places[place]);
                if !self.nearer(self.order[after], self.order[before]) {
                    break;
                }
                self.order.swap(before, after);
                changed = true;
            }
        }
        changed
    }

    /// Whether one zone is clearly nearer than another.
    fn nearer(&self, one: usize, other: usize) -> bool {
        let (one, other) = (self.zones[one].average, self.zones[other].average);
        one + NEARER_MIN <= other && one <= other.mul_f64(NEARER_SHARE)
    }
}

impl Zone {
    fn unknown(name: Arc<str>) -> Self {
        Self { name, average: Duration::ZERO, samples: 0 }
    }

    fn known(&self) -> Option<Duration> {
        (self.samples >= SAMPLES_MIN).then_some(self.average)
    }

    /// Until enough are known, the plain mean.
    fn learn(&mut self, took: Duration) {
        self.samples = (self.samples + 1).min(SAMPLES_MIN);
        let share = SHARE.max(1.0 / f64::from(self.samples));
        let average = self.average.as_secs_f64();
        self.average = Duration::from_secs_f64(average + (took.as_secs_f64() - average) * share);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn zones(names: &str) -> Vec<Arc<str>> {
        names.chars().map(|name| Arc::from(name.to_string())).collect()
    }

    fn answers(order: &mut ZoneOrder, zone: usize, micros: u64) {
        (0..200).for_each(|_| _ = order.on_answer(zone, Duration::from_micros(micros)));
    }

    #[test]
    fn local_zone_is_first_and_the_others_stand_as_configured() {
        assert_eq!(ZoneOrder::new(zones("abcd"), "c").order(), [2, 0, 1, 3]);
        assert_eq!(ZoneOrder::new(zones("abcd"), "").order(), [0, 1, 2, 3]);
    }

    #[test]
    fn zones_are_ordered_by_latency_once_they_are_measured() {
        let mut order = ZoneOrder::new(zones("abcd"), "a");
        for (zone, micros) in [(1, 4_000), (2, 3_000), (3, 1_000)] {
            answers(&mut order, zone, micros);
        }
        assert_eq!(order.order(), [0, 3, 2, 1]);
        assert_eq!(order.average(3), Some(Duration::from_millis(1)));
    }

    #[test]
    fn unknown_zone_keeps_its_place() {
        let mut order = ZoneOrder::new(zones("abcde"), "a");
        for (zone, micros) in [(1, 4_000), (3, 2_000), (4, 1_000)] {
            answers(&mut order, zone, micros);
        }
        assert_eq!(order.order(), [0, 4, 2, 3, 1]);
        assert_eq!(order.average(2), None);
    }

    #[test]
    fn local_zone_stays_first_however_slow_it_is() {
        let mut order = ZoneOrder::new(zones("ab"), "b");
        answers(&mut order, 1, 50_000);
        answers(&mut order, 0, 200);
        assert_eq!(order.order(), [1, 0]);
    }

    #[test]
    fn zones_alike_do_not_flap() {
        let mut order = ZoneOrder::new(zones("abc"), "a");
        for round in 0..10_000_u64 {
            let changed = order.on_answer(1, Duration::from_micros(900 + round * 37 % 200));
            assert!(!changed && !order.on_answer(2, Duration::from_micros(850 + round * 53 % 200)));
        }
    }

    #[test]
    fn one_late_reply_does_not_change_the_order() {
        let mut order = ZoneOrder::new(zones("abc"), "a");
        answers(&mut order, 1, 1_000);
        answers(&mut order, 2, 2_000);
        assert!(!order.on_answer(1, Duration::from_millis(10)));
        assert_eq!(order.order(), [0, 1, 2]);
    }

    #[test]
    fn zone_that_moved_away_is_passed_within_some_dozen_round_trips() {
        let mut order = ZoneOrder::new(zones("abc"), "a");
        answers(&mut order, 1, 1_000);
        answers(&mut order, 2, 2_000);
        let needed = (1..100).find(|_| order.on_answer(1, Duration::from_millis(4)));
        assert!(needed.is_some_and(|needed| needed > 2 && needed < 32), "{needed:?}");
        assert_eq!(order.order(), [0, 2, 1]);
    }

    #[test]
    fn new_topology_keeps_what_was_measured() {
        let mut order = ZoneOrder::new(zones("abcd"), "a");
        for (zone, micros) in [(1, 3_000), (2, 2_000), (3, 1_000)] {
            answers(&mut order, zone, micros);
        }
        let order = order.renewed(zones("adbx"), "a");
        assert_eq!(order.order(), [0, 1, 2, 3]);
        assert_eq!(order.average(2), Some(Duration::from_millis(3)));
        assert_eq!(order.average(3), None);
        assert_eq!(order.renewed(zones("bda"), "a").order(), [2, 1, 0]);
    }

    #[test]
    fn zone_that_is_not_there_is_ignored() {
        let mut order = ZoneOrder::new(zones("a"), "a");
        assert!(!order.on_answer(7, Duration::from_millis(1)));
        assert_eq!(ZoneOrder::default().order(), [] as [usize; 0]);
    }

    proptest! {
        /// However it comes about: all zones are there once, the local one is first, unknown ones stay in their
        /// places, and no known neighbour is clearly nearer than the one before it.
        #[test]
        fn order_is_complete_and_settled(
            count in 1..7_usize,
            local in 0..8_usize,
            answers in proptest::collection::vec((0..7_usize, 0..20_000_u64), 0..600),
        ) {
            let names: Vec<Arc<str>> = (0..count).map(|at| Arc::from(at.to_string())).collect();
            let configured = ZoneOrder::new(names.iter().cloned(), &local.to_string());
            let mut order = configured.clone();
            for (zone, micros) in answers {
                order.on_answer(zone, Duration::from_micros(micros));
            }
            for order in [order.clone(), order.renewed(names, &local.to_string())] {
                let mut sorted = order.order().to_vec();
                sorted.sort_unstable();
                prop_assert_eq!(sorted, (0..count).collect::<Vec<_>>());
                prop_assert!(local >= count || order.order()[0] == local);
                for (place, &zone) in configured.order().iter().enumerate() {
                    prop_assert!(order.average(zone).is_some() || order.order()[place] == zone);
                }
                let places = order.measured();
                for pair in places.windows(2) {
                    prop_assert!(!order.nearer(order.order[pair[1]], order.order[pair[0]]));
                }
            }
        }
    }
}
