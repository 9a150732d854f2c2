//! Ours: one zone of one node, from a list.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use evanesce_client::{Client, StaticNodes};

use super::{Caller, WRONG};
use crate::keys::{KEY_BYTES, Keys, is_value_of};

/// The others wait for ever, and a machine with other work lets a server wait for longer than a read may by default.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Connects.
pub(crate) async fn connect(address: SocketAddr) -> Result<Client> {
    let nodes = StaticNodes::new().node("a", "n1", address);
    let client = Client::builder("CLIENTS").nodes(nodes).zone("a");
    Ok(client.read_attempt_timeout(TIMEOUT).read_timeout(TIMEOUT).connect().await?)
}

/// Reads one key a call.
pub(crate) struct Single(pub(crate) Client);

impl Caller for Single {
    async fn call(&mut self, keys: &mut Keys) -> Result<u64> {
        let value = self.0.get(keys.next()).await?;
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
        let found = self.client.get_many(&asked).await?;
        if let Some((_, error)) = found.failed.into_iter().next() {
            return Err(error.into());
        }
        let right = found.hits.iter().filter(|(key, value)| is_value_of(key, value, self.value_bytes));
        ensure!(right.count() == asked.len(), WRONG);
        Ok(asked.len() as u64)
    }
}
