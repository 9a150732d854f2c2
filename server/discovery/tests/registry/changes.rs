//! Operators' changes: stages, several registries, what is kept over a restart.

use std::time::Duration;

use evanesce_discovery::registry::{Change, PlannedChange, Refusal, Register};
use evanesce_grpc::discovery::v1::{ChangeKind, NodeReport, Roster, Stage};
use evanesce_topology::{GroupMode, NodeState, RingProfile, RingRole, ServerGroup, evcache_ring_text};
use proptest::prelude::{Just, Strategy, any, prop, prop_oneof, proptest};
use proptest::test_runner::Config;

use crate::scene::{CLUSTER, Scene, registration};

const LEASE: Duration = Duration::from_secs(10);

fn add(nodes: &[&str]) -> Change {
    change(ChangeKind::AddNodes, nodes)
}

fn change(kind: ChangeKind, nodes: &[&str]) -> Change {
    Change {
        cluster: CLUSTER.to_owned(),
        group: "a".to_owned(),
        kind,
        nodes: nodes.iter().map(|name| (*name).to_owned()).collect(),
        zone: "zone-a".to_owned(),
        nodes_min: 1,
    }
}

impl Scene {
    fn begin(&mut self, change: &Change) -> Result<(PlannedChange, u64), Refusal> {
        self.registry.begin(change, self.now)
    }

    fn report(&mut self, name: &str, report: NodeReport) {
        self.registry.report(CLUSTER, &name[..1], name, report);
    }

    fn filled(&mut self, names: &[&str], change: u64) {
        for name in names {
            self.report(name, NodeReport { filled: change, ..NodeReport::default() });
        }
    }

    fn group(&self, name: &str) -> Option<ServerGroup> {
        self.topology()?.group(name).cloned()
    }

    /// The nodes that are read, and those of the second ring with its role.
    fn rings(&self) -> (Vec<String>, Option<(RingRole, Vec<String>)>) {
        let group = self.group("a").unwrap();
        let names = |nodes: &[evanesce_topology::Node]| nodes.iter().map(|node| node.name.clone()).collect();
        (names(&group.nodes), group.second.map(|second| (second.role, names(&second.nodes))))
    }

    fn roster(&self, group: &str) -> Option<Roster> {
        let (rosters, _) = self.registry.rosters(CLUSTER, 0);
        rosters.into_iter().find(|roster| roster.group == group)
    }

    fn stage(&self) -> Stage {
        self.roster("a").unwrap().stage()
    }

    /// What a node does that renews with both: it brings each what the other has.
    fn tell(&mut self, other: &Scene) {
        let (rosters, mark) = other.registry.rosters(CLUSTER, 0);
        if self.registry.rosters(CLUSTER, mark).1 != mark {
            self.registry.learn(CLUSTER, rosters, self.now);
        }
    }
}

/// `a1` and `a2` with items, `b1` in another zone; closed to newcomers.
fn closed() -> Scene {
    let mut scene = Scene::blank();
    for (name, incarnation) in [("a1", 1), ("a2", 2), ("b1", 3)] {
        scene.register(name, incarnation).unwrap();
        scene.report(name, NodeReport { items: 5, ..NodeReport::default() });
    }
    scene.pass_renewing(LEASE + Duration::from_secs(3), &ALL);
    assert_eq!(scene.stage(), Stage::Steady);
    scene
}

const ALL: [(&str, u64); 3] = [("a1", 1), ("a2", 2), ("b1", 3)];
const WITH_A3: [(&str, u64); 4] = [("a1", 1), ("a2", 2), ("a3", 4), ("b1", 3)];

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn group_takes_everybody_until_it_has_held_items_for_a_lease_without_a_newcomer() {
    let mut scene = Scene::blank();
    scene.register("a1", 1).unwrap();
    scene.pass_renewing(LEASE * 3, &[("a1", 1)]);
    scene.register("a2", 2).unwrap();
    scene.tick();
    assert_eq!(scene.rings(), (names(&["a1", "a2"]), None), "it holds nothing yet");
    scene.report("a1", NodeReport { items: 1, ..NodeReport::default() });
    scene.pass_renewing(LEASE / 2, &ALL[..2]);
    scene.register("a3", 4).unwrap();
    scene.tick();
    assert_eq!(scene.rings().0.len(), 3, "it is still being set up");
    scene.pass_renewing(LEASE + Duration::from_secs(3), &WITH_A3[..3]);
    scene.register("a4", 5).unwrap();
    scene.tick();
    assert_eq!(scene.rings(), (names(&["a1", "a2", "a3"]), None), "who comes now stands by");
    let (_, _, standing_by) = scene.registry.changes(CLUSTER, scene.now).unwrap();
    assert_eq!(standing_by[0].name, "a4");
    scene.register("c1", 9).unwrap();
    scene.tick();
    assert!(scene.group("c").is_some(), "a new group is open");
}

#[test]
fn change_goes_through_both_rings_and_waits_for_nodes_and_clients() {
    let mut scene = closed();
    let before = scene.epoch();
    let planned = scene.registry.plan(&add(&["a3"]), scene.now).unwrap();
    assert_eq!((planned.before, planned.after), (names(&["a1", "a2"]), names(&["a1", "a2", "a3"])));
    let (_, number) = scene.begin(&add(&["a3"])).unwrap();
    scene.tick();
    assert_eq!(scene.epoch(), before, "who is to come is not there: nothing to follow yet");
    scene.register("a3", 4).unwrap();
    scene.pass_renewing(LEASE * 2, &WITH_A3);
    let next = (RingRole::Next, names(&["a1", "a2", "a3"]));
    assert_eq!(scene.rings(), (names(&["a1", "a2"]), Some(next.clone())), "it waits to be filled");
    scene.filled(&["a1", "a2"], number);
    scene.filled(&["a3"], number - 1);
    scene.pass_renewing(LEASE, &WITH_A3);
    assert_eq!(scene.rings().1, Some(next), "filled for another change is not filled");
    scene.filled(&["a3"], number);
    scene.tick();
    let previous = (RingRole::Previous, names(&["a1", "a2"]));
    assert_eq!(scene.rings(), (names(&["a1", "a2", "a3"]), Some(previous)));
    scene.pass_renewing(LEASE - Duration::from_secs(1), &WITH_A3);
    assert!(scene.rings().1.is_some(), "clients have a lease to follow");
    scene.pass_renewing(Duration::from_secs(2), &WITH_A3);
    assert_eq!(scene.rings(), (names(&["a1", "a2", "a3"]), None));
}

/// A node that was announced before it had registered was put on the ring by its name alone, where Java clients look for
/// nobody.
#[test]
fn node_comes_to_an_evcache_ring_by_the_address_that_it_has_registered() {
    let mut scene = Scene::blank();
    let text = |name: &str| evcache_ring_text(name, [127, 0, 0, 1].into());
    let register = |scene: &mut Scene, name: &str, incarnation| {
        let mut request = Register { profile: RingProfile::EVCACHE, ..registration(name, incarnation) };
        request.node.ring_text = text(name);
        scene.registry.register(request, scene.now).unwrap();
    };
    for (name, incarnation) in [("a1", 1), ("a2", 2)] {
        register(&mut scene, name, incarnation);
        scene.report(name, NodeReport { items: 5, ..NodeReport::default() });
    }
    scene.pass_renewing(LEASE + Duration::from_secs(3), &ALL[..2]);
    assert_eq!(scene.stage(), Stage::Steady);
    let refused = scene.begin(&add(&["a3"])).unwrap_err().to_string();
    assert!(refused.contains("start it first, with --group a"), "{refused}");
    register(&mut scene, "a3", 4);
    scene.begin(&add(&["a3"])).unwrap();
    let texts: Vec<_> = scene.roster("a").unwrap().others.into_iter().map(|place| place.ring_text).collect();
    assert_eq!(texts, ["a1", "a2", "a3"].map(text));
}

#[test]
fn rings_are_not_switched_before_clients_had_a_lease_to_follow() {
    let mut scene = closed();
    scene.register("a3", 4).unwrap();
    let (_, number) = scene.begin(&add(&["a3"])).unwrap();
    scene.filled(&["a1", "a2", "a3"], number);
    scene.pass_renewing(LEASE - Duration::from_secs(1), &WITH_A3);
    assert_eq!(scene.stage(), Stage::Filling);
    scene.pass_renewing(Duration::from_secs(2), &WITH_A3);
    assert_eq!(scene.stage(), Stage::Switched);
}

#[test]
fn rings_that_change_places_again_are_both_written_for_another_lease() {
    let mut scene = closed();
    scene.register("a3", 4).unwrap();
    let (_, number) = scene.begin(&add(&["a3"])).unwrap();
    scene.filled(&["a1", "a2", "a3"], number);
    scene.pass_renewing(LEASE + Duration::from_secs(1), &WITH_A3);
    assert_eq!(scene.stage(), Stage::Switched);
    scene.pass_renewing(LEASE - Duration::from_secs(3), &WITH_A3);
    scene.registry.abort(CLUSTER, "a", scene.now).unwrap();
    scene.pass_renewing(LEASE - Duration::from_secs(1), &WITH_A3);
    let previous = (RingRole::Previous, names(&["a1", "a2", "a3"]));
    assert_eq!(scene.rings(), (names(&["a1", "a2"]), Some(previous)), "clients have a lease to follow");
    scene.pass_renewing(Duration::from_secs(2), &WITH_A3);
    assert_eq!(scene.rings(), (names(&["a1", "a2"]), None));
}

#[test]
fn newcomer_that_stands_by_holds_no_change_up() {
    let mut scene = closed();
    scene.register("a3", 4).unwrap();
    let (_, number) = scene.begin(&add(&["a3"])).unwrap();
    scene.filled(&["a1", "a2", "a3"], number);
    scene.pass_renewing(LEASE - Duration::from_secs(1), &WITH_A3);
    scene.register("a4", 5).unwrap();
    scene.pass_renewing(Duration::from_secs(2), &WITH_A3);
    assert_eq!(scene.stage(), Stage::Switched);
}

// Seen: a registry that had never met a node of a group that was removed showed it as leaving for ever.
#[test]
fn group_without_a_node_gets_on_like_others() {
    let mut scene = closed();
    let nodes = scene.roster("a").unwrap().nodes;
    let (group, zone) = ("c".to_owned(), "zone-c".to_owned());
    let stage = Stage::Leaving.into();
    let leaving = Roster { group, zone, stage, nodes, revision: 5000, change: 5000, ..Roster::default() };
    scene.registry.learn(CLUSTER, vec![leaving], scene.now);
    scene.pass_renewing(LEASE / 2, &ALL);
    assert_eq!(scene.roster("c").unwrap().stage(), Stage::Leaving);
    scene.pass_renewing(LEASE * 2 + Duration::from_secs(2), &ALL);
    assert_eq!(scene.roster("c").unwrap().stage(), Stage::Gone);
}

#[test]
fn roster_of_a_far_future_is_not_learned_and_later_changes_count() {
    let mut scene = closed();
    let held = scene.roster("a").unwrap();
    let poison = Roster { revision: (1 << 62) - 1, what: "poison".to_owned(), ..held.clone() };
    scene.registry.learn(CLUSTER, vec![poison], scene.now);
    assert_eq!(scene.roster("a"), Some(held));
    scene.begin(&add(&["a3"])).unwrap();
    assert_eq!(scene.stage(), Stage::Filling);
}

#[test]
fn changes_that_make_no_sense_are_refused_with_what_to_do() {
    let mut scene = closed();
    let refused =
        |scene: &Scene, change: &Change| scene.registry.plan(change, scene.now).unwrap_err().to_string();
    for (change, what) in [
        (add(&["a1"]), "is on the ring of group \"a\" already"),
        (add(&[]), "name the nodes"),
        (add(&["no name"]), "name"),
        (change(ChangeKind::RemoveNodes, &["a9"]), "is not on the ring"),
        (change(ChangeKind::RemoveNodes, &["a1", "a2"]), "without a node"),
        (change(ChangeKind::ReplaceNode, &["a1"]), "name the nodes"),
        (change(ChangeKind::AddGroup, &[]), "is there already"),
        (Change { group: "z".to_owned(), ..add(&["a3"]) }, "there is no group \"z\""),
        (Change { cluster: "AWAY".to_owned(), ..add(&["a3"]) }, "knows no cluster \"AWAY\""),
    ] {
        assert!(refused(&scene, &change).contains(what), "{change:?}");
    }
    scene.begin(&add(&["a3"])).unwrap();
    assert!(refused(&scene, &add(&["a4"])).contains("ctl change abort a"));
}

#[test]
fn change_goes_on_after_a_restart_of_the_registry() {
    let mut scene = closed();
    scene.register("a3", 4).unwrap();
    let (_, number) = scene.begin(&add(&["a3"])).unwrap();
    scene.tick();
    let rings = scene.rings();
    scene.restart();
    scene.pass_renewing(Duration::from_secs(3), &WITH_A3);
    assert_eq!((scene.rings(), scene.stage()), (rings, Stage::Filling));
    scene.filled(&["a1", "a2", "a3"], number);
    scene.pass_renewing(LEASE * 2 + Duration::from_secs(3), &WITH_A3);
    assert_eq!(scene.rings(), (names(&["a1", "a2", "a3"]), None));
}

#[test]
fn registry_that_lost_its_memory_learns_from_nodes_who_stands_by() {
    let known = closed();
    let mut scene = Scene::blank();
    for (name, incarnation) in WITH_A3 {
        scene.register(name, incarnation).unwrap();
        scene.tell(&known);
    }
    scene.tick();
    assert_eq!(scene.rings(), (names(&["a1", "a2"]), None));
}

#[test]
fn group_is_written_while_it_opens_and_while_it_leaves_and_read_in_between() {
    let mut scene = closed();
    let of_c =
        |kind| Change { group: "c".to_owned(), zone: "zone-c".to_owned(), nodes_min: 2, ..change(kind, &[]) };
    scene.begin(&of_c(ChangeKind::AddGroup)).unwrap();
    let all = [("a1", 1), ("a2", 2), ("b1", 3), ("c1", 7), ("c2", 8)];
    scene.register("c1", 7).unwrap();
    scene.pass_renewing(LEASE * 2, &all[..4]);
    let mode = |scene: &Scene| scene.group("c").map(|group| group.mode);
    assert_eq!(mode(&scene), Some(GroupMode::WriteOnly), "one of two is there");
    scene.register("c2", 8).unwrap();
    scene.renew_as("c2", 8, NodeState::Warming).unwrap();
    scene.pass(LEASE / 4);
    assert_eq!(mode(&scene), Some(GroupMode::WriteOnly), "it is being warmed up");
    scene.pass_renewing(LEASE * 2, &all);
    assert_eq!(mode(&scene), Some(GroupMode::ReadWrite));
    scene.begin(&of_c(ChangeKind::RemoveGroup)).unwrap();
    scene.tick();
    assert_eq!(mode(&scene), Some(GroupMode::WriteOnly));
    scene.pass_renewing(LEASE + Duration::from_secs(3), &all);
    assert_eq!(mode(&scene), Some(GroupMode::Disabled));
    scene.pass_renewing(LEASE + Duration::from_secs(3), &all);
    assert_eq!(mode(&scene), None);
    let again = scene.begin(&of_c(ChangeKind::AddGroup)).unwrap_err().to_string();
    assert!(again.contains("stop c1, c2 first"), "{again}");
    let last = scene.registry.plan(&change(ChangeKind::RemoveGroup, &[]), scene.now);
    assert!(last.is_ok(), "b is still read");
}

/// Something that happens to one of two registries, or between them.
#[derive(Debug, Clone)]
enum Event {
    Add(bool, usize),
    Remove(bool, usize),
    Abort(bool),
    /// Nodes say that they are filled for whatever is under way.
    Filled(bool),
    /// A node carries rosters from the one to the other.
    Carry(bool),
    Pass(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        2 => (any::<bool>(), 0..4_usize).prop_map(|(at, node)| Event::Add(at, node)),
        2 => (any::<bool>(), 0..4_usize).prop_map(|(at, node)| Event::Remove(at, node)),
        1 => any::<bool>().prop_map(Event::Abort),
        4 => any::<bool>().prop_map(Event::Filled),
        4 => any::<bool>().prop_map(Event::Carry),
        4 => (1_u64..20).prop_map(Event::Pass),
        1 => Just(Event::Pass(30)),
    ]
}

const NODES: [(&str, u64); 5] = [("a1", 1), ("a2", 2), ("a3", 4), ("a4", 5), ("b1", 3)];

fn apply(scenes: &mut [Scene; 2], event: &Event) {
    match *event {
        // What is refused changes nothing.
        Event::Add(at, node) => drop(scenes[usize::from(at)].begin(&add(&[NODES[node].0]))),
        Event::Remove(at, node) => {
            drop(scenes[usize::from(at)].begin(&change(ChangeKind::RemoveNodes, &[NODES[node].0])));
        }
        Event::Abort(at) => {
            let scene = &mut scenes[usize::from(at)];
            let _ = scene.registry.abort(CLUSTER, "a", scene.now);
        }
        Event::Filled(at) => {
            let scene = &mut scenes[usize::from(at)];
            if let Some(roster) = scene.roster("a") {
                scene.filled(&["a1", "a2", "a3", "a4"], roster.change);
            }
        }
        Event::Carry(to_second) => {
            let [one, other] = scenes;
            if to_second { other.tell(one) } else { one.tell(other) }
        }
        Event::Pass(seconds) => {
            for scene in scenes {
                scene.pass_renewing(Duration::from_secs(seconds), &NODES);
            }
        }
    }
}

proptest! {
    #![proptest_config(Config { cases: 64, ..Config::default() })]

    /// Whatever operators ask of either registry, somebody is always read, a ring changes only by way of two in force, and
    /// once nodes have carried what each knows to the other, both know the same.
    #[test]
    fn registries_agree_once_nodes_have_carried_their_rosters(events in prop::collection::vec(event(), 1..60)) {
        let mut one = closed();
        let mut other = Scene::blank();
        for (name, incarnation) in NODES {
            for scene in [&mut one, &mut other] {
                scene.register(name, incarnation).unwrap();
            }
        }
        other.now = one.now;
        other.tell(&one);
        let mut scenes = [one, other];
        scenes.iter_mut().for_each(|scene| drop(scene.tick()));
        for event in &events {
            let before = [scenes[0].rings(), scenes[1].rings()];
            apply(&mut scenes, event);
            scenes.iter_mut().for_each(|scene| drop(scene.tick()));
            for (scene, (read, second)) in scenes.iter().zip(before) {
                let (now_read, _) = scene.rings();
                assert!(!now_read.is_empty());
                let is_told = matches!(event, Event::Carry(_) | Event::Pass(_));
                let by_switch = second.is_some_and(|(_, names)| names == now_read);
                assert!(now_read == read || by_switch || is_told, "{event:?}: {read:?} to {now_read:?}");
            }
        }
        for _ in 0..2 {
            apply(&mut scenes, &Event::Carry(true));
            apply(&mut scenes, &Event::Carry(false));
        }
        assert_eq!(scenes[0].roster("a"), scenes[1].roster("a"));
    }
}
