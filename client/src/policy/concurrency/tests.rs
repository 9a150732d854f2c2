//! The limit before a queueing server whose capacity changes, step by step and seeded.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use proptest::prelude::*;

use super::*;

const ATTEMPT: Duration = Duration::from_millis(20);

/// A server that answers in order, one request in `service`, after `trip` on the way; and callers that always want
/// `callers` requests under way.
struct Simulation {
    limit: ConcurrencyLimit,
    start: Instant,
    now: Duration,
    service: Duration,
    trip: Duration,
    /// A round trip in so many takes `spike` longer, on the way back.
    spike_every: u64,
    spike: Duration,
    callers: u32,
    free_at: Duration,
    /// When a reply arrives, and how long it took.
    replies: BinaryHeap<Reverse<(Duration, Duration)>>,
    random: u64,
    longest: Duration,
    answered: u64,
}

impl Simulation {
    fn new(service: Duration, callers: u32, seed: u64) -> Self {
        Self {
            limit: ConcurrencyLimit::new(Pace::memory(ATTEMPT)),
            start: Instant::now(),
            now: Duration::ZERO,
            service,
            trip: Duration::from_micros(100),
            spike_every: 0,
            spike: Duration::ZERO,
            callers,
            free_at: Duration::ZERO,
            replies: BinaryHeap::new(),
            random: seed | 1,
            longest: Duration::ZERO,
            answered: 0,
        }
    }

    /// Xorshift: the same seed, the same run.
    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    fn send_what_is_admitted(&mut self) {
        while self.limit.in_flight() < self.callers && self.limit.admit() {
            // Between half and one and a half of the mean.
            let spread = 0.5 + (self.random() % 1000) as f64 / 1000.0;
            self.free_at = self.free_at.max(self.now + self.trip / 2) + self.service.mul_f64(spread);
            let late = self.spike_every > 0 && self.random().is_multiple_of(self.spike_every);
            let arrives = self.free_at + self.trip / 2 + if late { self.spike } else { Duration::ZERO };
            self.replies.push(Reverse((arrives, arrives - self.now)));
        }
    }

    /// Runs on for `time`; returns requests answered in it for each second.
    fn run(&mut self, time: Duration) -> f64 {
        let end = self.now + time;
        let before = self.answered;
        self.longest = Duration::ZERO;
        self.send_what_is_admitted();
        while let Some(&Reverse((at, took))) = self.replies.peek() {
            if at > end {
                break;
            }
            self.replies.pop();
            self.now = at;
            self.answered += 1;
            self.longest = self.longest.max(took);
            self.limit.on_end(self.start + at, Ended::After(took));
            self.send_what_is_admitted();
        }
        self.now = end;
        (self.answered - before) as f64 / time.as_secs_f64()
    }

    /// The limit lies between these at each of the next fifty tenths of a second, `what` says which phase failed.
    fn stays_within(&mut self, least: u32, most: u32, what: &str) {
        for _ in 0..50 {
            self.run(Duration::from_millis(100));
            let limit = self.limit.limit();
            assert!((least..=most).contains(&limit), "{what}: {limit} at {:?}", self.now);
        }
    }
}

/// 20,000 requests a second: two are on the way at once, and thirty wait 1.5 ms.
const FAST: Duration = Duration::from_micros(50);

#[test]
fn limit_settles_where_the_queue_is_short_and_the_node_is_busy() {
    let mut world = Simulation::new(FAST, 1_000, 1);
    world.run(Duration::from_secs(20));
    world.stays_within(16, 170, "settled");
    let rate = world.run(Duration::from_secs(5));
    assert!(rate > 19_500.0, "{rate}");
    assert!(world.longest < ATTEMPT / 2, "{:?}", world.longest);
}

#[test]
fn limit_follows_a_capacity_that_falls_to_a_tenth_and_comes_back() {
    let mut world = Simulation::new(FAST, 1_000, 2);
    world.run(Duration::from_secs(20));
    world.service = FAST * 10;
    world.run(Duration::from_secs(5));
    world.stays_within(LIMIT_MIN as u32, 25, "a tenth");
    assert!(world.longest < ATTEMPT, "{:?}", world.longest);
    let rate = world.run(Duration::from_secs(5));
    assert!(rate > 1_950.0, "{rate}");
    world.service = FAST;
    world.run(Duration::from_secs(10));
    world.stays_within(16, 170, "back");
    let rate = world.run(Duration::from_secs(5));
    assert!(rate > 19_500.0, "{rate}");
}

#[test]
fn overload_that_lasts_for_minutes_does_not_become_usual() {
    let mut world = Simulation::new(FAST * 10, 1_000, 3);
    world.run(Duration::from_secs(300));
    world.stays_within(LIMIT_MIN as u32, 25, "after minutes");
    assert!(world.longest < ATTEMPT, "{:?}", world.longest);
}

#[test]
fn late_replies_now_and_then_do_not_collapse_it() {
    let mut world = Simulation::new(Duration::from_micros(10), 128, 4);
    (world.spike_every, world.spike) = (200, Duration::from_millis(15));
    world.run(Duration::from_secs(10));
    world.stays_within(128, LIMIT_MAX as u32, "one in two hundred 15 ms late");
}

#[test]
fn pause_of_the_node_costs_a_part_and_is_soon_forgotten() {
    let mut world = Simulation::new(Duration::from_micros(10), 300, 5);
    world.run(Duration::from_secs(10));
    let before = world.limit.limit();
    world.free_at += Duration::from_millis(60);
    world.run(Duration::from_millis(300));
    let after = world.limit.limit();
    assert!(after > before / 2, "{before} {after}");
    world.run(Duration::from_secs(5));
    assert!(world.limit.limit() >= before.min(300), "{before} {}", world.limit.limit());
}

#[test]
fn limit_that_is_not_used_does_not_grow() {
    let mut world = Simulation::new(Duration::from_micros(10), 20, 6);
    world.run(Duration::from_secs(5));
    assert_eq!(world.limit.limit(), LIMIT_START as u32);
}

#[test]
fn node_that_others_overload_is_not_blamed_on_a_few_requests() {
    let mut world = Simulation::new(Duration::from_micros(10), 20, 7);
    world.trip = Duration::from_millis(15);
    world.run(Duration::from_secs(5));
    assert_eq!(world.limit.limit(), LIMIT_START as u32);
}

#[test]
fn farther_node_keeps_its_limit() {
    let mut world = Simulation::new(Duration::from_micros(10), 200, 8);
    world.trip = Duration::from_millis(2);
    world.run(Duration::from_secs(3));
    world.stays_within(100, LIMIT_MAX as u32, "2 ms away");
}

/// Full windows of `took`, with `in_flight` under way.
fn windows(limit: &mut ConcurrencyLimit, start: Instant, count: u32, in_flight: u32, took: Duration) {
    for window in 0..count {
        let from = start + 2 * WINDOW * window;
        for sample in 0..in_flight.max(WINDOW_SAMPLES_MIN + 1) {
            while limit.in_flight() < in_flight && limit.admit() {}
            let late = if sample == 0 { Duration::ZERO } else { WINDOW };
            limit.on_end(from + late, Ended::After(took));
        }
    }
}

#[test]
fn round_trips_while_the_process_was_held_up_are_ignored() {
    let mut limit = ConcurrencyLimit::new(Pace::memory(ATTEMPT));
    let start = Instant::now();
    for n in 0..10_000_u32 {
        assert!(limit.admit());
        let held_up = n % 2 == 0;
        let ended = if held_up { Ended::Unknown } else { Ended::After(Duration::from_millis(70)) };
        limit.on_end(start + Duration::from_millis(n.into()), ended);
        if !held_up {
            limit.on_held_up();
        }
    }
    assert_eq!((limit.limit(), limit.in_flight()), (LIMIT_START as u32, 0));
}

#[test]
fn timeouts_cut_it_to_the_least_and_no_further() {
    let mut limit = ConcurrencyLimit::new(Pace::memory(ATTEMPT));
    windows(&mut limit, Instant::now(), 40, LIMIT_START as u32, ATTEMPT);
    assert_eq!(limit.limit(), LIMIT_MIN as u32);
}

#[test]
fn slow_answers_are_usual_in_their_own_kind_only() {
    let start = Instant::now();
    let mut memory = ConcurrencyLimit::new(Pace::memory(ATTEMPT));
    windows(&mut memory, start, 10, LIMIT_START as u32, Duration::from_millis(12));
    assert!(memory.limit() < 64, "{}", memory.limit());
    let mut slow = ConcurrencyLimit::new(Pace::slow(Duration::from_millis(100)));
    windows(&mut slow, start, 10, LIMIT_START as u32, Duration::from_millis(12));
    assert!(slow.limit() > LIMIT_START as u32, "{}", slow.limit());
}

#[test]
fn full_limit_refuses_and_an_end_makes_room() {
    let mut limit = ConcurrencyLimit::new(Pace::memory(ATTEMPT));
    let admitted = (0..10_000).filter(|_| limit.admit()).count();
    assert_eq!(admitted, LIMIT_START as usize);
    limit.on_end(Instant::now(), Ended::Unknown);
    assert!(limit.admit() && !limit.admit());
}

proptest! {
    #[test]
    fn limit_stays_within_its_bounds_and_in_flight_within_the_limit(
        steps in proptest::collection::vec((0..20_u64, 0..100_000_u64, 0..200_u32), 1..400),
        timeout in 0..100_u64,
    ) {
        let mut limit = ConcurrencyLimit::new(Pace::memory(Duration::from_millis(timeout)));
        let mut now = Instant::now();
        let mut under_way = 0_u32;
        for (millis, micros, callers) in steps {
            under_way += (0..callers).filter(|_| limit.admit()).count() as u32;
            prop_assert_eq!(limit.in_flight(), under_way);
            now += Duration::from_millis(millis);
            for _ in 0..callers.min(under_way) {
                limit.on_end(now, Ended::After(Duration::from_micros(micros)));
                under_way -= 1;
            }
            prop_assert!((LIMIT_MIN..=LIMIT_MAX).contains(&limit.limit));
            prop_assert!(limit.usual.is_none_or(|usual| usual >= limit.pace.fast && usual <= limit.pace.usual_max));
        }
    }
}
