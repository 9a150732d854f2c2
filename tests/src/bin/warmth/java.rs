//! EVCache's Java client as a writer: a process that changes keys as it is told, a line at a time.

use std::fs::File;
use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, bail};
use evanesce_topology::{ServerGroup, Topology};

use crate::Bench;

/// What Maven made, in the suite's directory.
const BUILT: &str = "java";
/// The client's own prefix, which it sets before each key.
const CACHE_PREFIX: &str = "p:";

/// The process. It ends when this is dropped.
pub(crate) struct Java {
    child: Child,
    input: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Java {
    /// What its keys begin with, as others see them.
    pub(crate) const PREFIX: &'static str = "p:java";

    /// Starts it with a list of nodes.
    ///
    /// # Errors
    /// When it was not built, or does not start.
    pub(crate) fn start(bench: &Bench, nodes: &str) -> anyhow::Result<Self> {
        let built = bench.directory.join(BUILT);
        let classpath = std::fs::read_to_string(built.join("classpath"))
            .context("Maven has not run: tests/warmth/run calls it")?;
        let classpath = format!("{}:{}", built.join("classes").display(), classpath.trim());
        let mut child = Command::new("java")
            .args(["-XX:+UseSerialGC", "-Xmx256m", "--add-opens", "java.base/java.lang=ALL-UNNAMED"])
            .args(["-cp", &classpath, "evanesce.interop.Main", "binary", "changes", "0", nodes])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(bench.directory.join("java-changes.log"))?)
            .spawn()
            .context("cannot start java")?;
        let input = child.stdin.take().context("its input is piped")?;
        let answers = BufReader::new(child.stdout.take().context("its output is piped")?).lines();
        let mut java = Self { child, input, answers };
        // It is up when it answers: its start is to disturb nothing that is measured.
        java.follow(nodes)?;
        Ok(java)
    }

    /// Gives a key a value, or deletes it, in all groups.
    ///
    /// # Errors
    /// When the client says that it did not.
    pub(crate) fn change(&mut self, key: &str, value: Option<&str>) -> anyhow::Result<()> {
        let key = key.strip_prefix(CACHE_PREFIX).context("a key without the client's prefix")?;
        match value {
            Some(value) => self.tell(&format!("set {key} {value}")),
            None => self.tell(&format!("delete {key}")),
        }
    }

    /// Has it take over another list of nodes.
    ///
    /// # Errors
    /// When it does not.
    pub(crate) fn follow(&mut self, nodes: &str) -> anyhow::Result<()> {
        self.tell(&format!("nodes {nodes}"))
    }

    /// Libraries may print what is no answer.
    fn tell(&mut self, line: &str) -> anyhow::Result<()> {
        writeln!(self.input, "{line}").with_context(|| format!("{line}: it is gone"))?;
        for answer in self.answers.by_ref() {
            let answer = answer?;
            if let Some(reason) = answer.strip_prefix("FAILED ") {
                bail!("{line}: {reason}");
            }
            if answer == "OK" {
                return Ok(());
            }
        }
        bail!("{line}: it ended")
    }
}

impl Drop for Java {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The nodes that are read, in EVCache's syntax: `zone=name/ip:port,...;...`, the client's own zone first.
pub(crate) fn node_list(topology: &Topology, own: &str) -> String {
    let mut groups: Vec<_> = topology.groups.iter().collect();
    groups.sort_by_key(|group| (group.zone != own, &group.zone));
    let group = |group: &ServerGroup| {
        let mut nodes: Vec<String> =
            group.nodes.iter().map(|node| format!("{}/{}", node.name, node.memcached)).collect();
        nodes.sort();
        format!("{}={}", group.zone, nodes.join(","))
    };
    groups.into_iter().map(group).collect::<Vec<_>>().join(";")
}
