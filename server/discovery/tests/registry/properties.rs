//! What holds whatever happens: random events against a naive record of who spoke when.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use evanesce_topology::{NodeState, Topology};
use proptest::prelude::{Just, Strategy, any, prop, prop_oneof, proptest};
use proptest::test_runner::Config;

use crate::scene::Scene;

const LEASE: Duration = Duration::from_secs(10);
const NAMES: [&str; 5] = ["a1", "a2", "b1", "b2", "c1"];

/// Something that happens to a registry.
#[derive(Debug, Clone)]
enum Event {
    Register {
        name: usize,
        incarnation: u64,
    },
    Renew {
        name: usize,
        incarnation: u64,
        draining: bool,
    },
    GiveBack {
        name: usize,
        incarnation: u64,
    },
    /// A watcher that holds an epoch so far from ours.
    Watch {
        ahead: i64,
    },
    Pass {
        ms: u64,
    },
    /// Time without ticks.
    Stall {
        ms: u64,
    },
    ClockStep {
        ms: i64,
    },
    Restart,
}

fn event() -> impl Strategy<Value = Event> {
    let node = || (0..NAMES.len(), 1_u64..4);
    prop_oneof![
        4 => node().prop_map(|(name, incarnation)| Event::Register { name, incarnation }),
        6 => (node(), any::<bool>())
            .prop_map(|((name, incarnation), draining)| Event::Renew { name, incarnation, draining }),
        1 => node().prop_map(|(name, incarnation)| Event::GiveBack { name, incarnation }),
        2 => (-1000_i64..100_000).prop_map(|ahead| Event::Watch { ahead }),
        6 => (1_u64..6000).prop_map(|ms| Event::Pass { ms }),
        1 => (1_u64..60_000).prop_map(|ms| Event::Stall { ms }),
        1 => (-100_000_i64..100_000).prop_map(|ms| Event::ClockStep { ms }),
        1 => Just(Event::Restart),
    ]
}

/// Who spoke when, and what was seen.
#[derive(Default)]
struct Record {
    /// The incarnation that holds a name, and when it last spoke.
    holders: BTreeMap<usize, (u64, Duration)>,
    last: Option<Arc<Topology>>,
    /// Whether a watcher asked for a newer epoch, or a restart made one due, since the last topology.
    renumbered: bool,
}

impl Record {
    fn apply(&mut self, scene: &mut Scene, event: &Event) {
        match *event {
            Event::Register { name, incarnation } => {
                if scene.register(NAMES[name], incarnation).is_ok() {
                    self.holders.insert(name, (incarnation, scene.now.elapsed));
                }
            }
            Event::Renew { name, incarnation, draining } => {
                let state = if draining { NodeState::Draining } else { NodeState::Serving };
                let renewed = scene.renew_as(NAMES[name], incarnation, state).is_ok();
                let holder = self.holders.get_mut(&name).filter(|holder| holder.0 == incarnation);
                assert!(!renewed || holder.is_some(), "only the holder's lease is renewed");
                if let Some(holder) = holder.filter(|_| renewed) {
                    holder.1 = scene.now.elapsed;
                }
            }
            Event::GiveBack { name, incarnation } => {
                if scene.give_back(NAMES[name], incarnation).is_ok() {
                    let holder = self.holders.remove(&name);
                    assert!(
                        holder.is_none_or(|holder| holder.0 == incarnation),
                        "another's lease was given back"
                    );
                }
            }
            Event::Watch { ahead } => {
                let seen = self.last.as_ref().map_or(0, |last| last.epoch.0).saturating_add_signed(ahead);
                self.renumbered |= ahead > 0;
                scene.watched(seen);
            }
            Event::Pass { ms } => {
                scene.pass(Duration::from_millis(ms));
            }
            Event::Stall { ms } => scene.leap(Duration::from_millis(ms)),
            Event::ClockStep { ms } => scene.now.wall_ms = scene.now.wall_ms.saturating_add_signed(ms),
            Event::Restart => {
                scene.restart();
                self.renumbered = true;
            }
        }
    }

    fn check(&mut self, scene: &Scene) {
        self.check_ring(scene);
        if let Some(topology) = scene.topology() {
            self.check_order(&topology);
        }
        for (&name, &(_, spoke)) in &self.holders {
            let lapsed = scene.registry.membership().iter().any(|kept| is_down(&kept.topology, NAMES[name]));
            assert!(
                !lapsed || scene.now.elapsed - spoke >= LEASE,
                "{} is down within its lease",
                NAMES[name]
            );
        }
    }

    /// Whoever was published stays, whatever becomes of him.
    fn check_ring(&self, scene: &Scene) {
        let kept = scene.registry.membership();
        for node in self.last.iter().flat_map(|last| names(last)) {
            assert!(
                kept.iter().flat_map(|kept| names(&kept.topology)).any(|kept| kept == node),
                "{node} left the ring"
            );
        }
    }

    fn check_order(&mut self, topology: &Arc<Topology>) {
        assert!(names(topology).count() > 0, "an empty topology was published");
        assert_eq!(topology.check(), Ok(()));
        if let Some(last) = self.last.replace(Arc::clone(topology)) {
            if last.epoch == topology.epoch {
                assert_eq!(&last, topology, "two contents under one epoch");
                return;
            }
            assert!(last.epoch < topology.epoch, "{} then {}", last.epoch, topology.epoch);
            assert!(self.renumbered || last.groups != topology.groups, "a new epoch for nothing");
        }
        self.renumbered = false;
    }
}

fn names(topology: &Topology) -> impl Iterator<Item = &str> {
    topology.groups.iter().flat_map(|group| &group.nodes).map(|node| node.name.as_str())
}

fn is_down(topology: &Topology, name: &str) -> bool {
    let mut nodes = topology.groups.iter().flat_map(|group| &group.nodes);
    nodes.any(|node| node.name == name && node.state == NodeState::Down)
}

proptest! {
    #![proptest_config(Config { cases: 512, failure_persistence: None, ..Config::default() })]

    #[test]
    fn ring_epochs_and_leases_hold_whatever_happens(events in prop::collection::vec(event(), 1..80)) {
        let mut scene = Scene::blank();
        let mut record = Record::default();
        for event in &events {
            record.apply(&mut scene, event);
            scene.tick();
            record.check(&scene);
        }
    }

    #[test]
    fn dead_minority_is_down_after_a_lease(dead in 0_usize..NAMES.len(), offset_ms in 0_u64..3000) {
        let mut scene = Scene::blank();
        let living: Vec<_> = NAMES.iter().enumerate().filter(|(index, _)| *index != dead).collect();
        let living: Vec<_> = living.into_iter().map(|(index, name)| (*name, index as u64)).collect();
        for (index, name) in NAMES.iter().enumerate() {
            scene.register(name, index as u64).unwrap();
            scene.pass(Duration::from_millis(offset_ms / 5 + 1));
        }
        scene.pass_renewing(LEASE, &living);
        assert_eq!(scene.state(NAMES[dead]), Some(NodeState::Down));
        assert_eq!(scene.registry.count(NodeState::Down), 1);
    }

    #[test]
    fn watcher_is_always_numbered_past(ahead in 0_u64..(1 << 51)) {
        let mut scene = Scene::blank();
        scene.register("a1", 1).unwrap();
        scene.tick();
        let held = scene.epoch() + ahead;
        scene.watched(held);
        scene.tick();
        assert!(scene.epoch() >= held, "{} after {held}", scene.epoch());
    }
}
