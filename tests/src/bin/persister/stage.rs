//! A cluster, and gateways with backing stores before it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use evanesce_tests::{Deadline, Process, Programs, Up, eventually, free_port, wait_for_memcached};

use crate::talk::Talk;

/// A log has gone to its store by then: tens of thousands of writes, on a slow machine.
const DRAIN_LIMIT: Duration = Duration::from_secs(120);

/// Two zones of a node each, so that there is a copy to disagree.
const SHAPE: [&str; 4] = ["--zones", "2", "--nodes", "1"];

/// Of a node: more than what is written.
const MEMORY: &str = "128MiB";

/// A cluster.
pub(crate) struct Stage {
    pub(crate) up: Up,
    program: PathBuf,
    directory: PathBuf,
}

impl Stage {
    pub(crate) fn start(programs: &Programs, directory: &Path, name: &str) -> anyhow::Result<Self> {
        Self::start_small(programs, directory, name, MEMORY)
    }

    /// One of nodes with so much memory.
    pub(crate) fn start_small(
        programs: &Programs,
        directory: &Path,
        name: &str,
        memory: &str,
    ) -> anyhow::Result<Self> {
        let shape = [&SHAPE[..], &["--memory", memory]].concat();
        let up = Up::start(programs, directory, &format!("up-{name}"), &shape)?;
        Ok(Self { up, program: programs.evanesce.clone(), directory: directory.to_owned() })
    }

    /// A gateway of this zone, which is not started yet. `DIR` in the namespaces is a directory of its own.
    pub(crate) fn gateway(&self, name: &str, zone: usize, persister: &str) -> anyhow::Result<Gateway> {
        let directory = self.directory.join(name);
        std::fs::create_dir_all(&directory)?;
        let file = directory.join("persister.toml");
        std::fs::write(&file, persister.replace("DIR", &directory.display().to_string()))?;
        let report = &self.up.report;
        let zones = report.zones();
        let (address, grpc, http) = (free_port()?, free_port()?, free_port()?);
        let options = [
            ("--cluster", report.cluster.clone()),
            ("--zone", zones[zone % zones.len()].clone()),
            ("--discovery", report.discoveries()),
            ("--listen", address.to_string()),
            ("--grpc", grpc.to_string()),
            ("--http", http.to_string()),
            ("--threads", "1".to_owned()),
            ("--persister", file.display().to_string()),
        ];
        let mut command = vec![self.program.display().to_string(), "gateway".to_owned()];
        command.extend(options.into_iter().flat_map(|(name, value)| [name.to_owned(), value]));
        Ok(Gateway { address, grpc, http, directory, command, starts: 0, process: None })
    }

    /// A gateway that serves.
    pub(crate) fn started(&self, name: &str, zone: usize, persister: &str) -> anyhow::Result<Gateway> {
        let mut gateway = self.gateway(name, zone, persister)?;
        gateway.start()?;
        Ok(gateway)
    }

    /// The nodes, each with a copy of everything.
    pub(crate) fn nodes(&self) -> Vec<SocketAddr> {
        self.up.report.nodes.iter().map(|node| node.memcached).collect()
    }

    /// Runs `evanesce ctl`; what it printed.
    pub(crate) fn ctl(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = std::process::Command::new(&self.program).arg("ctl").args(arguments).output()?;
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        anyhow::ensure!(
            output.status.success(),
            "ctl {arguments:?} ended with {}: {printed}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(printed)
    }
}

/// A gateway.
pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    pub(crate) grpc: SocketAddr,
    pub(crate) http: SocketAddr,
    /// What its file calls DIR.
    pub(crate) directory: PathBuf,
    /// What starts it; a program that becomes it may be set before it.
    pub(crate) command: Vec<String>,
    starts: usize,
    pub(crate) process: Option<Process>,
}

impl Gateway {
    /// Starts it, and waits until it serves.
    pub(crate) fn start(&mut self) -> anyhow::Result<()> {
        self.starts += 1;
        let (program, arguments) = self.command.split_first().context("an empty command")?;
        let name = format!("gateway-{}", self.starts);
        let process = Process::start(&name, Path::new(program), arguments, &self.directory)?;
        let served = wait_for_memcached(self.address);
        served.with_context(|| format!("the gateway printed:\n{}", process.printed()))?;
        self.process = Some(process);
        Ok(())
    }

    /// `kill -9`, unless it does not run.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    pub(crate) fn pid(&self) -> anyhow::Result<u32> {
        Ok(self.process.as_ref().context("it does not run")?.pid())
    }

    /// What it logged since its last start.
    pub(crate) fn printed(&self) -> String {
        self.process.as_ref().map(Process::printed).unwrap_or_default()
    }

    /// One of the numbers of `stats persister`.
    pub(crate) async fn number(&self, name: &str) -> anyhow::Result<u64> {
        let stats = Talk::to(self.address).await?.stats().await?;
        let value = stats.get(name).with_context(|| format!("stats has no {name}"))?;
        Ok(value.parse()?)
    }

    /// Waits until nothing waits in the log of a namespace.
    pub(crate) async fn drained(&self, namespace: &str) -> anyhow::Result<()> {
        let name = format!("{namespace}:log_waiting");
        let begun = tokio::time::Instant::now();
        loop {
            let waiting = self.number(&name).await?;
            if waiting == 0 {
                return Ok(());
            }
            anyhow::ensure!(begun.elapsed() < DRAIN_LIMIT, "{waiting} writes wait in the log still");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Its metrics, as Prometheus gets them.
    pub(crate) fn metrics(&self) -> anyhow::Result<String> {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(self.http)?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    }
}

/// Waits for something a gateway logs.
pub(crate) fn logs(gateway: &Gateway, text: &str) -> anyhow::Result<()> {
    let found = || gateway.printed().contains(text).then_some(());
    Ok(eventually(text, Deadline::within(Duration::from_secs(30)), found)?)
}
