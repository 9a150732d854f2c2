//! The registry's rules, one by one, with a clock moved by hand.

use std::time::Duration;

use evanesce_discovery::registry::{EPOCH_AHEAD_MAX, Refusal};
use evanesce_topology::{NODES_PER_GROUP_MAX, NodeState, RingProfile};

use crate::scene::{CLUSTER, Scene, WALL_MS, registration};

const LEASE: Duration = Duration::from_secs(10);
const SECOND: Duration = Duration::from_secs(1);

#[test]
fn first_node_is_published_at_the_next_tick() {
    let mut scene = Scene::blank();
    assert!(!scene.tick().published);
    assert!(scene.topology().is_none(), "nothing empty is published");
    assert_eq!(scene.register("a1", 1).unwrap().epoch.0, 0);
    assert!(scene.tick().published);
    assert_eq!(scene.state("a1"), Some(NodeState::Serving));
    assert_eq!(scene.epoch(), WALL_MS);
}

#[test]
fn changes_between_ticks_share_one_epoch() {
    let mut scene = Scene::blank();
    for index in 0..100 {
        scene.register(&format!("a{index}"), index).unwrap();
    }
    scene.tick();
    assert_eq!(scene.epoch(), WALL_MS);
    assert_eq!(scene.topology().unwrap().groups[0].nodes.len(), 100);
}

#[test]
fn renewals_without_news_leave_the_epoch() {
    let mut scene = Scene::blank();
    scene.register("a1", 1).unwrap();
    scene.tick();
    let (epoch, revision) = (scene.epoch(), scene.registry.revision());
    scene.pass_renewing(LEASE * 3, &[("a1", 1)]);
    scene.register("a1", 1).unwrap();
    assert!(!scene.tick().published);
    assert_eq!((scene.epoch(), scene.registry.revision()), (epoch, revision));
}

#[test]
fn renewal_carries_a_change_of_state() {
    let mut scene = Scene::blank();
    scene.register("a1", 1).unwrap();
    scene.tick();
    let before = scene.epoch();
    scene.renew_as("a1", 1, NodeState::Draining).unwrap();
    scene.tick();
    assert_eq!(scene.state("a1"), Some(NodeState::Draining));
    assert!(scene.epoch() > before, "though the clock stood still");
}

#[test]
fn lapsed_node_is_down_and_stays_on_the_ring() {
    let mut scene = Scene::blank();
    for (name, incarnation) in [("a1", 1), ("a2", 2), ("b1", 3), ("b2", 4), ("c1", 5), ("c2", 6)] {
        scene.register(name, incarnation).unwrap();
    }
    scene.pass_renewing(LEASE, &[("b1", 3), ("b2", 4), ("c1", 5), ("c2", 6)]);
    assert_eq!((scene.state("a1"), scene.state("a2")), (Some(NodeState::Down), Some(NodeState::Down)));
    assert_eq!(scene.state("b1"), Some(NodeState::Serving));
    scene.pass_renewing(LEASE * 100, &[("b1", 3), ("b2", 4), ("c1", 5), ("c2", 6)]);
    assert_eq!(scene.state("a1"), Some(NodeState::Down));
    assert_eq!(scene.registry.mass_lapse(), None);
}

#[test]
fn single_node_that_lapses_is_down() {
    let mut scene = Scene::blank();
    scene.register("a1", 1).unwrap();
    scene.pass(LEASE);
    assert_eq!(scene.state("a1"), Some(NodeState::Down));
}

#[test]
fn node_that_renews_after_a_lapse_is_back() {
    let mut scene = Scene::blank();
    scene.register("a1", 1).unwrap();
    scene.pass(LEASE);
    scene.renew("a1", 1).unwrap();
    scene.tick();
    assert_eq!(scene.state("a1"), Some(NodeState::Serving));
}

#[test]
fn returned_lease_makes_down_until_registered_again() {
    let mut scene = Scene::blank();
    scene.register("a1", 1).unwrap();
    assert_eq!(scene.give_back("a1", 2), Err(Refusal::Unknown), "another's lease");
    scene.give_back("a1", 1).unwrap();
    scene.tick();
    assert_eq!(scene.state("a1"), Some(NodeState::Down));
    assert_eq!(scene.renew("a1", 1), Err(Refusal::Unknown), "a late renewal does not bring it back");
    scene.register("a1", 1).unwrap();
    scene.renew("a1", 1).unwrap();
    scene.tick();
    assert_eq!(scene.state("a1"), Some(NodeState::Serving));
}

#[test]
fn vacated_name_is_taken_over_and_the_old_holder_shut_out() {
    let mut scene = Scene::blank();
    scene.register("a1", 1).unwrap();
    let refusal = scene.register("a1", 2).unwrap_err();
    assert!(matches!(refusal, Refusal::NameHeld { .. }), "{refusal}");
    scene.pass(LEASE);
    scene.register("a1", 2).unwrap();
    assert_eq!(scene.renew("a1", 1), Err(Refusal::Unknown));
    assert!(scene.register("a1", 1).is_err());
    scene.tick();
    assert_eq!(scene.topology().unwrap().groups[0].nodes[0].incarnation, 2);
}

#[test]
fn process_restarted_at_its_address_takes_its_name_at_once() {
    let mut scene = Scene::blank();
    scene.register("a1", 1).unwrap();
    let mut restarted = registration("a1", 2);
    restarted.node.memcached = registration("a1", 1).node.memcached;
    scene.registry.register(restarted, scene.now).unwrap();
    assert_eq!(scene.renew("a1", 1), Err(Refusal::Unknown));
    assert!(scene.renew("a1", 2).is_ok());
}

#[test]
fn facts_that_do_not_fit_the_cluster_are_refused_with_what_to_do() {
    let mut scene = Scene::blank();
    scene.register("a1", 1).unwrap();
    let refused = |scene: &mut Scene, change: fn(&mut _)| {
        let mut registration = registration("a2", 2);
        change(&mut registration);
        scene.registry.register(registration, scene.now).unwrap_err()
    };
    let other_ring = refused(&mut scene, |r| r.profile = RingProfile::EVCACHE);
    assert!(other_ring.to_string().contains("start it with the ring evanesce"), "{other_ring}");
    let other_zone = refused(&mut scene, |r| r.zone = "zone-b".to_owned());
    assert!(other_zone.to_string().contains("start it in zone \"zone-a\""), "{other_zone}");
    let same_text = refused(&mut scene, |r| r.node.ring_text = "a1".to_owned());
    assert!(matches!(same_text, Refusal::RingTextHeld { .. }));
    assert!(matches!(refused(&mut scene, |r| r.node.weight = 0), Refusal::Topology(_)));
    assert!(matches!(refused(&mut scene, |r| r.cluster.clear()), Refusal::Topology(_)));
    assert_eq!(refused(&mut scene, |r| r.node.state = NodeState::Down), Refusal::NotLive);
    assert_eq!(scene.registry.membership()[0].topology.groups[0].nodes.len(), 1, "nothing of it was kept");
}

#[test]
fn ring_too_large_for_a_watcher_is_refused() {
    let mut scene = Scene::blank();
    let heavy = |index: u64| {
        let mut registration = registration(&format!("a{index}"), index);
        registration.profile.points_per_node = 4096;
        registration.node.weight = 1024;
        registration
    };
    scene.registry.register(heavy(0), scene.now).unwrap();
    let refusal = scene.registry.register(heavy(1), scene.now).unwrap_err();
    assert!(matches!(refusal, Refusal::Topology(_)), "{refusal}");
}

/// A group of more nodes than a topology may have was published: no watcher took it, nor could the registry read it
/// back after a restart.
#[test]
fn group_with_more_nodes_than_a_topology_may_have_is_refused() {
    let mut scene = Scene::blank();
    let light = |index: u64| {
        let mut registration = registration(&format!("a{index}"), index);
        registration.profile = RingProfile::EVCACHE;
        registration
    };
    for index in 0..NODES_PER_GROUP_MAX as u64 {
        scene.registry.register(light(index), scene.now).unwrap();
    }
    let refusal = scene.registry.register(light(NODES_PER_GROUP_MAX as u64), scene.now).unwrap_err();
    assert!(matches!(refusal, Refusal::Topology(_)), "{refusal}");
    scene.registry.register(light(0), scene.now).expect("a member may register again");
    scene.tick();
    assert_eq!(scene.topology().unwrap().check(), Ok(()));
}

#[test]
fn watcher_with_a_newer_epoch_is_numbered_past() {
    let mut scene = Scene::blank();
    scene.register("a1", 1).unwrap();
    scene.tick();
    let newer = scene.epoch() + 1_000_000;
    scene.watched(newer);
    scene.tick();
    assert_eq!(scene.epoch(), newer + 1);
    scene.watched(newer);
    assert!(!scene.tick().published, "older than ours: nothing to do");
    scene.watched(scene.epoch());
    assert!(!scene.tick().published, "ours: nothing to do");
}

/// One watcher claimed an epoch just below the limit of those days. The next topology had one that no watcher takes,
/// and nodes carried it to every discovery: no client got a topology again.
#[test]
fn absurd_epochs_cost_nothing_and_the_largest_sane_one_leaves_room() {
    let mut scene = Scene::blank();
    scene.register("a1", 1).unwrap();
    scene.tick();
    let (before, sane) = (scene.epoch(), WALL_MS + EPOCH_AHEAD_MAX);
    for absurd in [sane + 1, (1 << 62) - 2, u64::MAX] {
        let refusal = scene.registry.watched(CLUSTER, absurd, scene.now).unwrap_err();
        assert_eq!(refusal, Refusal::AbsurdEpoch(absurd));
        let mut told = registration("a1", 1);
        told.epoch_seen = absurd;
        scene.registry.register(told, scene.now).expect("its lease matters more");
        assert!(!scene.tick().published);
    }
    scene.watched(sane);
    scene.tick();
    assert!(before < sane && scene.epoch() == sane + 1 && scene.epoch() < 1 << 62);
    let carried = scene.epoch();
    scene.pass(Duration::from_millis(500));
    assert_eq!(Scene::blank().registry.watched(CLUSTER, carried, scene.now), Ok(()), "another heeds it");
}

#[test]
fn epoch_seen_by_a_node_is_the_floor_of_the_next() {
    let mut scene = Scene::blank();
    scene.register("a1", 1).unwrap();
    scene.tick();
    let before = scene.epoch();
    let mut second = registration("a2", 2);
    second.epoch_seen = before + 500_000;
    scene.registry.register(second, scene.now).unwrap();
    scene.tick();
    assert_eq!(scene.epoch(), before + 500_001);
}

#[test]
fn restarted_registry_is_silent_until_all_live_nodes_are_heard_of() {
    let mut scene = Scene::blank();
    for (name, incarnation) in [("a1", 1), ("b1", 2), ("c1", 3)] {
        scene.register(name, incarnation).unwrap();
    }
    scene.give_back("c1", 3).unwrap();
    scene.tick();
    let before = scene.epoch();
    scene.restart();
    scene.renew("a1", 1).unwrap();
    scene.pass(SECOND);
    assert!(scene.topology().is_none());
    scene.renew("b1", 2).unwrap();
    assert!(scene.tick().settled);
    assert!(scene.epoch() > before);
    assert_eq!(scene.state("c1"), Some(NodeState::Down));
}

#[test]
fn restarted_registry_speaks_after_a_lease_whoever_is_missing() {
    let mut scene = Scene::blank();
    for (name, incarnation) in [("a1", 1), ("b1", 2), ("c1", 3)] {
        scene.register(name, incarnation).unwrap();
    }
    scene.tick();
    scene.restart();
    scene.pass_renewing(LEASE - SECOND, &[("a1", 1), ("b1", 2)]);
    assert!(scene.topology().is_none());
    scene.pass(SECOND);
    assert_eq!(scene.state("c1"), Some(NodeState::Down), "it had a lease to be heard of");
    assert_eq!(scene.state("a1"), Some(NodeState::Serving));
}

#[test]
fn clock_set_back_does_not_set_epochs_back() {
    let mut scene = Scene::blank();
    scene.register("a1", 1).unwrap();
    scene.tick();
    let before = scene.epoch();
    scene.now.wall_ms = 5;
    scene.restart();
    scene.renew("a1", 1).unwrap();
    scene.tick();
    assert_eq!(scene.epoch(), before + 1);
}

/// A discovery that lost its disk came back while its cluster went on. The first node to register again would have
/// been the whole topology, under an epoch newer than every client's.
#[test]
fn registry_that_lost_its_memory_waits_for_a_lease() {
    let mut scene = Scene::blank();
    let long_ago = WALL_MS - 3_600_000;
    let mut first = registration("a1", 1);
    first.epoch_seen = long_ago;
    scene.registry.register(first, scene.now).unwrap();
    scene.tick();
    assert!(scene.topology().is_none());
    scene.register("b1", 2).unwrap();
    scene.pass_renewing(LEASE, &[("a1", 1), ("b1", 2)]);
    assert_eq!(scene.topology().unwrap().groups.len(), 2);
}

#[test]
fn first_start_beside_another_discovery_is_not_taken_for_lost_memory() {
    let mut scene = Scene::blank();
    let mut first = registration("a1", 1);
    first.epoch_seen = WALL_MS - 500;
    scene.registry.register(first, scene.now).unwrap();
    assert!(scene.tick().published);
}
