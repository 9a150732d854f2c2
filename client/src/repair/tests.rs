//! What is kept, what goes, and in which order it is handed out.

use bytes::Bytes;
use evanesce_wire::request::{Exptime, SetMode};

use super::*;

fn id(node: &str) -> NodeId {
    NodeId { group: "a".into(), node: node.into() }
}

fn set(key: &str, version: u64, bytes: usize) -> Repair {
    let value = Bytes::from(vec![b'v'; bytes]);
    let change = Change::Store { mode: SetMode::Set, value, flags: 0, exptime: Exptime(0), compare: None };
    Repair { key: Key::new(b"", key.as_bytes()).expect("a good key"), change, version: Version(version) }
}

fn delete(key: &str, version: u64) -> Repair {
    Repair { change: Change::Delete, ..set(key, version, 0) }
}

fn versions(repairs: &[Repair]) -> Vec<u64> {
    repairs.iter().map(|repair| repair.version.0).collect()
}

#[test]
fn oldest_is_handed_out_first_whatever_it_is() {
    let mut queue = RepairQueue::new(1 << 20);
    for repair in [set("a", 3, 1), delete("b", 1), set("c", 2, 1), delete("d", 4)] {
        queue.put(id("n1"), repair);
    }
    assert_eq!(versions(&queue.take(&id("n1"), 3)), [1, 2, 3]);
    assert_eq!(versions(&queue.take(&id("n1"), 3)), [0; 0], "three are under way");
    assert_eq!(queue.len(), 4);
}

#[test]
fn newest_write_of_a_key_replaces_the_others_in_any_order() {
    let mut queue = RepairQueue::new(1 << 20);
    for repair in [set("k", 2, 100), delete("k", 3), set("k", 1, 100)] {
        queue.put(id("n1"), repair);
    }
    let taken = queue.take(&id("n1"), 10);
    assert_eq!(versions(&taken), [3]);
    queue.settled(&id("n1"), &taken[0]);
    assert!(queue.is_empty());
    assert_eq!(queue.bytes(), 0);
}

#[test]
fn write_that_failed_again_waits_unless_a_newer_has_come() {
    let mut queue = RepairQueue::new(1 << 20);
    queue.put(id("n1"), set("k", 1, 10));
    queue.put(id("n1"), set("l", 2, 10));
    let taken = queue.take(&id("n1"), 10);
    queue.put(id("n1"), set("k", 5, 10));
    for repair in taken {
        queue.put_back(&id("n1"), repair);
    }
    assert_eq!(versions(&queue.take(&id("n1"), 10)), [2, 5]);
}

#[test]
fn sets_of_the_fullest_node_go_before_deletes() {
    let mut queue = RepairQueue::new(4 * (ENTRY_BYTES + 1 + 1000));
    queue.put(id("n1"), delete("d", 1));
    for version in 2..=4 {
        queue.put(id("n1"), set(&version.to_string(), version, 1000));
    }
    queue.put(id("n2"), set("x", 5, 1000));
    queue.put(id("n2"), set("y", 6, 1000));
    assert_eq!(versions(&queue.take(&id("n1"), 10)), [1, 4]);
    assert_eq!(versions(&queue.take(&id("n2"), 10)), [5, 6]);
    let dropped = RepairsDropped { group: "a".into(), node: "n1".into(), count: 2, lowest: Version(2) };
    assert_eq!(queue.dropped(), [dropped]);
}

#[test]
fn deletes_go_when_nothing_else_is_left() {
    let mut queue = RepairQueue::new(2 * (ENTRY_BYTES + 1));
    for (key, version) in [("a", 1), ("b", 2), ("c", 3)] {
        queue.put(id("n1"), delete(key, version));
    }
    assert_eq!(versions(&queue.take(&id("n1"), 10)), [2, 3]);
    // What is under way is not given up.
    queue.put(id("n1"), delete("d", 4));
    assert_eq!(queue.len(), 2);
}

#[test]
fn all_bytes_come_back_when_a_node_is_forgotten() {
    let mut queue = RepairQueue::new(1 << 20);
    queue.put(id("n1"), set("a", 1, 1000));
    queue.put(id("n1"), delete("b", 2));
    assert_eq!(versions(&queue.forget(&id("n1"))), [1, 2]);
    assert!(queue.is_empty());
    assert_eq!(queue.bytes(), 0);
}

#[test]
fn what_is_left_counts_what_is_handed_out_and_tells_the_lowest_version() {
    let mut queue = RepairQueue::new(1 << 20);
    for repair in [set("a", 3, 1), delete("b", 2), set("c", 9, 1)] {
        queue.put(id("n1"), repair);
    }
    queue.put(id("n2"), set("a", 3, 1));
    let taken = queue.take(&id("n1"), 1);
    assert_eq!(versions(&taken), [2]);
    let mut left = queue.left();
    left.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(left, [(id("n1"), 3, Version(2)), (id("n2"), 1, Version(3))]);
    queue.settled(&id("n1"), &taken[0]);
    assert_eq!(queue.left().iter().map(|left| left.2).max(), Some(Version(3)));
}
