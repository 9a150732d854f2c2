//! Servers, started and waited for.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;

use crate::process::Process;
use crate::programs::Programs;
use crate::raw::Raw;
use crate::wait::{Deadline, eventually};

/// A server that does not answer by then is not coming.
const START_LIMIT: Duration = Duration::from_secs(20);

/// A loopback port that nobody listens on now.
///
/// # Errors
/// When the kernel has none.
pub fn free_port() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    Ok(listener.local_addr()?)
}

/// Waits until a memcached-protocol server answers `version`.
///
/// # Errors
/// When it does not in time.
pub fn wait_for_memcached(address: SocketAddr) -> anyhow::Result<()> {
    let what = format!("an answer to version from {address}");
    let answers = || {
        let mut raw = Raw::connect(address).ok()?;
        raw.send(b"version\r\n").ok()?;
        raw.read_to(b"\r\n").bytes.starts_with(b"VERSION ").then_some(())
    };
    Ok(eventually(&what, Deadline::within(START_LIMIT), answers)?)
}

/// Starts stock memcached with this memory, in MiB, and options of its own.
///
/// # Errors
/// When it does not start.
pub fn start_memcached(
    programs: &Programs,
    directory: &Path,
    memory_mib: u64,
    options: &[&str],
) -> anyhow::Result<(Process, SocketAddr)> {
    let address = free_port()?;
    let (port, memory) = (address.port().to_string(), memory_mib.to_string());
    // It refuses to run as root without a user; elsewhere the option has no effect.
    let mut arguments = vec!["-l", "127.0.0.1", "-p", &port, "-U", "0", "-m", &memory, "-u", "nobody"];
    arguments.extend(options);
    let name = format!("memcached-{port}");
    let process = Process::start(&name, &programs.memcached, arguments, directory)?;
    wait_for_memcached(address).with_context(|| format!("memcached printed:\n{}", process.printed()))?;
    Ok((process, address))
}

/// Starts one node without discovery.
///
/// # Errors
/// When it does not start.
pub fn start_node(
    programs: &Programs,
    directory: &Path,
    memory: &str,
    options: &[&str],
) -> anyhow::Result<(Process, SocketAddr)> {
    let address = free_port()?;
    let listen = address.to_string();
    let mut arguments = vec!["node", "--standalone", "--listen", &listen, "--memory", memory];
    arguments.extend(options);
    let name = format!("node-{}", address.port());
    let process = Process::start(&name, &programs.evanesce, arguments, directory)?;
    wait_for_memcached(address).with_context(|| format!("the node printed:\n{}", process.printed()))?;
    Ok((process, address))
}
