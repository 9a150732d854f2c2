//! What is said of a Cassandra store.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use scylla::statement::Consistency;
use serde::Deserialize;

use super::Cassandra;
use crate::store::{BackingStore, StoreError};
use crate::stores::StoreSettings;
use crate::stores::link::Link;
use crate::stores::secret::Secret;

/// Where the table is and who we are.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Some nodes, as `HOST:PORT`; the others are learnt from them.
    pub nodes: Vec<String>,
    /// The user, where there are any.
    pub user: Option<String>,
    /// The password.
    pub password: Option<Secret>,
    /// The data centre whose nodes are asked. Without it all are alike.
    pub datacenter: Option<String>,
    /// The keyspace. `evanesce` by default.
    #[serde(default = "keyspace")]
    pub keyspace: String,
    /// The table. `items` by default.
    #[serde(default = "table")]
    pub table: String,
    /// Whether keyspace and table are made when they are not there. `false` by default.
    #[serde(default)]
    pub create: bool,
    /// Copies of each row in a keyspace that is made.
    pub replicas: Option<u8>,
    /// How many replicas answer a load: `one`, `local_one`, `local_quorum`, `quorum`, `each_quorum` (writes), `all`.
    /// `local_quorum` by default.
    #[serde(default)]
    pub read_consistency: Level,
    /// How many acknowledge a write. `local_quorum` by default: then no load of `local_quorum` misses it.
    #[serde(default)]
    pub write_consistency: Level,
}

/// A consistency level, as configuration says it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Level {
    /// One replica.
    One,
    /// One in this data centre.
    LocalOne,
    /// Most of this data centre's.
    #[default]
    LocalQuorum,
    /// Most of all.
    Quorum,
    /// Most in each data centre; for writes only.
    EachQuorum,
    /// All.
    All,
}

impl From<Level> for Consistency {
    fn from(level: Level) -> Consistency {
        match level {
            Level::One => Consistency::One,
            Level::LocalOne => Consistency::LocalOne,
            Level::LocalQuorum => Consistency::LocalQuorum,
            Level::Quorum => Consistency::Quorum,
            Level::EachQuorum => Consistency::EachQuorum,
            Level::All => Consistency::All,
        }
    }
}

fn keyspace() -> String {
    "evanesce".to_owned()
}

fn table() -> String {
    "items".to_owned()
}

fn is_name(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        && name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase())
        && name.len() <= 48
}

impl StoreSettings for Settings {
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.nodes.is_empty() {
            faults.push("nodes is empty; name one or more as HOST:PORT".to_owned());
        }
        let no_port = |node: &&String| {
            !node.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
        };
        faults.extend(self.nodes.iter().filter(no_port).map(|node| format!("node {node:?} is no HOST:PORT")));
        for (what, name) in [("keyspace", &self.keyspace), ("table", &self.table)] {
            if !is_name(name) {
                faults.push(format!("{what} {name:?} is no name: small letters, digits and _, at most 48"));
            }
        }
        if self.user.is_some() != self.password.is_some() {
            faults.push("user and password go together".to_owned());
        }
        if self.datacenter.as_ref().is_some_and(|name| name.is_empty() || name.contains('\'')) {
            faults.push("datacenter is no name".to_owned());
        }
        if self.create && self.replicas.is_none_or(|replicas| replicas == 0) {
            faults.push("create needs replicas: how many nodes keep each row, 3 in most places".to_owned());
        }
        if self.read_consistency == Level::EachQuorum {
            faults.push("read_consistency cannot be each_quorum; that is for writes".to_owned());
        }
        faults
    }

    fn open(&self) -> BoxFuture<'_, Result<Arc<dyn BackingStore>, StoreError>> {
        let store = Cassandra { settings: self.clone(), link: Link::default() };
        Box::pin(async { Ok(Arc::new(store) as Arc<dyn BackingStore>) })
    }
}
