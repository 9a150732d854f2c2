//! Both loops against a tiny server that behaves, and against ones that do not.

use std::time::Duration;

use super::{Counts, GeneratorError, Lanes, Pace, Plan, Pool, Until};
use crate::bench::items_of;
use crate::load::Load;
use crate::tiny::{Fault, start};
use crate::traffic::{Order, Traffic};

const KEYS: u64 = 640;

fn traffic(load: &str, order: Order) -> Traffic {
    let load: Load = load.parse().expect("a load");
    Traffic::new(load, items_of(KEYS, 32, 100), order)
}

fn batches(count: u64) -> Plan {
    Plan { first: 0, active: 5, in_flight: 5, until: Until::Batches(count) }
}

/// A pool on a server that was given every key.
fn filled(fault: Fault) -> Pool {
    let mut pool = Pool::connect(start(fault), 5).expect("connects");
    let counts = pool.closed_loop(&traffic("set64", Order::InTurn), &batches(KEYS / 64)).expect("answered");
    assert_eq!((counts.batches, counts.sets, counts.wrong), (KEYS / 64, KEYS, 0));
    pool
}

#[test]
fn every_batch_is_answered_and_counted() {
    let mut pool = filled(Fault::None);
    for (load, gets) in [("get", 1), ("get16", 16), ("mget32", 32)] {
        let counts = pool.closed_loop(&traffic(load, Order::Drawn(1)), &batches(200)).expect("answered");
        let Counts { batches, checked, wrong, .. } = counts;
        assert_eq!((batches, counts.gets, wrong), (200, 200 * gets, 0));
        // Batches 0, 64, 128 and 192.
        assert_eq!(checked, 4 * gets);
    }
    let counts = pool.closed_loop(&traffic("mix16", Order::Drawn(1)), &batches(200)).expect("answered");
    assert_eq!((counts.gets + counts.sets, counts.wrong), (3200, 0));
    assert!(counts.sets > 0);
}

#[test]
fn run_for_a_time_ends_with_nothing_on_its_way() {
    let mut pool = filled(Fault::None);
    let plan = Plan { until: Until::Elapsed(Duration::from_millis(20)), ..batches(0) };
    let counts = pool.closed_loop(&traffic("get16", Order::Drawn(1)), &plan).expect("answered");
    assert!(counts.batches >= 5 && counts.elapsed >= Duration::from_millis(20));
    // What was on its way would be taken for answers to these.
    let next = pool.closed_loop(&traffic("get", Order::Drawn(2)), &batches(10)).expect("answered");
    assert_eq!(next.batches, 10);
}

#[test]
fn few_in_flight_still_use_every_connection_in_rotation() {
    let mut pool = filled(Fault::None);
    let plan = Plan { in_flight: 2, ..batches(50) };
    let counts = pool.closed_loop(&traffic("get", Order::Drawn(1)), &plan).expect("answered");
    assert_eq!(counts.batches, 50);
}

#[test]
fn miss_ends_the_run_and_is_explained() {
    let mut pool = filled(Fault::Forgets);
    for load in ["get", "get4", "mget4"] {
        let mut again = Pool::connect(pool.address, 5).expect("connects");
        let error = again.closed_loop(&traffic(load, Order::Drawn(1)), &batches(1)).expect_err("misses");
        assert!(error.to_string().contains("keys miss that were stored"), "{load}: {error}");
    }
    assert!(pool.closed_loop(&traffic("get", Order::Drawn(1)), &batches(1)).is_err());
}

#[test]
fn wrong_values_are_counted_where_they_are_looked_at() {
    let mut pool = filled(Fault::Flips);
    let counts = pool.closed_loop(&traffic("get4", Order::Drawn(1)), &batches(65)).expect("answered");
    assert_eq!((counts.checked, counts.wrong), (8, 8));
}

#[test]
fn values_of_other_keys_are_counted() {
    let mut pool = filled(Fault::Lags);
    let counts = pool.closed_loop(&traffic("mget8", Order::Drawn(1)), &batches(1)).expect("answered");
    // The first has nothing before it to lag behind.
    assert_eq!((counts.checked, counts.wrong), (8, 7));
}

#[test]
fn closed_connection_ends_the_run() {
    let mut pool = filled(Fault::Closes);
    let error = pool.closed_loop(&traffic("get", Order::Drawn(1)), &batches(1)).expect_err("closed");
    assert!(matches!(error, GeneratorError::Closed { .. } | GeneratorError::Io { .. }), "{error}");
}

#[test]
fn open_loop_keeps_its_schedule_and_times_every_request() {
    let pool = filled(Fault::None);
    let mut lanes = Lanes::connect(pool.address, 5).expect("connects");
    let (warm_up, window) = (Duration::from_millis(20), Duration::from_millis(200));
    let pace = Pace { per_second: 5000.0, warm_up, window, seed: 7 };
    let timing = lanes.open_loop(&traffic("get", Order::Drawn(7)), &pace).expect("answered");
    // 1,000 are expected; the same seed has the same arrivals, however busy the machine is.
    let again = lanes.open_loop(&traffic("get", Order::Drawn(7)), &pace).expect("answered");
    assert!((850..1150).contains(&timing.latency.len()), "{}", timing.latency.len());
    assert_eq!(timing.latency.len() + timing.dropped, again.latency.len() + again.dropped);
    assert_eq!(timing.lateness.len(), timing.latency.len());
    assert!(timing.checked > 10 && timing.wrong == 0);
    // No answer can come before its request was sent, nor that before it was due.
    assert!(timing.latency.min() >= timing.lateness.min());
}

#[test]
fn open_loop_tells_misses_and_wrong_values() {
    let pace =
        Pace { per_second: 5000.0, warm_up: Duration::ZERO, window: Duration::from_millis(50), seed: 7 };
    let traffic = traffic("get", Order::Drawn(7));
    let mut lanes = Lanes::connect(filled(Fault::Forgets).address, 5).expect("connects");
    let error = lanes.open_loop(&traffic, &pace).expect_err("misses").to_string();
    assert!(error.contains("miss that were stored"), "{error}");
    let mut lanes = Lanes::connect(filled(Fault::Flips).address, 5).expect("connects");
    let timing = lanes.open_loop(&traffic, &pace).expect("answered");
    assert!(timing.checked > 0 && timing.wrong == timing.checked);
}
