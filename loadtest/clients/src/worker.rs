//! A worker's process, as the comparison sees it.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// A client in a process of its own. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Worker {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Worker {
    /// Starts it and waits until it is connected.
    ///
    /// # Errors
    /// When it does not start or connect; it has said on stderr why.
    pub(crate) fn start(name: &str, mut command: Command) -> Result<Self> {
        let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = started.with_context(|| format!("cannot start {name}"))?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().context("it has no output")?);
        let mut worker = Self { name: name.to_owned(), child, input, output };
        let line = worker.line()?;
        if line != "ready" {
            bail!("{name} said {line:?} in place of ready");
        }
        Ok(worker)
    }

    /// What it is called.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Lets it work so long. Returns its processor time for each key read, in microseconds.
    ///
    /// # Errors
    /// When it ended, or read nothing.
    pub(crate) fn work(&mut self, time: Duration) -> Result<f64> {
        let input = self.input.as_mut().expect("it is there until the drop");
        writeln!(input, "{}", time.as_millis()).with_context(|| format!("{} ended", self.name))?;
        let line = self.line()?;
        let numbers = line
            .split_once(' ')
            .and_then(|(keys, nanos)| Some((keys.parse::<f64>().ok()?, nanos.parse::<f64>().ok()?)));
        match numbers {
            Some((keys, nanos)) if keys > 0.0 => Ok(nanos / keys / 1e3),
            _ => bail!("{} said {line:?} in place of keys read and processor time", self.name),
        }
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            bail!("{} ended: see what it said above", self.name);
        }
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.input.take());
        // It ends with its input; one that works still is not waited for. Either fails only when it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
