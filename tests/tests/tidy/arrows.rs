//! The only arrows between our packages: those of the house plan.
//!
//! Dependencies for tests only are free; cargo itself refuses circles among the others.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

use crate::tree::{Violation, root};

/// What each package may use of ours. A package that is not here may not exist.
const ARROWS: &[(&str, &[&str])] = &[
    ("evanesce-wire", &[]),
    ("evanesce-topology", &[]),
    ("evanesce-grpc", &["evanesce-topology"]),
    ("evanesce-store", &[]),
    ("evanesce-front", &["evanesce-wire"]),
    ("evanesce-admin", &["evanesce-grpc"]),
    ("evanesce-transport", &["evanesce-wire"]),
    ("evanesce-membership", &["evanesce-grpc", "evanesce-topology"]),
    ("evanesce-client", &["evanesce-transport", "evanesce-membership", "evanesce-wire", "evanesce-topology"]),
    ("evanesce-discovery", &["evanesce-admin", "evanesce-grpc", "evanesce-topology"]),
    (
        "evanesce-node",
        &[
            "evanesce-store",
            "evanesce-front",
            "evanesce-admin",
            "evanesce-transport",
            "evanesce-membership",
            "evanesce-wire",
            "evanesce-topology",
            "evanesce-grpc",
        ],
    ),
    ("evanesce-persister", &["evanesce-client"]),
    (
        "evanesce-gateway",
        &["evanesce-front", "evanesce-admin", "evanesce-client", "evanesce-persister", "evanesce-wire"],
    ),
    (
        "evanesce",
        &[
            "evanesce-store",
            "evanesce-front",
            "evanesce-admin",
            "evanesce-discovery",
            "evanesce-node",
            "evanesce-persister",
            "evanesce-gateway",
            "evanesce-client",
            "evanesce-grpc",
            "evanesce-topology",
        ],
    ),
    ("evanesce-loadtest", &["evanesce-client", "evanesce-transport", "evanesce-wire"]),
    ("evanesce-clients", &["evanesce-client"]),
    ("evanesce-engines", &["evanesce-store"]),
    ("evanesce-tests", EVERYTHING),
    ("evanesce-simulation", EVERYTHING),
];

/// The workspaces, by their manifests from the root: one for all, and those that keep their dependencies to
/// themselves.
const MANIFESTS: [&str; 3] = ["Cargo.toml", "loadtest/clients/Cargo.toml", "loadtest/engines/Cargo.toml"];

/// What the suites may use: all that has a library.
const EVERYTHING: &[&str] = &[
    "evanesce-wire",
    "evanesce-topology",
    "evanesce-grpc",
    "evanesce-store",
    "evanesce-front",
    "evanesce-admin",
    "evanesce-discovery",
    "evanesce-node",
    "evanesce-persister",
    "evanesce-gateway",
    "evanesce-transport",
    "evanesce-membership",
    "evanesce-client",
];

/// Our packages and what each uses of ours, but for its tests.
pub(crate) type Packages = BTreeMap<String, Vec<String>>;

/// Reads them from cargo, which needs no network for it.
pub(crate) fn packages() -> Packages {
    MANIFESTS.iter().flat_map(|manifest| of_workspace(manifest)).collect()
}

fn of_workspace(manifest: &str) -> Packages {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments = ["metadata", "--no-deps", "--format-version", "1", "--manifest-path", manifest];
    let output = Command::new(cargo).args(arguments).current_dir(root()).output().expect("cargo runs");
    let parsed: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    parse(&parsed)
}

fn parse(metadata: &Value) -> Packages {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let ours = |package: &Value| {
        let uses = list(&package["dependencies"]);
        let normal = uses.iter().filter(|dependency| dependency["kind"].as_str() != Some("dev"));
        // A path marks what is ours.
        normal
            .filter(|dependency| dependency["path"].is_string())
            .map(|dependency| text(&dependency["name"]))
            .collect()
    };
    list(&metadata["packages"]).iter().map(|package| (text(&package["name"]), ours(package))).collect()
}

/// Arrows that the plan does not have, and packages it does not know.
pub(crate) fn check(packages: &Packages) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut say =
        |place: &str, what: String| found.push(Violation { place: place.to_owned(), line: 0, what });
    for (package, uses) in packages {
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| name == package) else {
            say(package, "is not in the plan of packages".to_owned());
            continue;
        };
        for used in uses.iter().filter(|used| !allowed.contains(&used.as_str())) {
            say(package, format!("must not use {used}"));
        }
    }
    found
}

#[test]
fn arrow_outside_the_plan_is_refused() {
    let metadata = serde_json::json!({ "packages": [
        { "name": "evanesce-wire", "dependencies": [
            { "name": "evanesce-store", "kind": null, "path": "x" },
            { "name": "evanesce-client", "kind": "dev", "path": "x" },
            { "name": "bytes", "kind": null } ] },
        { "name": "evanesce-front", "dependencies": [{ "name": "evanesce-wire", "kind": null, "path": "x" }] },
        { "name": "evanesce-stranger", "dependencies": [] },
    ] });
    let found: Vec<String> = check(&parse(&metadata)).iter().map(ToString::to_string).collect();
    let expected =
        ["evanesce-stranger: is not in the plan of packages", "evanesce-wire: must not use evanesce-store"];
    assert_eq!(found, expected);
}

#[test]
fn the_plan_itself_has_no_circle() {
    // Each package may only use packages that an earlier round has placed.
    let mut placed: Vec<&str> = Vec::new();
    while placed.len() < ARROWS.len() {
        let planned = |name: &&str| ARROWS.iter().any(|(known, _)| known == name);
        let ready =
            |uses: &[&str]| uses.iter().filter(|used| planned(used)).all(|used| placed.contains(used));
        let next = ARROWS.iter().find(|(name, uses)| !placed.contains(name) && ready(uses));
        placed.push(next.expect("some package uses only what is placed").0);
    }
}
