//! MySQL and MariaDB: one table, upserts where the version is newer.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, Opts, OptsBuilder, Params, Pool, PoolConstraints, PoolOpts, Value};
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use super::StoreSettings;
use super::link::{Link, SILENCE};
use super::sql::{self, Row, SWEEP_ROWS_MAX, Sweep, Table, VALUE_BYTES_MAX};
use crate::clock::unix_now;
use crate::store::{Abilities, BackingStore, ErrorKind, KeyChange, Loaded, Outcome, StoreError, failed_all};

/// Rows of one statement: a lock each until it ends.
const BATCH_MAX: usize = 128;

/// A row as it is loaded: of a table that others made, any of it may be null.
type Found = (Vec<u8>, Option<Vec<u8>>, Option<i64>, Option<i64>, Option<i64>);

/// Where the table is and who we are.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub struct Settings(pub Table);

impl StoreSettings for Settings {
    fn faults(&self) -> Vec<String> {
        let mut faults = self.0.faults();
        match Opts::from_url(&self.0.url) {
            Err(_) => faults.push("url is none of MySQL; write mysql://HOST:PORT/DATABASE".to_owned()),
            Ok(opts) => {
                if opts.user().is_some() || opts.pass().is_some() {
                    faults.push("url has a user or password; write them as `user` and `password`".to_owned());
                }
                if opts.db_name().is_none() {
                    faults.push("url lacks a database; write mysql://HOST:PORT/DATABASE".to_owned());
                }
            }
        }
        faults
    }

    fn open(&self) -> BoxFuture<'_, Result<Arc<dyn BackingStore>, StoreError>> {
        super::tls::install_provider();
        let store = MySql { settings: self.clone(), pool: Link::default(), sweep: Sweep::default() };
        Box::pin(async { Ok(Arc::new(store) as Arc<dyn BackingStore>) })
    }
}

impl Settings {
    async fn connect(self) -> Result<Pool, StoreError> {
        let opts = Opts::from_url(&self.0.url).map_err(|error| self.error(&error.into()))?;
        let password = match &self.0.password {
            Some(password) => Some(password.reveal().await?),
            None => None,
        };
        let bounds = PoolConstraints::new(0, self.0.connections).unwrap_or_default();
        let opts = OptsBuilder::from_opts(opts)
            .user(Some(&self.0.user))
            .pass(password)
            .prefer_socket(false)
            .tcp_keepalive(Some(SILENCE))
            .pool_opts(PoolOpts::new().with_constraints(bounds).with_reset_connection(false));
        let pool = Pool::new(opts);
        let mut first = pool.get_conn().await.map_err(|error| self.error(&error))?;
        if self.0.create {
            first.query_drop(self.schema()).await.map_err(|error| self.error(&error))?;
        }
        Ok(pool)
    }

    fn name(&self) -> String {
        self.0.table.split('.').map(|part| format!("`{part}`")).collect::<Vec<_>>().join(".")
    }

    fn schema(&self) -> String {
        format!(
            "CREATE TABLE IF NOT EXISTS {} (`key` VARBINARY(250) PRIMARY KEY, value LONGBLOB, flags BIGINT NOT NULL DEFAULT 0, \
             expires_at BIGINT, version BIGINT NOT NULL DEFAULT 0, INDEX (expires_at))",
            self.name()
        )
    }

    /// What a row says, which is an error where its columns are of other types.
    fn found(&self, row: mysql_async::Row) -> Result<Found, StoreError> {
        mysql_async::from_row_opt(row).map_err(|_| {
            let (place, table, create) = (self.0.place(), &self.0.table, self.schema());
            StoreError::permanent(format!("{table} at {place} has other types; it must be as: {create}"))
        })
    }

    fn error(&self, error: &Error) -> StoreError {
        let (place, table, user) = (self.0.place(), &self.0.table, &self.0.user);
        let Error::Server(server) = error else {
            let told = error.to_string().replace(['\r', '\n'], " ");
            return StoreError::transient(format!("{place} cannot be reached: {told}; is it running?"));
        };
        let told = server.message.replace(['\r', '\n'], " ");
        match server.code {
            // Access denied: to the server, the database, the command, the column.
            1044 | 1045 | 1142 | 1143 | 1227 | 1698 => StoreError::new(
                ErrorKind::Credentials,
                format!(
                    "{place} refuses user {user}: {told}; check `user` and `password`, or grant it {table}"
                ),
            ),
            1146 => {
                let create = self.schema();
                StoreError::permanent(format!(
                    "{place} has no table {table}; set `create = true`, or run: {create}"
                ))
            }
            1054 => {
                let create = self.schema();
                StoreError::permanent(format!(
                    "{table} at {place} is another table: {told}; it must be as: {create}"
                ))
            }
            1049 => StoreError::permanent(format!("{place} has no such database: {told}; create it")),
            // Too many connections, disk or table full, out of memory.
            1040 | 1203 | 1226 | 1021 | 1114 | 1037 | 1041 => StoreError::new(
                ErrorKind::Overload,
                format!("{place} has no room or connections left: {told}"),
            ),
            // Lock waits, deadlocks, shutdown, read-only, interrupted.
            1205 | 1213 | 1053 | 1077 | 1290 | 1836 | 1317 | 1927 => {
                StoreError::transient(format!("{place} could not do it now: {told}"))
            }
            _ => StoreError::permanent(format!("{place} refuses it: {told}")),
        }
    }
}

/// A table of a MySQL or MariaDB server. Connections are made when they are first needed, and again when they are lost.
#[derive(Debug)]
pub struct MySql {
    settings: Settings,
    /// Made at the first use, where there is a runtime, and where the table is made.
    pool: Link<Pool>,
    sweep: Sweep,
}

impl MySql {
    /// A connection of the pool, for one call.
    async fn conn(&self) -> Result<Conn, StoreError> {
        let far = Instant::now() + SILENCE;
        let (number, pool) = self.pool.get(far, || self.settings.clone().connect()).await?;
        let conn = [pool.get_conn().await.map_err(|error| self.settings.error(&error))];
        if self.pool.heard(number, &conn) {
            // What others still use of it ends when they are done.
            tokio::spawn(timeout_at(far, pool.disconnect()));
        }
        let [conn] = conn;
        conn
    }

    async fn find(&self, keys: &[Bytes], columns: &str) -> Result<HashMap<Vec<u8>, Found>, StoreError> {
        let mut conn = self.conn().await?;
        let mut found = HashMap::with_capacity(keys.len());
        for keys in pieces(keys) {
            let marks = marks("?", keys.len());
            let select = format!("SELECT {columns} FROM {} WHERE `key` IN ({marks})", self.settings.name());
            let keys = Params::Positional(keys.iter().map(|key| Value::Bytes(key.to_vec())).collect());
            let rows: Vec<mysql_async::Row> =
                conn.exec(select, keys).await.map_err(|error| self.settings.error(&error))?;
            for row in rows {
                let row = self.settings.found(row)?;
                found.insert(row.0.clone(), row);
            }
        }
        Ok(found)
    }

    /// Writes rows; one statement for many is one that fails for many, so the caller splits what failed for good.
    async fn upsert(&self, conn: &mut Conn, rows: &[Row]) -> Result<(), StoreError> {
        for rows in pieces(rows) {
            let marks = marks("(?,?,?,?,?)", rows.len());
            // The version is set last: the conditions before it see the old one.
            let newer = |column: &str| {
                format!("{column} = IF(VALUES(version) >= version, VALUES({column}), {column})")
            };
            let insert = format!(
                "INSERT INTO {} (`key`, value, flags, expires_at, version) VALUES {marks} ON DUPLICATE KEY UPDATE {}, {}, {}, \
                 version = GREATEST(version, VALUES(version))",
                self.settings.name(),
                newer("value"),
                newer("flags"),
                newer("expires_at"),
            );
            let values = rows.iter().flat_map(|row| {
                let value = row.value.as_ref().map_or(Value::NULL, |value| Value::Bytes(value.to_vec()));
                let at = row.expires_at.map_or(Value::NULL, Value::Int);
                let (flags, version) = (Value::Int(row.flags.into()), Value::Int(row.version));
                [Value::Bytes(row.key.to_vec()), value, flags, at, version]
            });
            let values = Params::Positional(values.collect());
            conn.exec_drop(insert, values).await.map_err(|error| self.settings.error(&error))?;
        }
        Ok(())
    }

    async fn write_rows(&self, rows: &[Row]) -> Result<Vec<Outcome>, StoreError> {
        let mut conn = self.conn().await?;
        let mut failed: HashMap<Bytes, StoreError> = HashMap::new();
        match self.upsert(&mut conn, rows).await {
            Err(error) if error.kind == ErrorKind::Permanent && rows.len() > 1 => {
                for row in rows {
                    if let Err(error) = self.upsert(&mut conn, std::slice::from_ref(row)).await {
                        failed.insert(row.key.clone(), error);
                    }
                }
            }
            other => other?,
        }
        drop(conn);
        let keys: Vec<Bytes> = rows.iter().map(|row| row.key.clone()).collect();
        let there = self.find(&keys, "`key`, NULL, flags, expires_at, version").await?;
        let outcome = |row: &Row| match failed.remove(&row.key) {
            Some(error) => Err(error),
            None => Ok(sql::applied(row.version, there.get(&row.key[..]).and_then(|found| found.4))),
        };
        Ok(rows.iter().map(outcome).collect())
    }

    /// Now and then, sweeps rows that nobody needs any more, beside what is asked.
    async fn sweep(&self) {
        let Some(before) = self.sweep.due(unix_now(), self.settings.0.remember_secs) else { return };
        let Ok(mut conn) = self.conn().await else { return };
        let sweep =
            format!("DELETE FROM {} WHERE expires_at < ? LIMIT {SWEEP_ROWS_MAX}", self.settings.name());
        tokio::spawn(async move {
            if let Err(error) = conn.exec_drop(sweep, (before,)).await {
                tracing::warn!(%error, "expired rows were not swept; they are the next time");
            }
        });
    }
}

/// `mark` so many times, with commas.
fn marks(mark: &str, count: usize) -> String {
    vec![mark; count].join(",")
}

/// Pieces whose lengths are powers of two: few shapes of statements, so that the server prepares each only once.
fn pieces<T>(all: &[T]) -> Vec<&[T]> {
    let (mut pieces, mut rest) = (Vec::new(), all);
    while !rest.is_empty() {
        let (piece, others) = rest.split_at(1 << rest.len().ilog2());
        pieces.push(piece);
        rest = others;
    }
    pieces
}

impl BackingStore for MySql {
    fn kind(&self) -> &'static str {
        "mysql"
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

    fn load<'a>(&'a self, keys: &'a [Bytes], deadline: Instant) -> BoxFuture<'a, Vec<Loaded>> {
        Box::pin(async move {
            if keys.is_empty() {
                return Vec::new();
            }
            let find = self.find(keys, "`key`, value, flags, expires_at, version");
            match timeout_at(deadline, find).await.unwrap_or_else(|_| Err(StoreError::timeout())) {
                Err(error) => failed_all(keys.len(), &error),
                Ok(mut found) => {
                    let item = |key: &Bytes| {
                        let (_, value, flags, at, version) = found.remove(&key[..])?;
                        sql::item(value, flags.unwrap_or(0), at, version.unwrap_or(0))
                    };
                    keys.iter().map(item).map(Ok).collect()
                }
            }
        })
    }

    fn write<'a>(&'a self, changes: &'a [KeyChange], deadline: Instant) -> BoxFuture<'a, Vec<Outcome>> {
        Box::pin(async move {
            let rows: Vec<Result<Row, StoreError>> = changes.iter().map(Row::of).collect();
            let mut fit: Vec<Row> = rows.iter().flatten().cloned().collect();
            // In the order of keys, so that two writers of the same ones wait for each other and do not lock each other out.
            fit.sort_by(|a, b| a.key.cmp(&b.key));
            let mut outcomes: HashMap<Bytes, Outcome> = HashMap::with_capacity(fit.len());
            for rows in sql::statements(&fit, BATCH_MAX) {
                let written = timeout_at(deadline, self.write_rows(rows)).await;
                let written = written.unwrap_or_else(|_| Err(StoreError::timeout()));
                let written = written.unwrap_or_else(|error| failed_all(rows.len(), &error));
                outcomes.extend(rows.iter().map(|row| row.key.clone()).zip(written));
            }
            // What is left of the time may go to sweeping; whether that comes about is no matter of this write.
            let _ = timeout_at(deadline, self.sweep()).await;
            let missing = || Err(StoreError::transient("an answer was left out"));
            rows.into_iter().map(|row| outcomes.remove(&row?.key).unwrap_or_else(missing)).collect()
        })
    }

    fn check(&self, deadline: Instant) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let probe = [Bytes::new()];
            let find = self.find(&probe, "`key`, value, flags, expires_at, version");
            timeout_at(deadline, find).await.unwrap_or_else(|_| Err(StoreError::timeout())).map(|_| ())
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            if let Some(pool) = self.pool.there() {
                // Fails where the connections were lost, which ends them as well.
                let _ = timeout_at(Instant::now() + SILENCE, pool.disconnect()).await;
            }
        })
    }
}
