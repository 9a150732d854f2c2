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

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt};
use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::errors::{
    ConnectionError, ConnectionPoolError, ConnectionSetupRequestErrorKind, DbError, ExecutionError,
    MetadataError, NewSessionError, PrepareError, RequestAttemptError,
};
use scylla::policies::load_balancing::DefaultPolicy;
use scylla::statement::Consistency;
use scylla::statement::prepared::PreparedStatement;
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use super::StoreSettings;
use super::link::{Link, SILENCE};
use super::secret::Secret;
use crate::clock::unix_now;
use crate::store::{
    Abilities, Applied, BackingStore, Change, ErrorKind, KeyChange, Loaded, Outcome, StoreError, StoreItem,
    failed_all,
};

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

impl Settings {
    async fn connect(self) -> Result<Arc<Prepared>, StoreError> {
        let Settings { nodes, user, password, datacenter, keyspace, .. } = &self;
        let mut policy = DefaultPolicy::builder();
        if let Some(datacenter) = datacenter {
            policy = policy.prefer_datacenter(datacenter.clone());
        }
        // Deadlines are ours.
        let profile =
            ExecutionProfile::builder().request_timeout(None).load_balancing_policy(policy.build()).build();
        let mut builder = SessionBuilder::new()
            .known_nodes(nodes)
            .connection_timeout(SILENCE / 2)
            .keepalive_interval(SILENCE / 2)
            .keepalive_timeout(SILENCE)
            .keyspaces_to_fetch([keyspace])
            .default_execution_profile_handle(profile.into_handle());
        if let (Some(user), Some(password)) = (user, password) {
            builder = builder.user(user, password.reveal().await?);
        }
        let session = builder.build().await.map_err(|error| self.session_error(&error))?;
        if self.create {
            for statement in self.schema() {
                session.query_unpaged(statement, ()).await.map_err(|error| self.error(&error))?;
            }
        }
        self.prepare(session).await.map_err(|error| match error {
            PrepareError::AllAttemptsFailed { first_attempt } => self.attempt_error(&first_attempt),
            error => self.unreachable(&error),
        })
    }

    fn schema(&self) -> [String; 2] {
        let Settings { keyspace, table, datacenter, replicas, .. } = self;
        let replicas = replicas.unwrap_or(3);
        let replication = match datacenter {
            Some(datacenter) => format!("{{'class': 'NetworkTopologyStrategy', '{datacenter}': {replicas}}}"),
            None => format!("{{'class': 'SimpleStrategy', 'replication_factor': {replicas}}}"),
        };
        [
            format!("CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = {replication}"),
            format!(
                "CREATE TABLE IF NOT EXISTS {keyspace}.{table} \
                 (key blob PRIMARY KEY, value blob, flags bigint, expires_at bigint)"
            ),
        ]
    }

    async fn prepare(&self, session: Session) -> Result<Arc<Prepared>, PrepareError> {
        let Settings { keyspace, table, read_consistency, write_consistency, .. } = self;
        let table = format!("{keyspace}.{table}");
        let load = format!("SELECT value, flags, expires_at, WRITETIME(value) FROM {table} WHERE key = ?");
        let put = format!(
            "INSERT INTO {table} (key, value, flags, expires_at) VALUES (?, ?, ?, ?) USING TIMESTAMP ? AND TTL ?"
        );
        let delete = format!("DELETE FROM {table} USING TIMESTAMP ? WHERE key = ?");
        let mut prepared =
            [session.prepare(load).await?, session.prepare(put).await?, session.prepare(delete).await?];
        for (statement, level) in
            prepared.iter_mut().zip([read_consistency, write_consistency, write_consistency])
        {
            statement.set_consistency((*level).into());
            statement.set_is_idempotent(true);
        }
        let [load, put, delete] = prepared;
        Ok(Arc::new(Prepared { session, load, put, delete }))
    }

    fn unreachable(&self, error: &dyn std::error::Error) -> StoreError {
        let told = error.to_string().replace(['\r', '\n'], " ");
        let nodes = self.nodes.join(", ");
        StoreError::transient(format!("cassandra at {nodes} cannot be reached: {told}; is it running?"))
    }

    fn session_error(&self, error: &NewSessionError) -> StoreError {
        if let NewSessionError::MetadataError(MetadataError::ConnectionPoolError(
            ConnectionPoolError::Broken {
                last_connection_error: ConnectionError::ConnectionSetupRequestError(error),
            },
        )) = error
            && let ConnectionSetupRequestErrorKind::DbError(error, told) = error.get_error()
        {
            return self.db_error(error, told);
        }
        self.unreachable(error)
    }

    fn error(&self, error: &ExecutionError) -> StoreError {
        match error {
            ExecutionError::LastAttemptError(error) => self.attempt_error(error),
            ExecutionError::PrepareError(PrepareError::AllAttemptsFailed { first_attempt }) => {
                self.attempt_error(first_attempt)
            }
            ExecutionError::BadQuery(error) => {
                StoreError::permanent(format!("the driver refuses it: {error}"))
            }
            error => self.unreachable(error),
        }
    }

    fn attempt_error(&self, error: &RequestAttemptError) -> StoreError {
        match error {
            RequestAttemptError::DbError(error, told) => self.db_error(error, told),
            error => self.unreachable(error),
        }
    }

    fn db_error(&self, error: &DbError, told: &str) -> StoreError {
        let Settings { nodes, keyspace, table, user, .. } = self;
        let (told, nodes) = (told.replace(['\r', '\n'], " "), nodes.join(", "));
        let [_, create] = self.schema();
        match error {
            DbError::AuthenticationError | DbError::Unauthorized => {
                let user = user.as_deref().unwrap_or("without a name");
                let message = format!(
                    "cassandra at {nodes} refuses user {user}: {told}; check `user` and `password`, or grant it {keyspace}.{table}"
                );
                StoreError::new(ErrorKind::Credentials, message)
            }
            DbError::Invalid if told.contains("does not exist") || told.contains("unconfigured table") => {
                StoreError::permanent(format!(
                    "cassandra at {nodes} has no table {keyspace}.{table}; set `create = true` and `replicas`, or run: {create}"
                ))
            }
            DbError::Invalid if told.contains("column") => StoreError::permanent(format!(
                "{keyspace}.{table} at {nodes} is another table: {told}; it must be as: {create}"
            )),
            DbError::Overloaded | DbError::RateLimitReached { .. } => StoreError::new(
                ErrorKind::Overload,
                format!("cassandra at {nodes} has too much to do: {told}"),
            ),
            DbError::Unavailable { .. }
            | DbError::IsBootstrapping
            | DbError::ReadTimeout { .. }
            | DbError::WriteTimeout { .. }
            | DbError::ReadFailure { .. }
            | DbError::WriteFailure { .. }
            | DbError::TruncateError
            | DbError::Unprepared { .. }
            | DbError::ServerError => {
                StoreError::transient(format!("cassandra at {nodes} could not do it now: {error} {told}"))
            }
            _ => StoreError::permanent(format!("cassandra at {nodes} refuses it: {told}")),
        }
    }
}

/// A table of a Cassandra or ScyllaDB cluster. It is connected to when it is first needed; the driver sees to lost
/// connections.
pub struct Cassandra {
    settings: Settings,
    link: Link<Arc<Prepared>>,
}

/// A session with its statements.
struct Prepared {
    session: Session,
    load: PreparedStatement,
    put: PreparedStatement,
    delete: PreparedStatement,
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
