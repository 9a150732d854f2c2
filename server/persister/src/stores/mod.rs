//! The backing stores, one a file, and how configuration names them.
//!
//! To add one: a file or folder here with a `Settings` that implements [`StoreSettings`], a feature here and in the
//! binary, a line in [`KINDS`] and one in `FEATURES`, and a test in `tests/stores.rs` that runs `conformance::all` against it.

#[cfg(feature = "cassandra")]
pub mod cassandra;
#[cfg(feature = "dynamodb")]
pub mod dynamodb;
#[cfg(feature = "embedded")]
pub mod embedded;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "network")]
mod link;
#[cfg(feature = "memcached")]
pub mod memcached;
pub mod memory;
#[cfg(feature = "mysql")]
pub mod mysql;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "redis")]
pub mod redis;
#[cfg(feature = "s3")]
pub mod s3;
#[cfg(feature = "network")]
pub mod secret;
#[cfg(any(feature = "mysql", feature = "postgres"))]
pub mod sql;
#[cfg(any(feature = "dynamodb", feature = "http", feature = "mysql", feature = "redis", feature = "s3"))]
mod tls;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::de::DeserializeOwned;

use crate::store::{BackingStore, StoreError};

/// The settings of one store, read and checked, but for what only the store itself can say.
pub trait StoreSettings: Send + Sync + std::fmt::Debug {
    /// What is wrong with them, one sentence each; empty when nothing is. Opens nothing.
    fn faults(&self) -> Vec<String>;

    /// Whether it takes writes at all.
    fn takes_writes(&self) -> bool {
        true
    }

    /// Opens the store. Makes what is missing where that loses nothing: a directory, a table.
    fn open(&self) -> BoxFuture<'_, Result<Arc<dyn BackingStore>, StoreError>>;
}

/// A kind of store.
#[derive(Clone, Copy)]
pub struct Kind {
    /// As `kind = "..."` says it.
    pub name: &'static str,
    parse: fn(toml::Table) -> Result<Box<dyn StoreSettings>, String>,
}

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Kind {
    const fn new(
        name: &'static str,
        parse: fn(toml::Table) -> Result<Box<dyn StoreSettings>, String>,
    ) -> Self {
        Self { name, parse }
    }
}

/// The kinds of this build.
pub const KINDS: &[Kind] = &[
    Kind::new("memory", of::<memory::Settings>),
    #[cfg(feature = "cassandra")]
    Kind::new("cassandra", of::<cassandra::Settings>),
    #[cfg(feature = "dynamodb")]
    Kind::new("dynamodb", of::<dynamodb::Settings>),
    #[cfg(feature = "embedded")]
    Kind::new("embedded", of::<embedded::Settings>),
    #[cfg(feature = "http")]
    Kind::new("http", of::<http::Settings>),
    #[cfg(feature = "memcached")]
    Kind::new("memcached", of::<memcached::Settings>),
    #[cfg(feature = "mysql")]
    Kind::new("mysql", of::<mysql::Settings>),
    #[cfg(feature = "postgres")]
    Kind::new("postgres", of::<postgres::Settings>),
    #[cfg(feature = "redis")]
    Kind::new("redis", of::<redis::Settings>),
    #[cfg(feature = "s3")]
    Kind::new("s3", of::<s3::Settings>),
];

/// Kinds that there are, each the name of the feature that it needs. What is not in [`KINDS`] is not in this build.
const FEATURES: &[&str] =
    &["cassandra", "dynamodb", "embedded", "http", "memcached", "mysql", "postgres", "redis", "s3"];

fn of<S: StoreSettings + DeserializeOwned + 'static>(
    table: toml::Table,
) -> Result<Box<dyn StoreSettings>, String> {
    let settings: S = table.try_into().map_err(|error: toml::de::Error| error.message().to_owned())?;
    Ok(Box::new(settings))
}

/// Why there is no store of this kind, and what to do about it.
fn unknown(kind: &toml::Value, known: &str) -> String {
    match FEATURES.iter().find(|feature| kind.as_str() == Some(feature)) {
        Some(feature) => format!(
            "kind {kind} is not in this build, which knows {known}; build it with `cargo build --release -p evanesce --features {feature}`"
        ),
        None => format!("kind {kind} is not known; this build knows {known}"),
    }
}

/// Reads the settings of a store: a table with `kind` and what that kind wants.
///
/// # Errors
///
/// All that is wrong, one sentence each.
pub fn settings(mut table: toml::Table) -> Result<Box<dyn StoreSettings>, Vec<String>> {
    let known = || KINDS.iter().map(|kind| kind.name).collect::<Vec<_>>().join(", ");
    let Some(kind) = table.remove("kind") else {
        return Err(vec![format!("kind is missing; this build knows {}", known())]);
    };
    let Some(kind) = KINDS.iter().find(|known| kind.as_str() == Some(known.name)) else {
        return Err(vec![unknown(&kind, &known())]);
    };
    let settings = (kind.parse)(table).map_err(|fault| vec![fault])?;
    let faults = settings.faults();
    if faults.is_empty() { Ok(settings) } else { Err(faults) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> String {
        let table = text.parse().expect("good TOML");
        settings(table).err().unwrap_or_default().join("; ")
    }

    #[test]
    fn store_of_no_known_kind_is_refused_with_the_kinds_there_are() {
        assert!(faults("").contains("kind is missing; this build knows memory"));
        assert!(faults("kind = 'punchcards'").contains("kind \"punchcards\" is not known"));
        assert!(faults("kind = 7").contains("kind 7 is not known"));
        assert_eq!(faults("kind = 'memory'"), "");
    }

    /// Someone who asks for Cassandra has not misspelled it: the driver is not compiled in, and the message says how it is.
    #[test]
    fn kind_that_is_not_in_this_build_is_refused_with_its_feature() {
        for feature in FEATURES {
            let built = KINDS.iter().any(|kind| kind.name == *feature);
            let told = format!("build it with `cargo build --release -p evanesce --features {feature}`");
            assert_eq!(faults(&format!("kind = '{feature}'")).contains(&told), !built, "{feature}");
        }
        assert!(KINDS.iter().all(|kind| kind.name == "memory" || FEATURES.contains(&kind.name)));
    }

    #[test]
    fn setting_that_a_kind_does_not_know_is_refused() {
        assert!(faults("kind = 'memory'\ntable = 'x'").contains("unknown field `table`"));
    }
}
