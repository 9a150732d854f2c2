//! async-memcached: a connection is one caller's.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use async_memcached::{AsciiProtocol, Client};

use super::{Caller, WRONG};
use crate::keys::{KEY_BYTES, Keys, is_value_of};

/// Connects.
pub(crate) async fn connect(address: SocketAddr) -> Result<Client> {
    Ok(Client::new(format!("tcp://{address}")).await?)
}

/// Reads one key a call.
pub(crate) struct Single(pub(crate) Client);

impl Caller for Single {
    async fn call(&mut self, keys: &mut Keys) -> Result<u64> {
        let value = self.0.get(keys.next()).await?.and_then(|value| value.data);
        ensure!(value.is_some_and(|value| keys.is_right(&value)), WRONG);
        Ok(1)
    }
}

/// Reads many keys a call.
pub(crate) struct Batch {
    pub(crate) client: Client,
    pub(crate) keys: usize,
    pub(crate) value_bytes: usize,
}

impl Caller for Batch {
    async fn call(&mut self, keys: &mut Keys) -> Result<u64> {
        let asked: Vec<[u8; KEY_BYTES]> = (0..self.keys).map(|_| keys.next()).collect();
        let found = self.client.get_multi(&asked).await?;
        let is_right = |value: &async_memcached::Value| {
            value.data.as_ref().is_some_and(|data| is_value_of(&data[..KEY_BYTES], data, self.value_bytes))
        };
        ensure!(found.iter().filter(|value| is_right(value)).count() == asked.len(), WRONG);
        Ok(asked.len() as u64)
    }
}
