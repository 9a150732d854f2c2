//! memcache-async: a connection is one caller's.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use memcache_async::ascii::Protocol;
use tokio::net::TcpStream;

use super::{Caller, WRONG};
use crate::keys::Keys;

/// Reads one key a call.
pub(crate) struct Single(Protocol<TcpStream>);

/// Connects.
pub(crate) async fn connect(address: SocketAddr) -> Result<Single> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(Single(Protocol::new(stream)))
}

impl Caller for Single {
    async fn call(&mut self, keys: &mut Keys) -> Result<u64> {
        let value = self.0.get(keys.next()).await?;
        ensure!(keys.is_right(&value), WRONG);
        Ok(1)
    }
}
