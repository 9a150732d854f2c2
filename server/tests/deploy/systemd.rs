//! The systemd units, with the configuration and environments beside them.

use std::collections::BTreeMap;

use crate::deploy::process::{Process, seconds};
use crate::deploy::{END_GRACE_SECS, ROLES, deploy, read};

/// File descriptors of a role besides its memcached connections.
const DESCRIPTORS_BESIDES: u64 = 256;

/// A unit's lines, `%i` filled in.
struct Unit {
    role: &'static str,
    instance: &'static str,
    lines: Vec<(String, String)>,
}

impl Unit {
    fn of(role: &'static str) -> Self {
        let instance = if role == "node" { "a1" } else { "a" };
        let text = read(&format!("systemd/evanesce-{role}@.service")).replace("%i", instance);
        let lines =
            text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
        let lines = lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Self { role, instance, lines }
    }

    fn value(&self, name: &str) -> &str {
        let mut values =
            self.lines.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_str());
        let value = values.next().unwrap_or_else(|| panic!("{}: no {name}", self.role));
        assert_eq!(values.next(), None, "{}: {name} twice", self.role);
        value
    }

    fn process(&self) -> Process {
        let mut words = self.value("ExecStart").split(' ');
        assert_eq!(words.next(), Some("/usr/bin/evanesce"));
        let mut environment: BTreeMap<String, String> =
            self.value("Environment").split(' ').map(variable).collect();
        let own = format!("{}-{}.env", self.role, self.instance);
        assert_eq!(self.value("EnvironmentFile"), format!("-/etc/evanesce/{own}"));
        // A gateway needs none of its own.
        if deploy(&format!("systemd/{own}")).exists() {
            environment.extend(
                read(&format!("systemd/{own}")).lines().filter(|line| !line.starts_with('#')).map(variable),
            );
        }
        assert_eq!(environment["EVANESCE_CONFIG"], "/etc/evanesce/evanesce.toml");
        Process {
            place: format!("evanesce-{}@.service", self.role),
            arguments: words.map(str::to_owned).collect(),
            environment,
            file: Some(deploy("systemd/evanesce.toml")),
        }
    }
}

fn variable(text: &str) -> (String, String) {
    let (name, value) = text.split_once('=').unwrap_or_else(|| panic!("{text} sets nothing"));
    (name.to_owned(), value.to_owned())
}

#[test]
fn every_unit_starts_what_it_is_named_for_and_gives_it_time_to_drain() {
    for unit in ROLES.map(Unit::of) {
        let process = unit.process();
        assert_eq!(process.arguments, [unit.role]);
        let effective = process.effective();
        let given = seconds(unit.value("TimeoutStopSec"));
        assert!(given >= effective.drain_secs() + END_GRACE_SECS, "{}: {given} s", unit.role);
        assert_eq!(unit.value("KillSignal"), "SIGTERM", "what drains");
        assert_eq!(unit.value("Restart"), "always", "a drained process comes back");
        assert_eq!(unit.value("RestartPreventExitStatus"), "2", "bad usage or configuration");
        let descriptors: u64 = unit.value("LimitNOFILE").parse().unwrap();
        if unit.role != "discovery" {
            assert!(
                descriptors >= effective.number("connections_max") + DESCRIPTORS_BESIDES,
                "{}",
                unit.role
            );
        }
        assert_eq!(unit.value("ProtectSystem"), "strict");
    }
}

#[test]
fn memory_file_lies_in_memory_and_outlives_its_process() {
    let unit = Unit::of("node");
    let directory = format!("/run/{}", unit.value("RuntimeDirectory"));
    let effective = unit.process().effective();
    assert!(effective.text("memory_file").starts_with(&format!("{directory}/")), "in {directory}");
    assert_eq!(unit.value("RuntimeDirectoryPreserve"), "yes");
    // Both would take the file away with the process.
    assert_eq!(unit.value("RemoveIPC"), "no");
    assert!(unit.lines.iter().all(|(name, _)| name != "DynamicUser"));
    let mount = read("systemd/run-evanesce.mount");
    assert!(mount.contains("Where=/run/evanesce\nType=tmpfs\n"), "{mount}");
    assert!(directory.starts_with("/run/evanesce/"));
    assert_eq!(unit.value("RequiresMountsFor"), "/run/evanesce");
    effective.number("threads");
}

#[test]
fn state_of_a_discovery_is_where_systemd_makes_it() {
    let unit = Unit::of("discovery");
    let directory = format!("/var/lib/{}", unit.value("StateDirectory"));
    assert_eq!(unit.process().effective().text("state_dir"), directory);
}
