//! Starts the real binary, and ends by pid whatever it started.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::thread::park_timeout;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;

/// How long anything may take on a machine under load; nothing waits this long unless it fails.
const PATIENCE: Duration = Duration::from_secs(40);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// A server that stopped answering must not stop the tests.
const SOCKET_TIMEOUT: Duration = Duration::from_secs(10);

/// Looks until there is something, or fails saying what was awaited.
pub(crate) fn eventually<T>(awaited: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain: {awaited}");
        park_timeout(LOOK_EVERY);
    }
}

/// The binary, deaf to the environment of whoever runs the tests.
pub(crate) fn evanesce() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_evanesce"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("EVANESCE_")) {
        command.env_remove(name);
    }
    command.env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

/// Runs the binary to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    evanesce().args(arguments).output().unwrap()
}

/// What a process said, as text.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Sends all, and reads until the peer closes: end with `quit`.
pub(crate) fn exchange(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SOCKET_TIMEOUT)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Whether a process runs; one that ended and that nobody waited for does not.
pub(crate) fn is_running(pid: u32) -> bool {
    let known = Pid::from_raw(i32::try_from(pid).unwrap()).is_some_and(|pid| test_kill_process(pid).is_ok());
    let buried = std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z')));
    known && !buried
}

/// Signals one process.
pub(crate) fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// A process that is killed when dropped.
pub(crate) struct Process(pub(crate) Child);

impl Process {
    /// Waits for its end and returns its exit code; `None` when a signal ended it.
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        eventually("the process ends", || self.0.try_wait().unwrap()).code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.0.try_wait().unwrap().is_none() {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }
}

/// A node by itself on ports that the kernel chose.
pub(crate) struct Standalone {
    /// The process.
    pub(crate) process: Process,
    /// Where it speaks memcached.
    pub(crate) memcached: SocketAddr,
    /// Everywhere it listens, with commas between.
    listen: String,
    log: BufReader<ChildStderr>,
}

impl Standalone {
    /// Starts one and reads where it is from its log.
    pub(crate) fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = evanesce();
        command.args(["node", "--standalone", "--log-format", "json"]).args(arguments);
        command.envs(environment.iter().copied());
        Self::of(command)
    }

    /// Starts what logs as JSON where it is.
    pub(crate) fn of(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let process = Process(child);
        let line =
            log.by_ref().lines().map(Result::unwrap).find(|line| line.contains("node serves")).unwrap();
        let line: Value = serde_json::from_str(&line).unwrap();
        let listen = line["fields"]["listen"].as_str().unwrap_or_default().to_owned();
        Self { process, memcached: address(&line["fields"]["memcached"]), listen, log }
    }

    /// Where it speaks TLS.
    pub(crate) fn tls(&self) -> SocketAddr {
        let tls = self.listen.split(',').find_map(|place| place.strip_prefix("tls://"));
        tls.unwrap_or_else(|| panic!("no TLS in {}", self.listen)).parse().unwrap()
    }

    /// What it logged since it serves, to its end.
    pub(crate) fn rest_of_log(&mut self) -> String {
        let mut rest = String::new();
        self.log.read_to_string(&mut rest).unwrap();
        rest
    }
}

/// A role that logs as JSON, to a file that can be read while it runs.
pub(crate) struct Logged {
    /// The process.
    pub(crate) process: Process,
    log: tempfile::NamedTempFile,
}

impl Logged {
    /// Starts a role.
    pub(crate) fn start(role: &str, arguments: &[&str]) -> Self {
        let log = tempfile::NamedTempFile::new().unwrap();
        let mut command = evanesce();
        command.args([role, "--log-format", "json"]).args(arguments).stderr(log.reopen().unwrap());
        Self { process: Process(command.spawn().unwrap()), log }
    }

    /// What it logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap()
    }

    /// Waits until it serves, and returns an address that it told then.
    pub(crate) fn serves_at(&mut self, field: &str) -> SocketAddr {
        eventually("it serves", || {
            let ended = self.process.0.try_wait().unwrap();
            assert!(ended.is_none(), "it ended: {ended:?}\n{}", self.log());
            let log = self.log();
            let line = log.lines().find(|line| line.contains(" serves\""))?;
            let line: Value = serde_json::from_str(line).ok()?;
            Some(address(&line["fields"][field]))
        })
    }
}

/// Writes one thing in PEM form.
pub(crate) fn write_pem(path: &Path, kind: &str, der: &[u8]) {
    let text = format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", BASE64_STANDARD.encode(der));
    std::fs::write(path, text).unwrap();
}

/// A cluster of `evanesce up`. Ended in order when dropped, else killed, its children with it.
pub(crate) struct Cluster {
    up: Process,
    dir: tempfile::TempDir,
    /// What `--json` wrote.
    pub(crate) json: Value,
}

impl Cluster {
    /// Two zones of two nodes, as fast as it goes, and what else is asked for.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let output = std::fs::File::create(dir.path().join("output")).unwrap();
        let mut command = evanesce();
        command.args(["up", "--memory", "16MiB", "--json"]).arg(json_path(&dir)).args(arguments);
        for (option, value) in [("--zones", "2"), ("--nodes", "2")] {
            if !arguments.contains(&option) {
                command.args([option, value]);
            }
        }
        if !arguments.contains(&"--data-dir") {
            command.arg("--data-dir").arg(dir.path().join("data"));
        }
        command.stdout(output.try_clone().unwrap()).stderr(output);
        let up = Process(command.spawn().unwrap());
        let mut cluster = Self { up, dir, json: Value::Null };
        cluster.json = eventually("the cluster is up", || {
            let ended = cluster.up.0.try_wait().unwrap();
            assert!(ended.is_none(), "up ended: {ended:?}\n{}", cluster.output());
            cluster.read_json()
        });
        cluster
    }

    /// What the file says now.
    pub(crate) fn read_json(&self) -> Option<Value> {
        let text = std::fs::read(json_path(&self.dir)).ok()?;
        Some(serde_json::from_slice(&text).expect("the file is whole whenever it is there"))
    }

    /// What `up` printed so far.
    pub(crate) fn output(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("output")).unwrap()
    }

    /// The process `up` itself.
    pub(crate) fn up(&mut self) -> &mut Process {
        &mut self.up
    }

    /// The pids of all children.
    pub(crate) fn children(&self) -> Vec<u32> {
        let all = self.list("discovery").iter().chain(self.list("nodes")).chain([&self.json["gateway"]]);
        all.map(pid).collect()
    }

    /// The processes under a key of the file.
    pub(crate) fn list(&self, key: &str) -> &[Value] {
        self.json[key].as_array().unwrap()
    }

    /// Where the gateway speaks memcached.
    pub(crate) fn gateway(&self) -> SocketAddr {
        address(&self.json["gateway"]["memcached"])
    }

    /// Runs `evanesce ctl` against the cluster's first discovery.
    pub(crate) fn ctl(&self, arguments: &[&str]) -> Output {
        let discovery = self.list("discovery")[0]["grpc"].as_str().unwrap();
        run(&[&["ctl", "--discovery", discovery], arguments].concat())
    }

    /// As [`Cluster::ctl`], with what it printed as JSON.
    pub(crate) fn ctl_json(&self, arguments: &[&str]) -> Value {
        let output = self.ctl(&[arguments, &["--json"]].concat());
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.up.0.try_wait().unwrap().is_none() {
            signal(self.up.0.id(), Signal::TERM);
            // However this ends, `up` is killed after it, and its children end with their pipe.
            eventually("up ends", || self.up.0.try_wait().unwrap());
        }
    }
}

fn json_path(dir: &tempfile::TempDir) -> PathBuf {
    Path::join(dir.path(), "cluster.json")
}

/// An address in JSON.
pub(crate) fn address(value: &Value) -> SocketAddr {
    value.as_str().unwrap_or_else(|| panic!("no address: {value}")).parse().unwrap()
}

/// The pid of a process in the file.
pub(crate) fn pid(process: &Value) -> u32 {
    u32::try_from(process["pid"].as_u64().unwrap()).unwrap()
}

/// The command line of a process in the file.
pub(crate) fn argv(process: &Value) -> Vec<&str> {
    process["argv"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect()
}
