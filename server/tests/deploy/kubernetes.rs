//! The Kubernetes manifests: every pod starts, is probed where it answers, fits its limits and has time to drain.

use std::collections::{BTreeMap, BTreeSet};

use yaml_rust2::Yaml;

use crate::deploy::process::{Effective, Process, bytes, seconds};
use crate::deploy::yaml::{documents, list, named, number, text, texts};
use crate::deploy::{END_GRACE_SECS, deploy, read};
use crate::support::{Logged, exchange};

/// One file a zone.
const ZONES: [&str; 3] = ["a", "b", "c"];
/// Memory of a node beside its budget: connections, gRPC, TLS, the process itself.
const BESIDE_MEMORY_BYTES: u64 = 256 << 20;

/// A workload with its one container.
struct Workload {
    name: String,
    whole: Yaml,
}

impl Workload {
    fn all() -> Vec<Self> {
        let files = ZONES.map(|zone| documents(&format!("kubernetes/zone-{zone}.yaml")));
        let all = files.into_iter().flatten().filter(|document| !document["spec"]["template"].is_badvalue());
        all.map(|whole| Self { name: text(&whole["metadata"]["name"]), whole }).collect()
    }

    fn pod(&self) -> &Yaml {
        &self.whole["spec"]["template"]["spec"]
    }

    fn labels(&self) -> BTreeMap<String, String> {
        texts(&self.whole["spec"]["template"]["metadata"]["labels"])
    }

    fn container(&self) -> &Yaml {
        &self.pod()["containers"][0]
    }

    fn process(&self) -> Process {
        let value = |variable: &Yaml| match variable["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
            None => text(&variable["value"]),
            Some("metadata.name") => format!("{}-0", self.name),
            Some("status.podIP") => "10.1.2.3".to_owned(),
            Some(other) => panic!("{}: {other} is no field that this test knows", self.name),
        };
        let container = self.container();
        let environment = list(&container["env"]).iter().map(|one| (text(&one["name"]), value(one)));
        Process {
            place: self.name.clone(),
            arguments: list(&container["args"]).iter().map(text).collect(),
            environment: environment.collect(),
            file: Some(deploy("kubernetes/evanesce.toml")),
        }
    }

    /// Where a volume is mounted.
    fn mount(&self, volume: &str) -> String {
        let mount = named(&self.container()["volumeMounts"], volume);
        text(&mount.unwrap_or_else(|| panic!("{}: {volume} is not mounted", self.name))["mountPath"])
    }

    fn probes(&self) -> Vec<&Yaml> {
        let probes =
            ["startupProbe", "livenessProbe", "readinessProbe"].map(|probe| &self.container()[probe]);
        probes.into_iter().filter(|probe| !probe.is_badvalue()).collect()
    }

    fn is(&self, role: &str) -> bool {
        self.labels()["app.kubernetes.io/component"] == role
    }
}

#[test]
fn every_pod_starts_and_shows_the_ports_it_listens_at() {
    let workloads = Workload::all();
    assert_eq!(workloads.len(), 3 * 3);
    for workload in &workloads {
        let process = workload.process();
        assert_eq!(
            process.environment["EVANESCE_CONFIG"],
            format!("{}/evanesce.toml", workload.mount("config")),
            "{}",
            workload.name
        );
        assert!(workload.is(&process.arguments[0]), "{}", workload.name);
        let effective = process.effective();
        let shown = list(&workload.container()["ports"]).iter();
        let shown: Vec<_> = shown.map(|port| (text(&port["name"]), number(&port["containerPort"]))).collect();
        let listens: BTreeSet<_> = effective.ports();
        let listens: BTreeSet<_> = listens.into_iter().map(|(name, port)| (name.to_owned(), port)).collect();
        assert_eq!(shown.into_iter().collect::<BTreeSet<_>>(), listens, "{}", workload.name);
        let scraped = texts(&workload.whole["spec"]["template"]["metadata"]["annotations"]);
        assert!(listens.contains(&("http".to_owned(), scraped["prometheus.io/port"].parse().unwrap())));
    }
}

#[test]
fn every_pod_has_time_to_drain() {
    for workload in Workload::all() {
        let hook = list(&workload.container()["lifecycle"]["preStop"]["exec"]["command"]);
        let hook_secs = match hook {
            [] => 0,
            [sleep, time] if sleep.as_str() == Some("sleep") => seconds(&text(time)),
            other => panic!("{}: {other:?}", workload.name),
        };
        let needed = hook_secs + workload.process().effective().drain_secs() + END_GRACE_SECS;
        let given = number(&workload.pod()["terminationGracePeriodSeconds"]);
        assert!(given >= needed, "{}: {given} s to end, and {needed} s are needed", workload.name);
    }
}

#[test]
fn every_probe_asks_a_path_that_there_is() {
    let (mut paths, workloads) = (BTreeSet::new(), Workload::all());
    for workload in &workloads {
        let probes = workload.probes();
        assert!(probes.len() >= 2, "{}", workload.name);
        for probe in probes {
            assert_eq!(probe["httpGet"]["port"].as_str(), Some("http"), "{}", workload.name);
            paths.insert(text(&probe["httpGet"]["path"]));
        }
        let (live, ready) = (&workload.container()["livenessProbe"], &workload.container()["readinessProbe"]);
        // A node that warms is alive, and must not be killed for not being ready.
        assert_eq!(live["httpGet"]["path"].as_str(), Some("/health/live"));
        assert_eq!(ready["httpGet"]["path"].as_str(), Some("/health/ready"));
    }
    let mut node = Logged::start(
        "node",
        &["--standalone", "--listen", "127.0.0.1:0", "--memory", "64MiB", "--http", "127.0.0.1:0"],
    );
    let address = node.serves_at("http");
    for path in paths {
        let request = format!("GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n");
        let answer = exchange(address, &request);
        // A node that has only just begun to serve may not be ready yet.
        let is_known = ["HTTP/1.1 200", "HTTP/1.1 503"].iter().any(|status| answer.starts_with(status));
        assert!(is_known, "{path}: {answer}");
    }
}

#[test]
fn every_node_fits_its_limit_and_its_memory_volume() {
    for workload in Workload::all().iter().filter(|workload| workload.is("node")) {
        let effective: Effective = workload.process().effective();
        let memory = effective.bytes("memory");
        let resources = &workload.container()["resources"];
        let limit = bytes(&text(&resources["limits"]["memory"]));
        assert!(limit >= memory + BESIDE_MEMORY_BYTES, "{}: {limit} for {memory}", workload.name);
        // A node that may be killed for what others take is no place for memory.
        assert_eq!(limit, bytes(&text(&resources["requests"]["memory"])), "{}", workload.name);
        let volume = &named(&workload.pod()["volumes"], "memory").unwrap()["emptyDir"];
        assert_eq!(volume["medium"].as_str(), Some("Memory"));
        assert!(bytes(&text(&volume["sizeLimit"])) >= memory, "{}", workload.name);
        let file = effective.text("memory_file");
        assert!(file.starts_with(&format!("{}/", workload.mount("memory"))), "{file}");
        // Another number of threads would make a memory file useless.
        effective.number("threads");
        assert_eq!(workload.whole["spec"]["updateStrategy"]["type"].as_str(), Some("OnDelete"));
        assert_eq!(workload.whole["spec"]["podManagementPolicy"].as_str(), Some("Parallel"));
        assert_eq!(effective.text("name"), format!("{}-0", workload.name));
        assert_eq!(effective.text("advertise"), "10.1.2.3");
    }
}

#[test]
fn every_discovery_keeps_its_state_on_a_volume_of_its_own() {
    for workload in Workload::all().iter().filter(|workload| workload.is("discovery")) {
        let claims = list(&workload.whole["spec"]["volumeClaimTemplates"]);
        let [claim] = claims else { panic!("{}: {claims:?}", workload.name) };
        let volume = text(&claim["metadata"]["name"]);
        assert_eq!(workload.process().effective().text("state_dir"), workload.mount(&volume));
    }
}

#[test]
fn every_service_and_budget_finds_pods_and_every_discovery_named_is_a_service() {
    let workloads = Workload::all();
    let mut services = BTreeSet::new();
    let files =
        ["zone-a", "zone-b", "zone-c", "shared"].map(|name| documents(&format!("kubernetes/{name}.yaml")));
    for document in files.into_iter().flatten() {
        let kind = text(&document["kind"]);
        let selector = match kind.as_str() {
            "Service" => texts(&document["spec"]["selector"]),
            "PodDisruptionBudget" => texts(&document["spec"]["selector"]["matchLabels"]),
            _ => continue,
        };
        let name = text(&document["metadata"]["name"]);
        let is_found = |workload: &&Workload| {
            let labels = workload.labels();
            selector.iter().all(|(label, value)| labels.get(label) == Some(value))
        };
        let found: Vec<_> = workloads.iter().filter(is_found).collect();
        assert!(!found.is_empty(), "{kind} {name} finds no pod");
        if kind == "PodDisruptionBudget" {
            // One over all zones: a key's owners are one a zone.
            assert_eq!((found.len(), number(&document["spec"]["maxUnavailable"])), (3, 1), "{name}");
        }
        for port in list(&document["spec"]["ports"]) {
            let target = text(&port["targetPort"]);
            let has = |workload: &&Workload| named(&workload.container()["ports"], &target).is_some();
            assert!(found.iter().all(has), "{name}: nobody has port {target}");
            services.insert(format!("{name}:{}", number(&port["port"])));
        }
    }
    for workload in workloads.iter().filter(|workload| !workload.is("discovery")) {
        let effective = workload.process().effective();
        let named = effective.texts("discovery");
        assert_eq!(named.len(), 3);
        assert!(named.iter().all(|name| services.contains(*name)), "{named:?} in {services:?}");
    }
}

#[test]
fn zones_differ_by_their_letter_alone() {
    let of_zone = |zone: &str| {
        let text = read(&format!("kubernetes/zone-{zone}.yaml"));
        let lines = text.lines().skip_while(|line| line.starts_with('#'));
        let plain = |line: &str| {
            let line = line.replace(&format!("evanesce.io/zone: {zone}"), "evanesce.io/zone: ?");
            line.replace(&format!("-{zone}]"), "-?]")
                .replace(&format!("-{zone},"), "-?,")
                .replace(&format!("-{zone}}}"), "-?}")
        };
        let lines = lines.map(plain).map(|line| {
            line.strip_suffix(&format!("-{zone}")).map_or(line.clone(), |line| format!("{line}-?"))
        });
        lines.collect::<Vec<_>>()
    };
    let first = of_zone("a");
    assert!(first.iter().any(|line| line.ends_with("evanesce-node-?")));
    for zone in ["b", "c"] {
        assert_eq!(of_zone(zone), first, "zone {zone}");
    }
}
