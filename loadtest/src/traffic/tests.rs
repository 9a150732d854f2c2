//! Batches against a map that answers as memcached does.

use std::collections::HashMap;

use super::{Faults, Items, Order, Traffic};
use crate::args::ValueSize;
use crate::keys::KeySpace;
use crate::tiny::answer;
use crate::value::Values;

const VALUE_BYTES: usize = 100;

fn traffic(load: &str, order: Order) -> Traffic {
    let values = Values::new(ValueSize { bytes_min: VALUE_BYTES, bytes_max: VALUE_BYTES });
    let items = Items::new(KeySpace::new(500, 32), values, VALUE_BYTES);
    Traffic::new(load.parse().expect("a load"), items, order)
}

fn filled() -> HashMap<Vec<u8>, Vec<u8>> {
    let mut map = HashMap::new();
    let mut out = Vec::new();
    for number in 0..50 {
        let fill = traffic("set10", Order::InTurn);
        fill.render(number, &mut out);
        answer(&mut map, &out);
    }
    map
}

#[test]
fn filling_in_turn_writes_every_key_once() {
    assert_eq!(filled().len(), 500);
}

#[test]
fn replies_have_the_announced_length_and_pass_the_check() {
    let mut map = filled();
    let mut out = Vec::new();
    for load in ["get", "get16", "mget32", "mix16", "set16"] {
        let traffic = traffic(load, Order::Drawn(7));
        for number in 0..100 {
            let batch = traffic.render(number, &mut out);
            let reply = answer(&mut map, &out);
            assert_eq!(reply.len(), batch.reply_bytes, "{load}");
            assert_eq!(traffic.check(number, &reply), Faults::default(), "{load}");
        }
    }
}

#[test]
fn mix_has_its_share_of_sets() {
    let traffic = traffic("mix16", Order::Drawn(1));
    let mut out = Vec::new();
    let sets: u64 = (0..1000).map(|number| traffic.render(number, &mut out).sets).sum();
    assert!((1400..1800).contains(&sets), "{sets} of 16000");
}

#[test]
fn missing_keys_are_misses_and_never_wrong() {
    let mut empty = HashMap::new();
    let mut out = Vec::new();
    for (load, misses) in [("get", 1), ("get16", 16), ("mget32", 32)] {
        let traffic = traffic(load, Order::Drawn(7));
        traffic.render(3, &mut out);
        let reply = answer(&mut empty, &out);
        assert_eq!(traffic.check(3, &reply), Faults { misses, wrong: 0 }, "{load}");
    }
}

#[test]
fn any_changed_byte_of_a_reply_is_a_fault() {
    let mut map = filled();
    let mut out = Vec::new();
    for load in ["get", "mget4", "set2"] {
        let traffic = traffic(load, Order::Drawn(7));
        traffic.render(3, &mut out);
        let reply = answer(&mut map, &out);
        for at in 0..reply.len() {
            let mut changed = reply.clone();
            changed[at] ^= 1;
            assert_ne!(traffic.check(3, &changed), Faults::default(), "{load}, byte {at}");
        }
    }
}

#[test]
fn answers_to_another_batch_are_faults() {
    let mut map = filled();
    let mut out = Vec::new();
    for load in ["get", "get16", "mget32"] {
        let traffic = traffic(load, Order::Drawn(7));
        traffic.render(4, &mut out);
        let reply = answer(&mut map, &out);
        assert_ne!(traffic.check(3, &reply), Faults::default(), "{load}");
    }
}
