//! A connection to a gateway or a node, as any memcached client has one.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A server that says nothing for so long will not, however slow the machine.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// What came of a read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Got {
    Value(String),
    Miss,
    /// The error line.
    Refused(String),
}

/// What came of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Put {
    /// With its version.
    Stored(u64),
    /// The error line.
    Refused(String),
}

/// A connection.
pub(crate) struct Talk {
    stream: BufReader<TcpStream>,
    line: String,
}

impl Talk {
    pub(crate) async fn to(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("nobody is at {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream), line: String::new() })
    }

    pub(crate) async fn send(&mut self, text: &str) -> anyhow::Result<()> {
        Ok(timeout(SILENCE_MAX, self.stream.write_all(text.as_bytes())).await??)
    }

    async fn line(&mut self) -> anyhow::Result<&str> {
        self.line.clear();
        let read = timeout(SILENCE_MAX, self.stream.read_line(&mut self.line)).await;
        ensure!(read.context("no answer")?? > 0, "the connection was closed");
        Ok(self.line.trim_end())
    }

    /// Reads the answer to a `get` of one key.
    pub(crate) async fn got(&mut self) -> anyhow::Result<Got> {
        let line = self.line().await?;
        if line == "END" {
            return Ok(Got::Miss);
        }
        if line.starts_with("SERVER_ERROR") {
            return Ok(Got::Refused(line.to_owned()));
        }
        ensure!(line.starts_with("VALUE "), "a get was answered {line:?}");
        let bytes: usize =
            line.rsplit(' ').next().and_then(|bytes| bytes.parse().ok()).context("a length")?;
        let mut value = vec![0; bytes + 2];
        timeout(SILENCE_MAX, self.stream.read_exact(&mut value)).await??;
        value.truncate(bytes);
        let end = self.line().await?;
        ensure!(end == "END", "{end:?} behind a value");
        Ok(Got::Value(String::from_utf8(value)?))
    }

    pub(crate) async fn get(&mut self, key: &str) -> anyhow::Result<Got> {
        self.send(&format!("get {key}\r\n")).await?;
        self.got().await
    }

    /// Stores, and answers with the version.
    pub(crate) async fn put(&mut self, key: &str, value: &str) -> anyhow::Result<Put> {
        self.send(&format!("ms {key} {} c\r\n{value}\r\n", value.len())).await?;
        let line = self.line().await?;
        if line.starts_with("SERVER_ERROR") {
            return Ok(Put::Refused(line.to_owned()));
        }
        let version = line.strip_prefix("HD c").and_then(|version| version.parse().ok());
        Ok(Put::Stored(version.with_context(|| format!("a set was answered {line:?}"))?))
    }

    /// `stats persister`.
    pub(crate) async fn stats(&mut self) -> anyhow::Result<HashMap<String, String>> {
        self.stats_of("persister").await
    }

    /// `stats`, of what is named.
    pub(crate) async fn stats_of(&mut self, what: &str) -> anyhow::Result<HashMap<String, String>> {
        self.send(format!("stats {what}").trim_end()).await?;
        self.send("\r\n").await?;
        let mut stats = HashMap::new();
        loop {
            let line = self.line().await?;
            if line == "END" {
                return Ok(stats);
            }
            let Some((name, value)) = line.strip_prefix("STAT ").and_then(|stat| stat.split_once(' ')) else {
                bail!("stats were answered {line:?}");
            };
            stats.insert(name.to_owned(), value.to_owned());
        }
    }
}
