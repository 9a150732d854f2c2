//! Client programs of other people, run with the same script against every server; their prints are compared.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

use crate::run::Server;

/// The Python scripts, each with its library.
const PYTHON: [&str; 2] = ["pymemcache", "pylibmc"];

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

fn run_python(python: &Path, script: &Path, server: &Server, profile: &str) -> anyhow::Result<Vec<String>> {
    let arguments =
        [script.as_os_str(), server.address.to_string().as_ref(), profile.as_ref()].map(|a| a.to_owned());
    let output = Command::new(python).args(arguments).output().context("cannot start python")?;
    if !output.status.success() {
        bail!("{} against {}: {}", script.display(), server.name, String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}
