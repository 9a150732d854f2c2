//! When more than half of all nodes go missing, and when the registry itself stood still.

use std::time::Duration;

use evanesce_topology::NodeState;

use crate::scene::Scene;

const LEASE: Duration = Duration::from_secs(10);
const SIX: [(&str, u64); 6] = [("a1", 1), ("a2", 2), ("b1", 3), ("b2", 4), ("c1", 5), ("c2", 6)];

fn six() -> Scene {
    let mut scene = Scene::blank();
    for (name, incarnation) in SIX {
        scene.register(name, incarnation).unwrap();
    }
    scene.tick();
    scene
}

fn down(scene: &Scene) -> usize {
    scene.registry.count(NodeState::Down)
}

#[test]
fn a_zone_of_two_in_six_goes_down() {
    let mut scene = six();
    scene.pass_renewing(LEASE * 2, &SIX[2..]);
    assert_eq!(down(&scene), 2);
}

#[test]
fn exactly_half_goes_down() {
    let mut scene = six();
    scene.pass_renewing(LEASE * 2, &SIX[3..]);
    assert_eq!(down(&scene), 3);
}

#[test]
fn more_than_half_is_kept_and_said() {
    let mut scene = six();
    let epoch = scene.epoch();
    let ticks = scene.pass_renewing(LEASE * 5, &SIX[4..]);
    assert_eq!(ticks.iter().filter(|ticked| ticked.mass_lapse_began.is_some()).count(), 1);
    let mass = scene.registry.mass_lapse().expect("it is on");
    assert_eq!((mass.missing, mass.nodes, down(&scene)), (4, 6, 0));
    assert_eq!(scene.epoch(), epoch, "nothing changed");
}

#[test]
fn leases_that_lapse_one_after_the_other_are_a_mass_lapse_from_the_first() {
    let mut scene = six();
    for (name, incarnation) in SIX {
        scene.renew(name, incarnation).unwrap();
        scene.pass(Duration::from_millis(500));
    }
    scene.pass(LEASE * 2);
    assert_eq!(down(&scene), 0);
    assert!(scene.registry.mass_lapse().is_some());
}

#[test]
fn deaths_within_one_lease_of_each_other_add_up() {
    let mut scene = six();
    scene.pass_renewing(Duration::from_secs(7), &SIX[2..]);
    scene.pass_renewing(Duration::from_secs(4), &SIX[4..]);
    assert_eq!(down(&scene), 2, "the first two lapsed");
    let ticks = scene.pass_renewing(Duration::from_secs(6), &SIX[4..]);
    assert!(
        ticks.iter().any(|ticked| ticked.mass_lapse_began.is_some()),
        "with the next two it is four of six"
    );
    scene.pass_renewing(LEASE + Duration::from_secs(2), &SIX[4..]);
    assert_eq!(
        down(&scene),
        2,
        "a lease after the first two, the next two are half of the rest; they get a lease"
    );
    scene.pass_renewing(Duration::from_secs(4), &SIX[4..]);
    assert_eq!((scene.registry.mass_lapse(), down(&scene)), (None, 4));
}

#[test]
fn when_half_are_back_the_others_get_one_more_lease() {
    let mut scene = six();
    scene.pass_renewing(LEASE * 3, &SIX[4..]);
    scene.renew("b1", 3).unwrap();
    let ticks = scene.pass_renewing(Duration::from_secs(9), &SIX[2..]);
    assert!(ticks.iter().any(|ticked| ticked.mass_lapse_ended));
    assert_eq!(down(&scene), 0);
    scene.pass_renewing(Duration::from_secs(3), &SIX[2..]);
    assert_eq!(down(&scene), 2);
    assert_eq!(scene.registry.mass_lapse(), None);
}

#[test]
fn all_back_ends_it_without_a_trace() {
    let mut scene = six();
    let epoch = scene.epoch();
    scene.pass(LEASE * 2);
    assert!(scene.registry.mass_lapse().is_some());
    scene.pass_renewing(LEASE * 3, &SIX);
    assert_eq!((scene.registry.mass_lapse(), down(&scene), scene.epoch()), (None, 0, epoch));
}

/// Four of six machines were really gone, and replaced: had their names been held for as long as the mass lapse is
/// on, no replacement could ever have ended it.
#[test]
fn kept_name_is_taken_over_by_a_replacement() {
    let mut scene = six();
    scene.pass_renewing(LEASE * 2, &SIX[4..]);
    scene.register("a1", 101).unwrap();
    scene.register("a2", 102).unwrap();
    let living = [("a1", 101), ("a2", 102), SIX[4], SIX[5]];
    scene.pass_renewing(LEASE * 2, &living);
    assert_eq!((scene.registry.mass_lapse(), down(&scene)), (None, 2));
}

#[test]
fn returned_leases_are_no_mass_lapse() {
    let mut scene = six();
    for (name, incarnation) in &SIX[..5] {
        scene.give_back(name, *incarnation).unwrap();
    }
    scene.pass_renewing(LEASE * 2, &SIX[5..]);
    assert_eq!((scene.registry.mass_lapse(), down(&scene)), (None, 5));
}

#[test]
fn stalled_registry_prolongs_every_lease() {
    let mut scene = six();
    scene.leap(LEASE * 6);
    let ticked = scene.tick();
    assert_eq!(ticked.stalled, Some(LEASE * 6));
    assert_eq!(down(&scene), 0);
    scene.pass_renewing(LEASE + Duration::from_secs(1), &SIX[1..]);
    assert_eq!(scene.state("a1"), Some(NodeState::Down), "a lease after the stall it is judged");
    assert_eq!(down(&scene), 1);
}

#[test]
fn stall_noticed_by_a_call_does_not_give_names_away() {
    let mut scene = six();
    scene.leap(LEASE * 6);
    assert!(scene.register("a1", 99).is_err(), "its holder may have renewed while nobody listened");
    assert!(scene.tick().stalled.is_some());
}

#[test]
fn restart_while_nodes_are_unreachable_keeps_them() {
    let mut scene = six();
    scene.restart();
    scene.pass(LEASE * 2);
    assert_eq!(down(&scene), 0);
    assert!(scene.registry.mass_lapse().is_some());
    assert_eq!(scene.topology().unwrap().groups.len(), 3, "and it speaks");
}
