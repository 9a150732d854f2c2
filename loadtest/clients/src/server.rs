//! The server: stock memcached, started here or elsewhere, filled.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::thread::park_timeout;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::args::CompareArgs;
use crate::compare::on_core;
use crate::keys::{key, value};

/// A memcached that does not answer by then is not coming.
const START_MAX: Duration = Duration::from_secs(10);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(10);
/// Enough for any load here.
const MEMORY_MIB: &str = "1024";
/// One write.
const FILL_BYTES: usize = 1 << 20;

/// Where to work. Dropping it ends what was started.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    child: Option<Child>,
}

impl Server {
    /// Starts it, unless it runs already.
    ///
    /// # Errors
    /// When it does not come up.
    pub(crate) fn start(args: &CompareArgs) -> Result<Self> {
        if let Some(address) = args.address {
            return Ok(Self { address, child: None });
        }
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let mut command = on_core(0, &args.memcached, args.no_pin);
        command.args(["-l", "127.0.0.1", "-p", &address.port().to_string(), "-U", "0", "-t", "1"]);
        command.args(["-m", MEMORY_MIB, "-c", "4096", "-u", "nobody"]).stdin(Stdio::null());
        let mut server = Self { address, child: Some(command.spawn()?) };
        server.wait()?;
        Ok(server)
    }

    /// Writes all items.
    ///
    /// # Errors
    /// When the server does not take them.
    pub(crate) fn fill(&self, keys: u32, value_bytes: usize) -> Result<()> {
        let mut stream = TcpStream::connect(self.address)?;
        let mut out = Vec::with_capacity(2 * FILL_BYTES);
        for number in 0..keys {
            let key = key(number);
            write!(out, "set {} 0 0 {value_bytes} noreply\r\n", String::from_utf8_lossy(&key))?;
            out.extend_from_slice(&value(&key, value_bytes));
            out.extend_from_slice(b"\r\n");
            if out.len() > FILL_BYTES {
                stream.write_all(&out)?;
                out.clear();
            }
        }
        out.extend_from_slice(b"version\r\n");
        stream.write_all(&out)?;
        let mut answer = [0; 64];
        let length = stream.read(&mut answer)?;
        if !answer[..length].starts_with(b"VERSION ") {
            bail!("the server does not take the items: {}", String::from_utf8_lossy(&answer[..length]));
        }
        Ok(())
    }

    fn wait(&mut self) -> Result<()> {
        let began = Instant::now();
        while TcpStream::connect(self.address).is_err() {
            if let Some(Ok(Some(status))) = self.child.as_mut().map(Child::try_wait) {
                bail!("memcached ended with {status}");
            }
            if began.elapsed() > START_MAX {
                bail!("memcached does not answer at {}", self.address);
            }
            park_timeout(PAUSE);
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // Either fails only when it has ended.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
