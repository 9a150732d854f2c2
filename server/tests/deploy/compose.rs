//! The compose file: every service starts, and is reached and asked where it listens.

use std::collections::BTreeSet;

use yaml_rust2::Yaml;

use crate::deploy::process::{Process, bytes, seconds};
use crate::deploy::yaml::{documents, list, text, texts};
use crate::deploy::{END_GRACE_SECS, ROLES, read};
use crate::support::run;

fn services() -> Vec<(String, Yaml)> {
    let mut documents = documents("compose.yaml");
    let services = documents.remove(0)["services"].clone();
    let services = services.as_hash().unwrap().iter();
    services.map(|(name, service)| (text(name), service.clone())).collect()
}

fn process(name: &str, service: &Yaml) -> Option<Process> {
    let arguments: Vec<String> = list(&service["command"]).iter().map(text).collect();
    let environment = texts(&service["environment"]);
    let is_role = ROLES.contains(&arguments.first().map_or("", String::as_str));
    is_role.then(|| Process { place: name.to_owned(), arguments, environment, file: None })
}

#[test]
fn every_service_starts_and_has_time_to_drain() {
    let (mut roles, mut taken) = (Vec::new(), BTreeSet::new());
    for (name, service) in services() {
        let Some(process) = process(&name, &service) else { continue };
        let effective = process.effective();
        let given = seconds(&text(&service["stop_grace_period"]));
        assert!(given >= effective.drain_secs() + END_GRACE_SECS, "{name}: {given} s");
        // A drained process has to come back.
        assert_eq!(service["restart"].as_str(), Some("always"), "{name}");
        if process.arguments[0] == "node" {
            let address = text(&service["networks"]["cluster"]["ipv4_address"]);
            assert_eq!(effective.text("advertise"), address, "{name}");
            assert!(taken.insert(address), "{name} has the address of another");
            assert!(taken.insert(effective.text("name").to_owned()), "{name} has the name of another");
            assert!(bytes(&text(&service["mem_limit"])) >= effective.bytes("memory") * 2, "{name}");
        }
        roles.push(process.arguments[0].clone());
    }
    let count = |role: &str| roles.iter().filter(|other| *other == role).count();
    assert_eq!(ROLES.map(count), [6, 3, 1]);
}

#[test]
fn health_is_asked_where_each_process_answers_by_a_command_that_there_is() {
    for (name, service) in services() {
        let Some(process) = process(&name, &service) else { continue };
        let test: Vec<String> = list(&service["healthcheck"]["test"]).iter().map(text).collect();
        let [first, program, arguments @ ..] = test.as_slice() else { panic!("{name}: {test:?}") };
        assert_eq!((first.as_str(), program.as_str()), ("CMD", "/usr/bin/evanesce"), "{name}");
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        assert_eq!(
            run(&[&arguments[..], &["--help"]].concat()).status.code(),
            Some(0),
            "{name}: {arguments:?}"
        );
        let asked: u64 = arguments.last().unwrap().rsplit_once(':').unwrap().1.parse().unwrap();
        assert!(process.effective().ports().contains(&("grpc", asked)), "{name}");
    }
}

#[test]
fn every_discovery_named_is_a_service_and_listens_there() {
    let services = services();
    let all: BTreeSet<String> = services
        .iter()
        .filter_map(|(name, service)| Some((name, process(name, service)?)))
        .filter(|(_, process)| process.arguments[0] == "discovery")
        .map(|(name, process)| {
            let ports = process.effective().ports();
            format!("{name}:{}", ports.iter().find(|(purpose, _)| *purpose == "grpc").unwrap().1)
        })
        .collect();
    assert_eq!(all.len(), 3);
    for (name, service) in &services {
        if let Some(named) = texts(&service["environment"]).get("EVANESCE_DISCOVERY") {
            let named: BTreeSet<String> = named.split(',').map(str::to_owned).collect();
            assert_eq!(named, all, "{name}");
        }
        for other in list(&service["depends_on"]) {
            assert!(services.iter().any(|(name, _)| *name == text(other)), "{name}: {other:?}");
        }
    }
}

#[test]
fn image_exposes_the_default_ports_and_runs_the_binary() {
    let image = read("Dockerfile");
    let line = |word: &str| {
        image.lines().find_map(|line| line.strip_prefix(word)).unwrap_or_else(|| panic!("no {word}"))
    };
    let exposed: BTreeSet<u64> = line("EXPOSE ").split(' ').map(|port| port.parse().unwrap()).collect();
    let mut defaults = BTreeSet::new();
    for arguments in [
        &["discovery"][..],
        &["gateway", "--cluster", "HOME", "--zone", "a", "--discovery", "d:1"],
        &["node", "--cluster", "HOME", "--zone", "a", "--name", "n", "--discovery", "d:1"],
    ] {
        let arguments = arguments.iter().map(ToString::to_string).collect();
        let process = Process { place: "defaults".to_owned(), arguments, environment: [].into(), file: None };
        defaults.extend(process.effective().ports().into_iter().map(|(_, port)| port));
    }
    assert_eq!(exposed, defaults);
    assert_eq!(line("ENTRYPOINT "), r#"["/usr/bin/evanesce"]"#);
    assert!(image.contains(" /usr/bin/evanesce\n"), "the binary is where the entry point looks for it");
    assert!(
        line("USER ").split(':').all(|id| id.parse::<u32>().is_ok_and(|id| id > 0)),
        "not root, by number"
    );
}
