//! What the crate compiles, and what not.

use std::process::Command;

/// All that is compiled with these features, one package a line.
fn compiled(features: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["tree", "--offline", "-p", env!("CARGO_PKG_NAME"), "-e", "normal,build", "--prefix", "none"])
        .args(features)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("names are text")
}

fn has(tree: &str, package: &str) -> bool {
    tree.lines().any(|line| line.split(' ').next() == Some(package))
}

#[test]
fn static_list_compiles_no_grpc_and_nothing_in_c() {
    let alone = compiled(&["--no-default-features"]);
    assert!(has(&alone, "evanesce-transport"), "{alone}");
    for package in [
        "evanesce-membership",
        "evanesce-grpc",
        "tonic",
        "prost",
        "h2",
        "hyper",
        "tower",
        "zstd",
        "cc",
        "moka",
    ] {
        assert!(!has(&alone, package), "{package} is compiled:\n{alone}");
    }
    let default = compiled(&[]);
    assert!(
        has(&default, "tonic") && has(&default, "zstd") && has(&default, "moka"),
        "the test looks at the wrong thing"
    );
}

#[test]
fn tls_is_compiled_only_when_asked_for() {
    assert!(!has(&compiled(&[]), "rustls"));
    assert!(has(&compiled(&["--features", "tls"]), "rustls"));
}
