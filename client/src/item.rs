//! What reads answer.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;

use crate::error::{LoadError, ReadError};
use crate::key::Key;
use crate::version::Version;
use crate::view::View;

/// A hit, whole.
///
/// The value shares the buffer it was read into: copy what you keep for long.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Item {
    /// The value.
    pub value: Bytes,
    /// The writer's flags.
    pub flags: u32,
    /// The CAS token of the replica that answered. Where versions are kept it is the version, and the same everywhere.
    pub cas: u64,
    /// What remains of its life; `None` when it does not expire.
    pub ttl: Option<Duration>,
    /// The version, from a node that keeps them.
    pub version: Option<Version>,
    /// The second since 1970 in which it expires, from a node that keeps versions: what a copy is given.
    pub(crate) until_secs: Option<u64>,
}

/// What a loader found, whole: for loads that know more than a value.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LoadedItem {
    /// The value.
    pub value: Bytes,
    /// Its flags.
    pub flags: u32,
    /// What remains of its life where it comes from; `None` when it does not expire. It is kept no longer.
    pub ttl: Option<Duration>,
}

/// Where the answer of a read that loads came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// It was there.
    Cache,
    /// It was there, beyond its TTL: it is loaded anew behind it.
    Stale,
    /// It was remembered that there is no value.
    Absent,
    /// A loader gave it, of this caller or another.
    Loader,
}

impl Origin {
    /// That of what a key had: a value, or that there is none.
    pub(crate) fn of_present(has_value: bool, is_stale: bool) -> Self {
        match (has_value, is_stale) {
            (false, _) => Self::Absent,
            (true, true) => Self::Stale,
            (true, false) => Self::Cache,
        }
    }
}

/// A hit of a typed read, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TypedItem<T> {
    /// The value, decoded.
    pub value: T,
    /// The CAS token of the replica that answered. Where versions are kept it is the version, and the same everywhere.
    pub cas: u64,
    /// What remains of its life; `None` when it does not expire.
    pub ttl: Option<Duration>,
    /// The version, from a node that keeps them.
    pub version: Option<Version>,
}

/// What a bulk read found. Each key asked for is in exactly one of the three, in the order asked, as often as asked.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct GetMany<V> {
    /// Keys (without their namespace) and their values.
    pub hits: Vec<(Bytes, V)>,
    /// Keys that a node said it does not have.
    pub misses: Vec<Bytes>,
    /// Keys that no zone could answer for, or whose value could not be decoded.
    pub failed: Vec<(Bytes, ReadError)>,
}

/// What a bulk read that loads found. Each key asked for is in exactly one of the three, in the order asked, as often as
/// asked.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LoadMany<V> {
    /// Keys (without their namespace) and their values, which were there or were loaded.
    pub hits: Vec<(Bytes, V)>,
    /// Keys of which the loader said, now or lately, that they have no value.
    pub absent: Vec<Bytes>,
    /// Keys that could not be loaded, or whose value could not be decoded.
    pub failed: Vec<(Bytes, LoadError)>,
}

impl<V> Default for LoadMany<V> {
    fn default() -> Self {
        Self { hits: Vec::new(), absent: Vec::new(), failed: Vec::new() }
    }
}

impl<V> LoadMany<V> {
    /// The value of `key`, when it has one. Looks through all hits: for many look-ups, make a map.
    #[must_use]
    pub fn get(&self, key: impl AsRef<[u8]>) -> Option<&V> {
        self.hits.iter().find(|(hit, _)| hit == key.as_ref()).map(|(_, value)| value)
    }

    /// The values in the order of `keys`, as often as they are there; `None` for those that are no hits.
    ///
    /// ```no_run
    /// # async fn query(_: Vec<bytes::Bytes>) -> std::io::Result<Vec<(String, bytes::Bytes)>> { Ok(Vec::new()) }
    /// # async fn example(cache: &evanesce_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let keys = ["row:3", "row:1", "row:2"];
    /// let found = cache.raw().get_or_load_many(keys, |keys| async move { query(keys).await }).await?;
    /// for (key, value) in keys.iter().zip(found.in_order_of(keys)) {
    ///     println!("{key}: {value:?}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn in_order_of<K: AsRef<[u8]>>(&self, keys: impl IntoIterator<Item = K>) -> Vec<Option<&V>> {
        in_order_of(&self.hits, keys)
    }

    /// The hits, by key.
    #[must_use]
    pub fn into_map(self) -> HashMap<Bytes, V> {
        self.hits.into_iter().collect()
    }

    /// Whether no key failed.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.failed.is_empty()
    }
}

impl<V> Default for GetMany<V> {
    fn default() -> Self {
        Self { hits: Vec::new(), misses: Vec::new(), failed: Vec::new() }
    }
}

impl<V> GetMany<V> {
    /// Puts what was found under one more key where it belongs.
    pub(crate) fn sort_in(
        &mut self,
        view: &impl View<Output = V>,
        key: &Key,
        found: Result<Option<Item>, ReadError>,
    ) {
        let shown = found.and_then(|item| match item {
            Some(item) => Ok(view.show_present(item)?),
            None => Ok(None),
        });
        match shown {
            Ok(Some(value)) => self.hits.push((key.local(), value)),
            Ok(None) => self.misses.push(key.local()),
            Err(error) => self.failed.push((key.local(), error)),
        }
    }

    /// The value of `key`, when it was a hit. Looks through all hits: for many look-ups, make a map.
    #[must_use]
    pub fn get(&self, key: impl AsRef<[u8]>) -> Option<&V> {
        self.hits.iter().find(|(hit, _)| hit == key.as_ref()).map(|(_, value)| value)
    }

    /// The values in the order of `keys`, as often as they are there; `None` for those that are no hits.
    ///
    /// ```no_run
    /// # async fn example(cache: &evanesce_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let keys = ["row:3", "row:1", "row:2"];
    /// let found = cache.get_many(keys).await?;
    /// for (key, value) in keys.iter().zip(found.in_order_of(keys)) {
    ///     println!("{key}: {value:?}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn in_order_of<K: AsRef<[u8]>>(&self, keys: impl IntoIterator<Item = K>) -> Vec<Option<&V>> {
        in_order_of(&self.hits, keys)
    }

    /// The hits, by key.
    #[must_use]
    pub fn into_map(self) -> HashMap<Bytes, V> {
        self.hits.into_iter().collect()
    }

    /// Whether no key failed.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.failed.is_empty()
    }
}

/// Hits are in the order asked, so that mostly one walk finds them all.
fn in_order_of<K: AsRef<[u8]>, V>(hits: &[(Bytes, V)], keys: impl IntoIterator<Item = K>) -> Vec<Option<&V>> {
    let mut ahead = hits.iter();
    let mut by_key: Option<HashMap<&[u8], &V>> = None;
    let mut find = |key: &[u8]| {
        if let Some((hit, value)) = ahead.as_slice().first()
            && hit == key
        {
            ahead.next();
            return Some(value);
        }
        let all = || hits.iter().map(|(key, value)| (&key[..], value)).collect();
        by_key.get_or_insert_with(all).get(key).copied()
    };
    keys.into_iter().map(|key| find(key.as_ref())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(hits: &[&'static str], keys: &[&str]) -> Vec<Option<usize>> {
        let hits: Vec<_> = hits.iter().enumerate().map(|(at, &key)| (Bytes::from(key), at)).collect();
        in_order_of(&hits, keys).into_iter().map(Option::<&usize>::copied).collect()
    }

    #[test]
    fn values_come_in_the_order_asked_for_and_in_any_other() {
        assert_eq!(values(&["b", "a"], &["b", "miss", "a"]), [Some(0), None, Some(1)]);
        assert_eq!(values(&["b", "a"], &["a", "b", "a"]), [Some(1), Some(0), Some(1)]);
        assert_eq!(values(&["a", "a"], &["a", "a", "a"]), [Some(0), Some(1), Some(1)]);
        assert_eq!(values(&[], &["a"]), [None]);
    }
}
