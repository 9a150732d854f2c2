//! The clients of this program.

pub(crate) mod async_memcached;
pub(crate) mod evanesce;
pub(crate) mod memcache_async;

use anyhow::Result;
use clap::ValueEnum;

use crate::keys::Keys;

/// A client, and how it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ClientName {
    /// Ours: all callers share it.
    Evanesce,
    /// Ours: one caller reads many keys at once.
    EvanesceBatch,
    /// A connection for each caller.
    MemcacheAsync,
    /// A connection for each caller.
    AsyncMemcached,
    /// One caller reads many keys at once.
    AsyncMemcachedBatch,
}

impl ClientName {
    /// As on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().expect("none is hidden").get_name().to_owned()
    }
}

/// One caller.
pub(crate) trait Caller: Send + 'static {
    /// Makes one call and checks what it brings. Returns how many keys that were.
    fn call(&mut self, keys: &mut Keys) -> impl Future<Output = Result<u64>> + Send;
}

/// What a caller says of a value that is another key's, or none.
pub(crate) const WRONG: &str = "a value was not its key's";
