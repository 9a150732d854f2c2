//! memcached as one more engine: over plain TCP, one request at a time.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use evanesce_store::Time;
use parking_lot::Mutex;

use crate::engine::Engine;

/// How long a memcached that was started may take until it accepts.
const START_MAX: Duration = Duration::from_secs(10);
/// Between two attempts to reach it.
const START_RETRY: Duration = Duration::from_millis(5);
/// How long one answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// The longest line of an answer that is read.
const LINE_BYTES_MAX: u64 = 4096;

/// A server that this process started, and ends.
pub(crate) struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    /// Starts one on a free loopback port with one thread and so much memory, and waits until it accepts.
    ///
    /// # Errors
    /// When it cannot be started or never accepts.
    pub(crate) fn start(binary: &Path, memory_bytes: u64) -> Result<Server> {
        // Free now, and most likely still a moment later.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let mut command = Command::new(binary);
        command.args([
            "-l",
            &address.ip().to_string(),
            "-p",
            &address.port().to_string(),
            "-U",
            "0",
            "-t",
            "1",
        ]);
        command.args(["-m", &(memory_bytes >> 20).to_string()]);
        if rustix::process::geteuid().is_root() {
            command.args(["-u", "root"]);
        }
        let child = command.stdin(Stdio::null()).spawn();
        let child = child.with_context(|| format!("cannot start {}", binary.display()))?;
        let mut server = Server { child, address };
        server.wait()?;
        Ok(server)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    fn wait(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_MAX;
        while TcpStream::connect(self.address).is_err() {
            ensure!(self.child.try_wait()?.is_none(), "memcached ended as it started");
            ensure!(Instant::now() < deadline, "memcached does not accept connections");
            #[expect(clippy::disallowed_methods, reason = "a foreign program tells nobody when it accepts")]
            std::thread::sleep(START_RETRY);
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing is left to do when it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connection to a memcached, in the classic text protocol.
pub(crate) struct Memcached {
    connection: Mutex<Connection>,
}

struct Connection {
    stream: BufReader<TcpStream>,
    request: Vec<u8>,
    line: Vec<u8>,
    /// Why it broke; from then on all are misses and refusals.
    broken: Option<anyhow::Error>,
}

impl Memcached {
    /// Connects, and flushes what is there.
    ///
    /// # Errors
    /// When nobody answers, or not as memcached does.
    pub(crate) fn connect(address: SocketAddr) -> Result<Memcached> {
        let stream = TcpStream::connect(address).with_context(|| format!("no memcached at {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        let (request, line) = (Vec::new(), Vec::new());
        let mut connection = Connection { stream: BufReader::new(stream), request, line, broken: None };
        connection.request.extend_from_slice(b"flush_all\r\n");
        connection.send()?;
        connection.read_line()?;
        ensure!(connection.line == b"OK", "{address} does not answer as a memcached");
        Ok(Memcached { connection: Mutex::new(connection) })
    }

    /// Whether every request was answered.
    ///
    /// # Errors
    /// What broke the connection.
    pub(crate) fn finish(&self) -> Result<()> {
        self.connection.lock().broken.take().map_or(Ok(()), Err)
    }
}

impl Connection {
    fn send(&mut self) -> io::Result<()> {
        self.stream.get_mut().write_all(&self.request)
    }

    /// Reads a line, without its end.
    fn read_line(&mut self) -> Result<()> {
        self.line.clear();
        (&mut self.stream).take(LINE_BYTES_MAX).read_until(b'\n', &mut self.line)?;
        ensure!(self.line.ends_with(b"\r\n"), "memcached closed the connection");
        self.line.truncate(self.line.len() - 2);
        Ok(())
    }

    fn get(&mut self, key: &[u8], out: &mut Vec<u8>) -> Result<bool> {
        self.request.clear();
        self.request.extend_from_slice(b"get ");
        self.request.extend_from_slice(key);
        self.request.extend_from_slice(b"\r\n");
        self.send()?;
        self.read_line()?;
        if self.line == b"END" {
            return Ok(false);
        }
        let bytes =
            value_bytes(&self.line).with_context(|| format!("bad answer {:?}", self.line.escape_ascii()))?;
        let start = out.len();
        out.resize(start + bytes + 2, 0);
        self.stream.read_exact(&mut out[start..])?;
        out.truncate(start + bytes);
        self.read_line()?;
        ensure!(self.line == b"END", "bad end of an answer");
        Ok(true)
    }

    fn set(&mut self, key: &[u8], value: &[u8], ttl: Option<Duration>) -> Result<bool> {
        self.request.clear();
        self.request.extend_from_slice(b"set ");
        self.request.extend_from_slice(key);
        let seconds = ttl.unwrap_or_default().as_secs();
        write!(self.request, " 0 {seconds} {}\r\n", value.len())?;
        self.request.extend_from_slice(value);
        self.request.extend_from_slice(b"\r\n");
        self.send()?;
        self.read_line()?;
        match self.line.as_slice() {
            b"STORED" => Ok(true),
            line if line.starts_with(b"SERVER_ERROR") => Ok(false),
            line => bail!("bad answer {:?}", line.escape_ascii()),
        }
    }
}

/// Bytes of the value that a line `VALUE <key> <flags> <bytes>` announces.
fn value_bytes(line: &[u8]) -> Option<usize> {
    let line = std::str::from_utf8(line).ok()?.strip_prefix("VALUE ")?;
    line.split(' ').nth(2)?.parse().ok()
}

impl Engine for Memcached {
    fn get(&self, key: &[u8], _now: Time, out: &mut Vec<u8>) -> bool {
        let mut connection = self.connection.lock();
        if connection.broken.is_some() {
            return false;
        }
        connection.get(key, out).unwrap_or_else(|error| {
            connection.broken = Some(error);
            false
        })
    }

    fn set(&self, key: &[u8], value: &[u8], ttl: Option<Duration>, _now: Time) -> bool {
        let mut connection = self.connection.lock();
        if connection.broken.is_some() {
            return false;
        }
        connection.set(key, value, ttl).unwrap_or_else(|error| {
            connection.broken = Some(error);
            false
        })
    }

    fn items(&self) -> Option<u64> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::value_bytes;

    #[test]
    fn size_is_read_from_the_line_before_a_value() {
        assert_eq!(value_bytes(b"VALUE kkk1 0 150"), Some(150));
        assert_eq!(value_bytes(b"VALUE kkk1 0 150 77"), Some(150));
        assert_eq!(value_bytes(b"VALUE kkk1"), None);
        assert_eq!(value_bytes(b"ERROR"), None);
    }
}
