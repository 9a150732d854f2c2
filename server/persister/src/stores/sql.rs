//! What the stores in SQL have in common: one table, and its sweeping.
//!
//! ```text
//!  key       value           flags  expires_at             version
//!  bytes     bytes, or null  u32    seconds since 1970,    63 bits; 0 where
//!            when deleted           null when it does not  others wrote the row
//! ```
//!
//! A deleted row keeps its version, and the time of its delete as `expires_at`. Rows are swept [`Table::remember_secs`]
//! after that.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use serde::Deserialize;

use super::secret::Secret;
use crate::clock::unix_now;
#[cfg(feature = "mysql")]
use crate::store::Applied;
use crate::store::{Change, KeyChange, StoreError, StoreItem};

/// Largest value: half of the smallest packet that servers take by default.
pub(super) const VALUE_BYTES_MAX: usize = 8 << 20;

/// Bytes of one statement: as many as the largest value has, so that a batch of large ones is no larger than that.
pub(super) const STATEMENT_BYTES_MAX: usize = VALUE_BYTES_MAX;

/// How often a process looks for rows to sweep.
const SWEEP_SECS: u64 = 60;

/// Rows of one sweep: some milliseconds of locks. What is left is swept the next time.
pub(super) const SWEEP_ROWS_MAX: usize = 10_000;

/// Connections by default: enough to keep a few disks busy, a small part of what a server allows.
const CONNECTIONS_DEFAULT: usize = 8;

/// Most connections: servers allow 100 to 150 for everyone.
const CONNECTIONS_MAX: usize = 64;

/// How many seconds versions outlive their items by default: longer than any write is on its way.
const REMEMBER_SECS_DEFAULT: u64 = 24 * 3600;

/// Where the table is and who we are.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// `postgresql://HOST:PORT/DATABASE` or `mysql://HOST:PORT/DATABASE`. No user or password in it: they would be shown.
    pub url: String,
    /// The user.
    pub user: String,
    /// The password.
    pub password: Option<Secret>,
    /// The table: a name, or `schema.name`. `evanesce_items` by default.
    #[serde(default = "table")]
    pub table: String,
    /// Whether the table is made when it is not there. `false` by default.
    #[serde(default)]
    pub create: bool,
    /// Connections at most, each made when needed.
    #[serde(default = "connections")]
    pub connections: usize,
    /// How many seconds a row is kept after it was deleted or has expired, so that nothing older comes back. A day by default.
    #[serde(default = "remember_secs")]
    pub remember_secs: u64,
}

fn table() -> String {
    "evanesce_items".to_owned()
}

fn connections() -> usize {
    CONNECTIONS_DEFAULT
}

fn remember_secs() -> u64 {
    REMEMBER_SECS_DEFAULT
}

impl Table {
    /// What is wrong, but for the URL.
    pub(super) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if !self.table.split('.').all(is_name) || self.table.split('.').count() > 2 {
            faults.push(format!(
                "table {:?} is no name: letters, digits and _, with one dot at most",
                self.table
            ));
        }
        if !(1..=CONNECTIONS_MAX).contains(&self.connections) {
            faults.push(format!("connections is {}; it must be 1 to {CONNECTIONS_MAX}", self.connections));
        }
        if self.remember_secs == 0 {
            faults.push("remember_secs is 0; an older write could come back behind a delete".to_owned());
        }
        if self.user.is_empty() {
            faults.push("user is empty".to_owned());
        }
        faults
    }

    /// Where it is, as messages say it.
    pub(super) fn place(&self) -> &str {
        self.url.split('?').next().unwrap_or_default()
    }
}

fn is_name(name: &str) -> bool {
    let first = name.bytes().next();
    first.is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && name.len() <= 63
}

/// A row as it is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) key: Bytes,
    pub(super) value: Option<Bytes>,
    pub(super) flags: u32,
    pub(super) expires_at: Option<i64>,
    pub(super) version: i64,
}

impl Row {
    /// Of a change; an error where it does not fit.
    pub(super) fn of(change: &KeyChange) -> Result<Row, StoreError> {
        let version = i64::try_from(change.version)
            .map_err(|_| StoreError::permanent("the version has more than 63 bits"))?;
        let (value, flags, expires_at) = match &change.change {
            Change::Put(item) if item.value.len() > VALUE_BYTES_MAX => {
                let bytes = item.value.len();
                return Err(StoreError::permanent(format!("the value has {bytes} bytes, more than 8 MiB")));
            }
            Change::Put(item) => (Some(item.value.clone()), item.flags, item.expires_at),
            Change::Delete => (None, 0, Some(unix_now())),
        };
        let expires_at = expires_at.map(|at| i64::try_from(at).unwrap_or(i64::MAX));
        Ok(Row { key: change.key.clone(), value, flags, expires_at, version })
    }
}

/// What a row stands for: nothing when it was deleted or has expired.
pub(super) fn item(
    value: Option<Vec<u8>>,
    flags: i64,
    expires_at: Option<i64>,
    version: i64,
) -> Option<StoreItem> {
    let expires_at = expires_at.map(|at| u64::try_from(at).unwrap_or(0));
    if expires_at.is_some_and(|at| at <= unix_now()) {
        return None;
    }
    Some(StoreItem {
        value: value?.into(),
        flags: u32::try_from(flags).unwrap_or(0),
        expires_at,
        version: u64::try_from(version).ok().filter(|version| *version > 0),
    })
}

/// Rows in groups of at most `rows` and about [`STATEMENT_BYTES_MAX`].
pub(super) fn statements(rows: &[Row], most: usize) -> Vec<&[Row]> {
    let (mut groups, mut rest) = (Vec::new(), rows);
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = |row: &&Row| {
            bytes += row.value.as_ref().map_or(0, Bytes::len);
            bytes <= STATEMENT_BYTES_MAX
        };
        let count = rest.iter().take(most).take_while(fits).count().max(1);
        let (group, others) = rest.split_at(count);
        groups.push(group);
        rest = others;
    }
    groups
}

/// What became of a row, by the version that its key has after the write.
#[cfg(feature = "mysql")]
pub(super) fn applied(ours: i64, there: Option<i64>) -> Applied {
    if there.is_some_and(|there| there > ours) { Applied::Superseded } else { Applied::Yes }
}

/// When to sweep next.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    next: AtomicU64,
}

impl Sweep {
    /// Whether it is time, for one caller of many; the time before which rows are swept.
    pub(super) fn due(&self, now: u64, remember_secs: u64) -> Option<i64> {
        let next = self.next.load(Ordering::Relaxed);
        if now < next {
            return None;
        }
        let taken = self.next.compare_exchange(next, now + SWEEP_SECS, Ordering::Relaxed, Ordering::Relaxed);
        taken.ok()?;
        i64::try_from(now.saturating_sub(remember_secs)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(bytes: usize) -> Row {
        let value = Some(vec![0; bytes].into());
        Row { key: Bytes::from("k"), value, flags: 0, expires_at: None, version: 1 }
    }

    #[test]
    fn statements_are_cut_by_rows_and_by_bytes() {
        let rows = vec![row(1); 5];
        let lengths =
            |rows: &[Row], most| statements(rows, most).iter().map(|rows| rows.len()).collect::<Vec<_>>();
        assert_eq!(lengths(&rows, 2), [2, 2, 1]);
        assert_eq!(lengths(&[], 2), [0; 0]);
        let large = [row(VALUE_BYTES_MAX), row(1), row(1)];
        assert_eq!(lengths(&large, 9), [1, 2]);
    }

    #[test]
    fn sweep_is_due_for_one_caller_a_minute() {
        let sweep = Sweep::default();
        assert_eq!(sweep.due(1_000, 100), Some(900));
        assert_eq!(sweep.due(1_000, 100), None);
        assert_eq!(sweep.due(1_059, 100), None);
        assert_eq!(sweep.due(1_060, 100), Some(960));
    }

    #[test]
    fn table_of_no_good_name_is_refused() {
        let faults = |name: &str| {
            let text = format!("url = ''\nuser = 'u'\ntable = {name:?}");
            toml::from_str::<Table>(&text).expect("good TOML").faults().len()
        };
        assert_eq!([faults("items"), faults("cache.items_2")], [0, 0]);
        assert_eq!([faults("a b"), faults("a.b.c"), faults(""), faults("x;--"), faults("1a")], [1; 5]);
    }
}
