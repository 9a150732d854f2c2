//! One memcached address: one pipelined connection, meta commands, as stock memcached has them since 1.6.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use evanesce_transport::{Connection, ConnectionOptions};
use evanesce_wire::request::{MetaGet, MetaSet, SetMode};
use evanesce_wire::{Exptime, MetaFlagsBuf, MetaKey, MetaStatus, Reply, Request};
use tokio::time::Instant;

use super::{Cache, Stored};

/// A connection to one server.
pub(crate) struct Plain {
    connection: Connection,
    ttl: Exptime,
    timeout: Duration,
}

impl Plain {
    /// Connects, and asks for the version to know that somebody answers.
    ///
    /// # Errors
    /// When nobody does.
    pub(crate) async fn connect(
        address: SocketAddr,
        ttl: Duration,
        timeout: Duration,
    ) -> anyhow::Result<Plain> {
        let connection = Connection::spawn(address, ConnectionOptions::default());
        let ttl = Exptime(i64::try_from(ttl.as_secs()).context("the TTL is too long")?);
        let plain = Plain { connection, ttl, timeout };
        match plain.call(&Request::Version).await? {
            Reply::Version(_) => Ok(plain),
            other => bail!("{address} is no memcached: it answered {other:?}"),
        }
    }

    async fn call(&self, request: &Request<'_>) -> anyhow::Result<Reply> {
        Ok(self.connection.call(request, Instant::now() + self.timeout).await?)
    }
}

impl Cache for Plain {
    async fn get(&self, key: &[u8]) -> anyhow::Result<Option<Bytes>> {
        let key = MetaKey::new(key).context("the key is too long")?;
        let flags = MetaFlagsBuf::for_key(&key).flag(b'v');
        let request = Request::MetaGet(MetaGet {
            flags: flags.as_flags(),
            key,
            value: true,
            quiet: false,
            touch: None,
            vivify: None,
            recache_below: None,
            compare: None,
            cas_override: None,
            counts_as_access: true,
            insists: false,
            promise: None,
        });
        match self.call(&request).await? {
            Reply::Meta(reply) if reply.status == MetaStatus::Miss => Ok(None),
            Reply::Meta(reply) => Ok(Some(reply.value.context("a hit came without its value")?)),
            other => bail!("the server answered {other:?}"),
        }
    }

    async fn set(&self, key: &[u8], value: &Bytes) -> anyhow::Result<Stored> {
        let key = MetaKey::new(key).context("the key is too long")?;
        let flags = MetaFlagsBuf::for_key(&key).number(b'T', self.ttl.0);
        let request = Request::MetaSet(MetaSet {
            flags: flags.as_flags(),
            key,
            mode: SetMode::Set,
            client_flags: 0,
            exptime: Some(self.ttl),
            compare: None,
            cas_override: None,
            invalidate: false,
            vivify: None,
            version: None,
            decides: None,
            repair: false,
            quiet: false,
            value,
        });
        match self.call(&request).await? {
            Reply::Meta(reply) if reply.status == MetaStatus::Done => Ok(Stored::Full),
            other => bail!("the server answered {other:?}"),
        }
    }
}
