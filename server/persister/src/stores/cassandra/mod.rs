//! Cassandra and ScyllaDB: one table, each write with its version as its timestamp.
//!
//! ```text
//!  key   value  flags   expires_at             WRITETIME
//!  blob  blob   bigint  seconds since 1970,    the version
//!                       null when it does not
//! ```
//!
//! The newer of two writes stays whatever order they come in, since Cassandra decides by timestamps; it does not tell
//! which it was, so an older write is [`Applied::Yes`] and changes nothing. Versions are larger than the microseconds
//! that other programs' writes are stamped with: such a write creates a row, but does not change one of ours.
//!
//! ScyllaDB refuses timestamps of the future unless its nodes have `restrict_future_timestamp: false`, which this store needs.
//!
//! What a failed node was asked the driver asks another; nothing else is retried here. There is no TLS: the driver's
//! brings a second provider of cryptography along, beside which ours would panic.

mod refusal;
mod session;
mod settings;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt};
use tokio::time::{Instant, timeout_at};

use super::link::Link;
use crate::clock::unix_now;
use crate::store::{
    Abilities, Applied, BackingStore, Change, KeyChange, Loaded, Outcome, StoreError, StoreItem, failed_all,
};
use session::Prepared;
pub use settings::{Level, Settings};

/// Largest value: a quarter of the largest mutation that nodes take by default, beyond which they suffer.
const VALUE_BYTES_MAX: usize = 4 << 20;

/// Keys of one call. Each is a statement of its own, since each has another owner.
const BATCH_MAX: usize = 256;

/// Statements of one call under way at once: enough for the network, few for a node's queue of 128 by default.
const STATEMENTS_MAX: usize = 32;

/// From here on, in 2038, servers that can go back to an older format know no expiry: such items expire by our column alone.
const EXPIRY_MAX: u64 = i32::MAX as u64;

/// Longest TTL that servers take: 20 years.
const TTL_SECS_MAX: u64 = 630_720_000;

/// A table of a Cassandra or ScyllaDB cluster. It is connected to when it is first needed; the driver sees to lost
/// connections.
pub struct Cassandra {
    settings: Settings,
    link: Link<Arc<Prepared>>,
}

impl std::fmt::Debug for Cassandra {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cassandra").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Cassandra {
    async fn load_one(&self, prepared: &Prepared, key: &Bytes, deadline: Instant) -> Loaded {
        let asked = prepared.session.execute_unpaged(&prepared.load, (&key[..],));
        let rows = timeout_at(deadline, asked).await.map_err(|_| StoreError::timeout())?;
        let rows = rows.map_err(|error| self.settings.error(&error))?;
        let other = |error: &dyn std::error::Error| {
            let [_, create] = self.settings.schema();
            StoreError::permanent(format!(
                "{} is another table: {error}; it must be as: {create}",
                self.settings.table
            ))
        };
        let rows = rows.into_rows_result().map_err(|error| other(&error))?;
        let row = rows.maybe_first_row::<(Option<Vec<u8>>, Option<i64>, Option<i64>, Option<i64>)>();
        let Some((Some(value), flags, expires_at, written)) = row.map_err(|error| other(&error))? else {
            return Ok(None);
        };
        let expires_at = expires_at.map(|at| u64::try_from(at).unwrap_or(0));
        if expires_at.is_some_and(|at| at <= unix_now()) {
            return Ok(None);
        }
        let flags = flags.and_then(|flags| u32::try_from(flags).ok()).unwrap_or(0);
        let version = written.and_then(|written| u64::try_from(written).ok());
        Ok(Some(StoreItem { value: value.into(), flags, expires_at, version }))
    }

    async fn write_one(&self, prepared: &Prepared, change: &KeyChange, deadline: Instant) -> Outcome {
        let version = i64::try_from(change.version)
            .map_err(|_| StoreError::permanent("the version has more than 63 bits"))?;
        let (key, now) = (&change.key[..], unix_now());
        let written = match &change.change {
            Change::Put(item) if item.value.len() > VALUE_BYTES_MAX => {
                let bytes = item.value.len();
                return Err(StoreError::permanent(format!("the value has {bytes} bytes, more than 4 MiB")));
            }
            Change::Put(item) if item.expires_at.is_none_or(|at| at > now) => {
                let at = item.expires_at.map(|at| i64::try_from(at).unwrap_or(i64::MAX));
                let row =
                    (key, &item.value[..], i64::from(item.flags), at, version, ttl(item.expires_at, now));
                timeout_at(deadline, prepared.session.execute_unpaged(&prepared.put, row)).await
            }
            // What has expired already is as good as deleted, and a TTL of 0 would be none.
            Change::Put(_) | Change::Delete => {
                timeout_at(deadline, prepared.session.execute_unpaged(&prepared.delete, (version, key))).await
            }
        };
        let written = written.map_err(|_| StoreError::timeout())?;
        written.map(|_| Applied::Yes).map_err(|error| self.settings.error(&error))
    }
}

/// The TTL to send; 0 is none.
fn ttl(expires_at: Option<u64>, now: u64) -> i32 {
    match expires_at {
        Some(at) if at < EXPIRY_MAX => i32::try_from((at - now).min(TTL_SECS_MAX)).unwrap_or(0),
        _ => 0,
    }
}

impl BackingStore for Cassandra {
    fn kind(&self) -> &'static str {
        "cassandra"
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            writes: true,
            versions: true,
            flags: true,
            expiry: true,
            value_bytes_max: VALUE_BYTES_MAX,
            batch_max: BATCH_MAX,
        }
    }

    fn asks_key_by_key(&self) -> bool {
        true
    }

    fn load<'a>(&'a self, keys: &'a [Bytes], deadline: Instant) -> BoxFuture<'a, Vec<Loaded>> {
        Box::pin(async move {
            match self.link.get(deadline, || self.settings.clone().connect()).await {
                Err(error) => failed_all(keys.len(), &error),
                Ok((_, prepared)) => {
                    let loads = keys.iter().map(|key| self.load_one(&prepared, key, deadline));
                    // Collected first: a stream over a closure that borrows is not known to be `Send`.
                    let loads: Vec<_> = loads.collect();
                    stream::iter(loads).buffered(STATEMENTS_MAX).collect().await
                }
            }
        })
    }

    fn write<'a>(&'a self, changes: &'a [KeyChange], deadline: Instant) -> BoxFuture<'a, Vec<Outcome>> {
        Box::pin(async move {
            match self.link.get(deadline, || self.settings.clone().connect()).await {
                Err(error) => failed_all(changes.len(), &error),
                Ok((_, prepared)) => {
                    let writes = changes.iter().map(|change| self.write_one(&prepared, change, deadline));
                    let writes: Vec<_> = writes.collect();
                    stream::iter(writes).buffered(STATEMENTS_MAX).collect().await
                }
            }
        })
    }

    fn check(&self, deadline: Instant) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let (_, prepared) = self.link.get(deadline, || self.settings.clone().connect()).await?;
            self.load_one(&prepared, &Bytes::from_static(b"\0"), deadline).await.map(|_| ())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ttl_is_what_is_left_and_none_where_servers_know_no_such_time() {
        assert_eq!(ttl(None, 1_000), 0);
        assert_eq!(ttl(Some(1_060), 1_000), 60);
        assert_eq!(ttl(Some(1_000 + TTL_SECS_MAX + 1), 1_000), 630_720_000);
        assert_eq!(ttl(Some(EXPIRY_MAX), 1_000), 0);
    }
}
