//! Network namespaces of this run: each host has one, all hang on one switch, and a packet filter keeps hosts apart.
//!
//! ```text
//!  host 1 -- veth --+
//!  host 2 -- veth --+-- bridge (a namespace of its own: nothing of this is seen outside)
//!  host 3 -- veth --+
//! ```

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use anyhow::{Context, bail};
use evanesce_tests::Process;

/// All namespaces of this suite begin with this, then the pid of their run.
const PREFIX: &str = "evchaos-";
/// Hosts of one network.
const HOSTS_MAX: usize = 16;
/// Where the filter looks at all that comes in.
const FILTER: [&str; 2] =
    ["add table ip chaos", "add chain ip chaos in { type filter hook input priority 0 ; }"];

/// The switch and its hosts. Dropping it takes the namespaces away.
#[derive(Debug)]
pub(crate) struct Network {
    /// The first is the switch's.
    names: Vec<String>,
}

/// A place in the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Host(usize);

impl Network {
    /// A network of so many hosts, each with an address.
    ///
    /// # Errors
    /// When a namespace cannot be made: it takes root.
    pub(crate) fn new(hosts: usize) -> anyhow::Result<Self> {
        if hosts > HOSTS_MAX {
            bail!("{hosts} hosts are too many: {HOSTS_MAX} at most");
        }
        forget_dead_runs();
        let mut network = Self { names: Vec::new() };
        network.add("switch")?;
        let switch = network.names[0].clone();
        ip(&["-n", &switch, "link", "add", "br0", "type", "bridge"])?;
        ip(&["-n", &switch, "addr", "add", &format!("{}/24", address(0)), "dev", "br0"])?;
        ip(&["-n", &switch, "link", "set", "br0", "up"])?;
        for number in 1..=hosts {
            network.add(&number.to_string())?;
            network.plug_in(number)?;
        }
        Ok(network)
    }

    /// The hosts.
    pub(crate) fn host(&self, number: usize) -> Host {
        assert!(number + 1 < self.names.len(), "the network has as many hosts as it was made with");
        Host(number + 1)
    }

    /// Whoever is at the switch reaches all hosts, whatever keeps those apart.
    pub(crate) fn switch(&self) -> Host {
        Host(0)
    }

    /// Starts a program at a host.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn start(
        &self,
        host: Host,
        name: &str,
        program: &Path,
        arguments: &[String],
        environment: &[(&str, String)],
        directory: &Path,
    ) -> anyhow::Result<Process> {
        let mut all = vec!["netns".to_owned(), "exec".to_owned(), self.names[host.0].clone()];
        if !environment.is_empty() {
            all.push("env".to_owned());
            all.extend(environment.iter().map(|(key, value)| format!("{key}={value}")));
        }
        all.push(program.display().to_string());
        all.extend_from_slice(arguments);
        // Each of these becomes the next, so that the process is the program itself.
        Process::start(name, Path::new("ip"), all, directory)
    }

    /// Runs a program at a host to its end. It prints where we print.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn run(&self, host: Host, program: &Path, arguments: &[String]) -> anyhow::Result<ExitStatus> {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.names[host.0]]).arg(program).args(arguments);
        command.status().context("ip is missing: see tests/chaos/run")
    }

    /// What `from` sends does not reach `to`, and nobody is told.
    ///
    /// # Errors
    /// When the filter refuses.
    pub(crate) fn cut(&self, from: Host, to: Host) -> anyhow::Result<()> {
        let rule = format!("add rule ip chaos in ip saddr {} drop", address(from.0));
        self.filter(to, &rule)
    }

    /// All that was cut at these hosts is whole again.
    ///
    /// # Errors
    /// When the filter refuses.
    pub(crate) fn heal(&self, hosts: &[Host]) -> anyhow::Result<()> {
        hosts.iter().try_for_each(|host| self.filter(*host, "flush chain ip chaos in"))
    }

    fn filter(&self, host: Host, command: &str) -> anyhow::Result<()> {
        run("ip", &["netns", "exec", &self.names[host.0], "nft", command])
    }

    fn add(&mut self, name: &str) -> anyhow::Result<()> {
        let name = format!("{PREFIX}{}-{name}", std::process::id());
        ip(&["netns", "add", &name]).context("partitions need root and network namespaces")?;
        self.names.push(name.clone());
        ip(&["-n", &name, "link", "set", "lo", "up"])?;
        FILTER.iter().try_for_each(|command| run("ip", &["netns", "exec", &name, "nft", command]))
    }

    fn plug_in(&self, number: usize) -> anyhow::Result<()> {
        let (switch, name, port) = (&self.names[0], &self.names[number], format!("port{number}"));
        ip(&["-n", switch, "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", name])?;
        ip(&["-n", switch, "link", "set", &port, "master", "br0", "up"])?;
        ip(&["-n", name, "addr", "add", &format!("{}/24", address(number)), "dev", "eth0"])?;
        ip(&["-n", name, "link", "set", "eth0", "up"])
    }
}

impl Host {
    /// Where a server listens at this host.
    pub(crate) fn at(self, port: u16) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(address(self.0)), port)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in &self.names {
            // Nothing can be done about one that stays but to try again in the next run.
            let _ = ip(&["netns", "del", name]);
        }
    }
}

/// What of a conversation with a server does not arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lost {
    Requests,
    Replies,
    Both,
}

/// What goes to servers of the host that this process is at, or comes from them, is lost, and nobody is told.
///
/// # Errors
/// When the filter refuses.
pub(crate) fn cut_here(servers: &[SocketAddr], lost: Lost) -> anyhow::Result<()> {
    for server in servers {
        let (address, port) = (server.ip(), server.port());
        if lost != Lost::Replies {
            filter_here(&format!("add rule ip chaos in ip daddr {address} tcp dport {port} drop"))?;
        }
        if lost != Lost::Requests {
            filter_here(&format!("add rule ip chaos in ip saddr {address} tcp sport {port} drop"))?;
        }
    }
    Ok(())
}

/// All that was cut at the host that this process is at is whole again.
///
/// # Errors
/// When the filter refuses.
pub(crate) fn heal_here() -> anyhow::Result<()> {
    filter_here("flush chain ip chaos in")
}

fn filter_here(command: &str) -> anyhow::Result<()> {
    run("nft", &[command])
}

/// Takes away what a run that was killed has left.
fn forget_dead_runs() {
    let listed = std::fs::read_dir("/run/netns").into_iter().flatten().flatten();
    for name in listed.map(|entry| entry.file_name().to_string_lossy().into_owned()) {
        let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        let dead = pid.is_some_and(|pid| !PathBuf::from(format!("/proc/{pid}")).exists());
        if dead {
            let _ = ip(&["netns", "del", &name]);
        }
    }
}

fn address(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, u8::try_from(number + 1).expect("hosts are few"))
}

fn ip(arguments: &[&str]) -> anyhow::Result<()> {
    run("ip", arguments)
}

fn run(program: &str, arguments: &[&str]) -> anyhow::Result<()> {
    let done = Command::new(program).args(arguments).output();
    let done = done.with_context(|| format!("{program} is missing: see tests/chaos/run"))?;
    if done.status.success() {
        return Ok(());
    }
    bail!("{program} {}: {}", arguments.join(" "), String::from_utf8_lossy(&done.stderr).trim())
}
