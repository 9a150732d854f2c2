//! Client programs of other people, run with the same script against every server; their prints are compared.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

use crate::run::Server;

/// The Python scripts, each with its library.
const PYTHON: [&str; 2] = ["pymemcache", "pylibmc"];

/// The protocols that libmemcached's `memccapable` tests a server for.
const CAPABLE: [(&str, &str); 2] = [("-a", "text"), ("-b", "binary")];
/// Its tests of each.
const CAPABLE_TESTS: usize = 27;

/// Runs all clients. The number of differences.
///
/// # Errors
/// When a client cannot be run at all.
pub(crate) fn compare(servers: &[Server], python: Option<&Path>, scripts: &Path) -> anyhow::Result<usize> {
    let mut different = 0;
    for server in &servers[1..] {
        let profile = server.name;
        different +=
            same("memcache-async", server, &|address| crate::peer::run(address, profile), &servers[0])?;
        // It asks for all that memcached has: a gateway does not offer all.
        if server.name == "node" {
            different += capable(server)?;
        }
        let Some(python) = python else { continue };
        for library in PYTHON {
            let script = scripts.join(format!("{library}_script.py"));
            different +=
                same(library, server, &|server| run_python(python, &script, server, profile), &servers[0])?;
        }
    }
    if python.is_none() {
        println!("no --python: pymemcache and pylibmc were not run");
    }
    Ok(different)
}

type Prints<'a> = &'a dyn Fn(&Server) -> anyhow::Result<Vec<String>>;

/// Runs a client against stock memcached and against the server; prints lines that differ.
fn same(client: &str, server: &Server, run: Prints<'_>, stock: &Server) -> anyhow::Result<usize> {
    let (right, said) = (run(stock)?, run(server)?);
    let lines = right.len().max(said.len());
    let line = |lines: &[String], at: usize| lines.get(at).cloned().unwrap_or_else(|| "(nothing)".to_owned());
    let different: Vec<usize> = (0..lines).filter(|&at| line(&right, at) != line(&said, at)).collect();
    for &at in &different {
        println!(
            "DIFFERENT {} {client}\n  memcached {}\n  {:9} {}",
            server.name,
            line(&right, at),
            server.name,
            line(&said, at)
        );
    }
    println!("{:8} {client}: {lines} results compared, {} different", server.name, different.len());
    Ok(different.len())
}

/// Tests a server, whose items are flushed by that, with `memccapable`. The number of tests that did not pass.
fn capable(server: &Server) -> anyhow::Result<usize> {
    let (ip, port) = (server.address.ip().to_string(), server.address.port().to_string());
    let mut failed = 0;
    for (switch, protocol) in CAPABLE {
        let output = Command::new("memccapable").args(["-h", &ip, "-p", &port, switch]).output();
        let output = output.context("cannot start memccapable: apt-get install libmemcached-tools")?;
        let said = String::from_utf8_lossy(&output.stdout);
        let passed = said.lines().filter(|line| line.ends_with("[pass]")).count();
        for line in said.lines().filter(|line| line.contains("FAIL")) {
            println!("DIFFERENT {} memccapable\n  {line}", server.name);
        }
        println!("{:8} memccapable: {passed} of {CAPABLE_TESTS} {protocol} tests passed", server.name);
        failed += CAPABLE_TESTS - passed.min(CAPABLE_TESTS);
    }
    Ok(failed)
}

fn run_python(python: &Path, script: &Path, server: &Server, profile: &str) -> anyhow::Result<Vec<String>> {
    let arguments =
        [script.as_os_str(), server.address.to_string().as_ref(), profile.as_ref()].map(|a| a.to_owned());
    let output = Command::new(python).args(arguments).output().context("cannot start python")?;
    if !output.status.success() {
        bail!("{} against {}: {}", script.display(), server.name, String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}
