//! What a node knows of its own gaps: since when it hears of everything, and what it may have missed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use evanesce_store::{Time, Version};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::execute::CLOCK_AHEAD_MAX;

/// Not to run for so long means to have missed writes that nobody may bring: clients give a node up for dead after a second,
/// and may end before it is back.
const AWAY_MS: u64 = 2_000;

/// What was written so long before a node was away may not have come to it any more: a write's whole time, and the clocks'
/// difference that is borne.
const BEFORE_AWAY_MS: u64 = 6_000;

/// Whoever did not run for so long was down for everybody else, whose lease had lapsed: what it missed nobody may remember.
pub(crate) const AWAY_LONG: Duration = Duration::from_secs(10);

/// A comparison spares what is so young, for it may still be on its way, with what its writer's clock may be ahead: after a
/// quick restart it would spare what was written before, and deleted since.
const SPARED_MS: u64 = 3_000;

/// A key written so long after the last eviction was not evicted, though its writer's clock may have been ahead.
const AFTER_EVICTION_MS: u64 = 1_000;

/// Of a process.
///
/// ```text
///            starts, or did not run for 2 s
///  settled ─────────────────────────────────> away
///     ^                                        │
///     └── compared with siblings that settled ─┘      (or all of them were away as well)
/// ```
///
/// Settled means to be read. Whether it vouches for what is not here is another thing: a node that is read because nobody
/// could tell it what it missed lacks that still, and its siblings are not to drop anything by its word.
///
/// A node that was away so long that it is kept back is read by nobody who finds another, until it is settled: what was deleted
/// meanwhile may be forgotten by all others. Whoever reads it nevertheless misses what was there before, for as long as anybody
/// may be there who knows more: a miss is right, and something deleted is not.
///
/// Being told that writes were given up asks for a comparison, too, and leaves the node settled.
#[derive(Debug)]
pub(crate) struct Standing {
    state: Mutex<State>,
    settled: watch::Sender<bool>,
    kept_back: watch::Sender<bool>,
    /// Readers are told of no items older than this version; 0 hides nothing.
    hides_before: AtomicU64,
    called: Notify,
}

#[derive(Debug)]
struct State {
    /// When the process was last seen to run; none before the first time.
    ran: Option<Time>,
    /// Deletes of later versions were heard of.
    hears_since: Version,
    /// Evictions at the last look, and since when nothing can have been evicted.
    evictions: u64,
    kept_since: Time,
    gap: Option<Gap>,
    gaps: u64,
    /// The number of the gap when the process was last found to have been away.
    away: u64,
    /// From when on the node vouches for what is not here, while it is settled; none while it knows that it lacks something.
    vouches_from: Option<Time>,
}

/// What may have been missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gap {
    /// Writes and deletes from this version on.
    pub(crate) since: Version,
    /// When it was found out.
    pub(crate) found: Time,
    /// The how many-th.
    number: u64,
}

impl Gap {
    /// Whether it is the same, though more may have been missed since.
    pub(crate) fn is_as_old_as(&self, other: &Gap) -> bool {
        self.found == other.found
    }

    /// How long it is until a comparison spares nothing that was written before a process ended that has been followed by
    /// this one.
    pub(crate) fn until_all_is_judged(&self, now: Time) -> Duration {
        let judged = self.since.time().0 + BEFORE_AWAY_MS + SPARED_MS;
        Duration::from_millis(judged.saturating_sub(now.0).min(SPARED_MS))
    }
}

impl Standing {
    /// Of a process that starts now; with items that were there when it last ran, if it has any.
    pub(crate) fn new(now: Time, ran: Option<Time>) -> Self {
        let state = State {
            ran: None,
            hears_since: Version::at(now, 0),
            evictions: 0,
            // What was evicted before it ended is not known.
            kept_since: ran.unwrap_or_default(),
            gap: None,
            gaps: 0,
            away: 0,
            vouches_from: Some(Time::default()),
        };
        let standing = Self {
            state: Mutex::new(state),
            settled: watch::Sender::new(false),
            kept_back: watch::Sender::new(false),
            hides_before: AtomicU64::new(0),
            called: Notify::new(),
        };
        if let Some(ran) = ran {
            standing.state.lock().was_away(ran, now);
            if Duration::from_millis(now.0.saturating_sub(ran.0)) >= AWAY_LONG {
                standing.hide(ran, now);
            }
        }
        standing
    }

    /// The process runs, and has evicted so many items so far. To be called often, and before anything is answered.
    pub(crate) fn note(&self, now: Time, evictions: u64) {
        let mut state = self.state.lock();
        if evictions > state.evictions {
            state.evictions = evictions;
            state.kept_since = state.kept_since.max(Time(now.0 + AFTER_EVICTION_MS));
        }
        let ran = state.ran.replace(now);
        let Some(ran) = ran.filter(|ran| now.0 > ran.0 + AWAY_MS) else { return };
        state.hears_since = Version::at(now, 0);
        state.was_away(ran, now);
        // Before anybody else may look.
        self.settled.send_replace(false);
        drop(state);
        self.called.notify_one();
    }

    /// The process, which is noted to run, was away for long: since `ran`.
    pub(crate) fn keep_back(&self, ran: Time, now: Time) {
        let state = self.state.lock();
        if state.gap.is_some() && !self.is_settled() {
            self.hide(ran, now);
            self.kept_back.send_replace(true);
        }
    }

    /// What was there when it last ran is not shown: later versions than that and how far clocks may be ahead came since.
    fn hide(&self, ran: Time, now: Time) {
        let latest = Time(ran.0.saturating_add(CLOCK_AHEAD_MAX.as_millis() as u64).min(now.0));
        self.hides_before.fetch_max(Version::at(latest, 0).0, Ordering::AcqRel);
    }

    /// All that is there is shown, though the node may not be settled: nobody is there who knows more.
    pub(crate) fn show_all(&self) {
        self.hides_before.store(0, Ordering::Release);
    }

    /// The same, unless the process was away again since this gap was found. Answers whether it was not.
    pub(crate) fn show_unless_away_since(&self, gap: Option<Gap>) -> bool {
        let state = self.state.lock();
        let is_as_it_was = state.away <= gap.map_or(0, |gap| gap.number);
        if is_as_it_was {
            self.show_all();
        }
        is_as_it_was
    }

    /// Readers miss what is older than this; the first version of all where nothing is hidden.
    pub(crate) fn hides_before(&self) -> Version {
        Version(self.hides_before.load(Ordering::Acquire))
    }

    pub(crate) fn is_kept_back(&self) -> bool {
        *self.kept_back.borrow()
    }

    /// Resolves when the node is kept back.
    pub(crate) async fn kept_back(&self) {
        // An error would say that the sender is gone, and it is here.
        let _ = self.kept_back.subscribe().wait_for(|kept_back| *kept_back).await;
    }

    /// The node is read from now on.
    fn let_read(&self) {
        self.show_all();
        self.settled.send_replace(true);
        self.kept_back.send_replace(false);
    }

    /// Writes from this version on were given up.
    pub(crate) fn missed(&self, since: Version, now: Time) {
        let mut state = self.state.lock();
        // Told again and again, it is waited for no longer than once.
        let found = state.gap.map_or(now, |gap| gap.found);
        state.miss(since, found);
        drop(state);
        self.called.notify_one();
    }

    /// What is to be made up for, if anything.
    pub(crate) fn gap(&self) -> Option<Gap> {
        self.state.lock().gap
    }

    /// Everything of this gap was made up for.
    pub(crate) fn made_up(&self, gap: Gap) {
        self.close(gap, Time::default());
    }

    /// Nobody knows more than this node. It vouches for what is not here from then on only: siblings that were away with it,
    /// and have not given up yet, would drop by its word what it lacks.
    pub(crate) fn give_up(&self, gap: Gap, vouches_from: Time) {
        self.close(gap, vouches_from);
    }

    fn close(&self, gap: Gap, vouches_from: Time) {
        let mut state = self.state.lock();
        if state.away > gap.number {
            return;
        }
        // What was given up since is still to be made up for: that keeps nobody from being read.
        state.gap = state.gap.filter(|newer| newer.number != gap.number);
        if state.vouches_from.is_none() {
            state.vouches_from = Some(vouches_from);
        }
        self.let_read();
    }

    /// The node is to be read, though what it missed in this gap is still to be made up for.
    pub(crate) fn go_on(&self, gap: Gap) {
        let state = self.state.lock();
        if state.gap.is_some() && state.away <= gap.number {
            self.let_read();
        }
    }

    /// Whether what is not here is not to be anywhere.
    pub(crate) fn vouches(&self, now: Time) -> bool {
        let from = self.state.lock().vouches_from;
        self.is_settled() && from.is_some_and(|from| now >= from)
    }

    /// The node has what it is to hold, as far as it will be given anything. A gap that is open stays so, unless nobody
    /// will ever close it.
    pub(crate) fn settle(&self, reconciles: bool) {
        let mut state = self.state.lock();
        state.gap = state.gap.filter(|_| reconciles);
        if state.gap.is_none() {
            state.vouches_from = state.vouches_from.or(Some(Time::default()));
            self.let_read();
        }
    }

    pub(crate) fn is_settled(&self) -> bool {
        *self.settled.borrow()
    }

    /// Resolves when the node is settled.
    pub(crate) async fn settled(&self) {
        // An error would say that the sender is gone, and it is here.
        let _ = self.settled.subscribe().wait_for(|settled| *settled).await;
    }

    /// Resolves when there is a gap to see to.
    pub(crate) async fn called(&self) {
        self.called.notified().await;
    }

    /// Deletes of later versions were heard of, whatever became of them since.
    pub(crate) fn hears_since(&self) -> Version {
        self.state.lock().hears_since
    }

    /// The node has become the owner of keys of which it hears from now on, at the latest.
    pub(crate) fn hears_from(&self, now: Time) {
        let mut state = self.state.lock();
        state.hears_since = state.hears_since.max(Version::at(now, 0));
    }

    /// Of what is not here later versions were not evicted.
    pub(crate) fn keeps_since(&self) -> Version {
        Version::at(self.state.lock().kept_since, 0)
    }
}

impl State {
    fn miss(&mut self, since: Version, found: Time) {
        self.gaps += 1;
        let known = self.gap.map_or(since, |gap| gap.since.min(since));
        self.gap = Some(Gap { since: known, found, number: self.gaps });
    }

    fn was_away(&mut self, ran: Time, now: Time) {
        self.miss(before(ran), now);
        self.away = self.gaps;
        self.vouches_from = None;
    }
}

/// The first version that a node may have missed that last ran then.
fn before(ran: Time) -> Version {
    Version::at(Time(ran.0.saturating_sub(BEFORE_AWAY_MS)), 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time(1_800_000_000_000);

    fn later(ms: u64) -> Time {
        Time(NOW.0 + ms)
    }

    /// What was seen in review: the timer of the first absence ended in the second, and all was shown with nobody asked.
    #[test]
    fn patience_of_one_absence_shows_nothing_in_the_next() {
        let standing = Standing::new(NOW, None);
        standing.settle(true);
        standing.note(NOW, 0);
        let away = |from: u64, to: u64| {
            standing.note(later(to), 0);
            standing.keep_back(later(from), later(to));
            standing.gap()
        };
        let first = away(0, 20_000);
        let second = away(20_000, 90_000);
        assert!(first.is_some() && second.is_some());
        assert!(!standing.show_unless_away_since(first));
        assert!(standing.hides_before() > Version::default());
        standing.missed(before(later(90_000)), later(91_000));
        assert!(standing.show_unless_away_since(standing.gap()), "to be told of more is no absence");
        assert_eq!(standing.hides_before(), Version::default());
    }

    #[test]
    fn process_that_did_not_run_has_a_gap_until_it_is_made_up_for() {
        let standing = Standing::new(NOW, None);
        standing.settle(true);
        standing.note(NOW, 0);
        standing.note(later(AWAY_MS), 0);
        assert!(standing.is_settled() && standing.gap().is_none());
        standing.note(later(10_000), 0);
        let gap = standing.gap().expect("it was away");
        assert_eq!((gap.since, gap.found), (before(later(AWAY_MS)), later(10_000)));
        assert_eq!((standing.is_settled(), standing.hears_since()), (false, Version::at(later(10_000), 0)));
        standing.note(later(20_000), 0);
        standing.made_up(gap);
        assert!(!standing.is_settled(), "it was away again meanwhile");
        let gap = standing.gap().expect("both times");
        assert_eq!(gap.since, before(later(AWAY_MS)));
        standing.made_up(gap);
        assert!(standing.is_settled() && standing.gap().is_none());
    }

    #[test]
    fn node_that_was_filled_knows_of_no_deletes_from_before_it() {
        let standing = Standing::new(NOW, None);
        standing.hears_from(later(70_000));
        assert_eq!(standing.hears_since(), Version::at(later(70_000), 0));
        standing.hears_from(later(60_000));
        assert_eq!(standing.hears_since(), Version::at(later(70_000), 0));
    }

    #[test]
    fn node_that_goes_on_without_what_it_missed_is_read_and_vouches_for_nothing() {
        let standing = Standing::new(NOW, None);
        standing.settle(true);
        standing.note(NOW, 0);
        assert!(standing.vouches(NOW));
        standing.note(later(10_000), 0);
        let gap = standing.gap().expect("it was away");
        standing.go_on(gap);
        assert_eq!((standing.is_settled(), standing.vouches(later(900_000))), (true, false));
        assert_eq!(standing.gap(), Some(gap), "the next comparison drops still");
        standing.made_up(gap);
        assert!(standing.vouches(later(10_000)) && standing.gap().is_none());
    }

    #[test]
    fn node_that_nobody_could_tell_more_vouches_after_its_siblings_have_given_up_too() {
        let standing = Standing::new(later(10_000), Some(NOW));
        standing.settle(true);
        let gap = standing.gap().expect("it ended");
        standing.give_up(gap, later(40_000));
        assert!(standing.is_settled() && standing.gap().is_none());
        assert_eq!([39_999, 40_000].map(|ms| standing.vouches(later(ms))), [false, true]);
    }

    #[test]
    fn what_was_given_up_is_made_up_for_by_a_node_that_stays_settled() {
        let standing = Standing::new(NOW, None);
        standing.settle(true);
        standing.missed(Version(70), NOW);
        standing.missed(Version(90), later(1));
        assert!(standing.is_settled());
        assert_eq!(standing.gap().map(|gap| gap.since), Some(Version(70)));
    }

    // Seen: a node that had been away was read by nobody as long as clients went on to report what they gave up.
    #[test]
    fn reports_while_a_node_makes_up_for_its_absence_do_not_keep_it_from_being_read() {
        let standing = Standing::new(later(10_000), Some(NOW));
        standing.settle(true);
        let gap = standing.gap().expect("it ended");
        standing.missed(Version(70), later(11_000));
        let newer = standing.gap().expect("both");
        assert!(newer != gap && newer.is_as_old_as(&gap), "it is waited for once");
        standing.made_up(gap);
        assert!(standing.is_settled() && standing.vouches(later(11_000)));
        assert_eq!(standing.gap(), Some(newer), "what was given up since is open");
        standing.made_up(newer);
        assert_eq!(standing.gap(), None);
    }

    #[test]
    fn items_of_a_memory_file_are_a_gap_from_the_start() {
        let standing = Standing::new(later(600_000), Some(NOW));
        standing.settle(true);
        assert!(!standing.is_settled());
        assert_eq!(standing.gap().map(|gap| gap.since), Some(before(NOW)));
        assert_eq!(standing.keeps_since(), Version::at(NOW, 0));
        standing.settle(false);
        assert!(standing.is_settled() && standing.gap().is_none(), "nobody will close it");
    }

    #[test]
    fn items_of_a_memory_file_are_hidden_after_a_long_absence_until_they_are_compared() {
        let standing = Standing::new(later(9_999), Some(NOW));
        assert_eq!(standing.hides_before(), Version(0), "its clients bring what it missed");
        let standing = Standing::new(later(10_000), Some(NOW));
        assert_eq!(standing.hides_before(), Version::at(later(5_000), 0), "later ones were brought since");
        standing.missed(Version(70), later(11_000));
        let gap = standing.gap().expect("it ended");
        standing.made_up(gap);
        assert_eq!(standing.hides_before(), Version(0));
    }

    #[test]
    fn what_is_later_than_the_last_eviction_was_not_evicted() {
        let standing = Standing::new(NOW, None);
        standing.note(NOW, 0);
        assert_eq!(standing.keeps_since(), Version(0));
        standing.note(later(100), 3);
        standing.note(later(200), 3);
        assert_eq!(standing.keeps_since().time(), later(100 + AFTER_EVICTION_MS));
    }

    #[test]
    fn quick_restart_waits_until_nothing_from_before_is_spared() {
        let left = |ms: u64| {
            let gap = Standing::new(later(ms), Some(NOW)).gap().expect("it ended");
            gap.until_all_is_judged(later(ms))
        };
        assert_eq!(left(200), Duration::from_millis(2_800));
        assert_eq!(left(60_000), Duration::ZERO);
    }
}
