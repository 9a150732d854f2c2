//! What a trace is replayed against.

use std::future::Future;

use bytes::Bytes;

mod plain;
mod smart;

pub(crate) use plain::Plain;
pub(crate) use smart::Smart;

/// A write that succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stored {
    /// Everywhere it was to go, as far as is known.
    Full,
    /// Where the policy asked for; some replica failed.
    Partial,
}

/// A cache under test. An error is counted with its text, and the replay goes on.
pub(crate) trait Cache: Send + Sync + 'static {
    /// Reads a key; `None` is a miss.
    fn get(&self, key: &[u8]) -> impl Future<Output = anyhow::Result<Option<Bytes>>> + Send;

    /// Writes a key.
    fn set(&self, key: &[u8], value: &Bytes) -> impl Future<Output = anyhow::Result<Stored>> + Send;
}
