//! PostgreSQL, and what speaks its protocol: one table, upserts where the version is newer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, Error, NoTls, Statement};

use super::StoreSettings;
use super::link::{Link, SILENCE};
use super::sql::{self, Row, SWEEP_ROWS_MAX, Sweep, Table, VALUE_BYTES_MAX};
use crate::clock::unix_now;
use crate::store::{
    Abilities, Applied, BackingStore, ErrorKind, KeyChange, Loaded, Outcome, StoreError, failed_all,
};

/// Rows of one statement: a lock each until it ends.
const BATCH_MAX: usize = 256;

/// How long the server goes on with what nobody waits for any more: all that is asked by a connection waits behind it.
const PATIENCE: &str =
    "SET statement_timeout = '10s'; SET lock_timeout = '2s'; SET idle_in_transaction_session_timeout = '10s'";

/// Where the table is and who we are.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub struct Settings(pub Table);

impl StoreSettings for Settings {
    fn faults(&self) -> Vec<String> {
        let mut faults = self.0.faults();
        match self.0.url.parse::<Config>() {
            Err(_) => {
                faults.push("url is none of PostgreSQL; write postgresql://HOST:PORT/DATABASE".to_owned());
            }
            Ok(config) => {
                if config.get_password().is_some() || config.get_user().is_some() {
                    faults.push("url has a user or password; write them as `user` and `password`".to_owned());
                }
                if config.get_hosts().is_empty() || config.get_dbname().is_none() {
                    faults.push(
                        "url lacks a host or database; write postgresql://HOST:PORT/DATABASE".to_owned(),
                    );
                }
                if config.get_ssl_mode() == tokio_postgres::config::SslMode::Require {
                    faults.push(
                        "url asks for TLS, which this store does not speak; put a proxy before it".to_owned(),
                    );
                }
            }
        }
        faults
    }

    fn open(&self) -> BoxFuture<'_, Result<Arc<dyn BackingStore>, StoreError>> {
        let links = (0..self.0.connections).map(|_| Link::default()).collect();
        let store =
            Postgres { settings: self.clone(), links, turn: AtomicUsize::new(0), sweep: Sweep::default() };
        Box::pin(async { Ok(Arc::new(store) as Arc<dyn BackingStore>) })
    }
}

impl Settings {
    async fn connect(self) -> Result<Arc<Session>, StoreError> {
        let mut config: Config = self.0.url.parse().map_err(|error| self.error(&error))?;
        config.user(&self.0.user).application_name("evanesce");
        config.connect_timeout(SILENCE).tcp_user_timeout(SILENCE).keepalives_idle(SILENCE);
        if let Some(password) = &self.0.password {
            config.password(password.reveal().await?);
        }
        let (client, connection) = config.connect(NoTls).await.map_err(|error| self.error(&error))?;
        // Ends with the client; what it ends with, its requests are told.
        tokio::spawn(connection);
        client.batch_execute(PATIENCE).await.map_err(|error| self.error(&error))?;
        if self.0.create {
            self.create(&client).await.map_err(|error| self.error(&error))?;
        }
        self.prepare(client).await.map_err(|error| self.error(&error))
    }

    fn schema(&self) -> [String; 2] {
        let (table, index) = (&self.0.table, self.0.table.replace('.', "_"));
        [
            format!(
                "CREATE TABLE IF NOT EXISTS {table} (key bytea PRIMARY KEY, value bytea, flags bigint NOT NULL DEFAULT 0, \
                 expires_at bigint, version bigint NOT NULL DEFAULT 0)"
            ),
            format!("CREATE INDEX IF NOT EXISTS {index}_expires_at ON {table} (expires_at)"),
        ]
    }

    /// Makes what is not there of table and index: even asked for only if not there, an index waits for all who write. Of two that
    /// make them at once one fails; the other made them.
    async fn create(&self, client: &Client) -> Result<(), Error> {
        let there = format!(
            "SELECT c.relname = left(lower('{index}_expires_at'), 63) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
             WHERE i.indrelid = to_regclass('{table}')",
            table = self.0.table,
            index = self.0.table.replace('.', "_"),
        );
        if client.query(&there, &[]).await?.iter().any(|row| row.get(0)) {
            return Ok(());
        }
        for statement in self.schema() {
            match client.batch_execute(&statement).await {
                Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => {}
                other => other?,
            }
        }
        Ok(())
    }

    async fn prepare(&self, client: Client) -> Result<Arc<Session>, Error> {
        let table = &self.0.table;
        let load = format!("SELECT key, value, flags, expires_at, version FROM {table} WHERE key = ANY($1)");
        // In the order of keys, so that two writers of the same ones wait for each other and do not lock each other out.
        let write = format!(
            "INSERT INTO {table} AS old (key, value, flags, expires_at, version) SELECT * FROM \
             UNNEST($1::bytea[], $2::bytea[], $3::bigint[], $4::bigint[], $5::bigint[]) ORDER BY 1 \
             ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value, flags = EXCLUDED.flags, \
             expires_at = EXCLUDED.expires_at, version = EXCLUDED.version \
             WHERE old.version <= EXCLUDED.version RETURNING key"
        );
        let sweep = format!(
            "DELETE FROM {table} WHERE key IN (SELECT key FROM {table} WHERE expires_at < $1 LIMIT {SWEEP_ROWS_MAX} \
             FOR UPDATE SKIP LOCKED)"
        );
        let (load, write) = (client.prepare(&load).await?, client.prepare(&write).await?);
        let sweep = client.prepare(&sweep).await?;
        Ok(Arc::new(Session { client, load, write, sweep }))
    }

    fn error(&self, error: &Error) -> StoreError {
        let (place, table, user) = (self.0.place(), &self.0.table, &self.0.user);
        let Some(db) = error.as_db_error() else {
            let cause =
                std::error::Error::source(error).map_or_else(String::new, |cause| format!(": {cause}"));
            return StoreError::transient(format!(
                "{place} cannot be reached: {error}{cause}; is it running?"
            ));
        };
        let told = db.message().replace(['\r', '\n'], " ");
        let (class, code) = (&db.code().code()[..2], db.code());
        if class == "28" || *code == SqlState::INSUFFICIENT_PRIVILEGE {
            let message = format!(
                "{place} refuses user {user}: {told}; check `user` and `password`, or grant it {table}"
            );
            return StoreError::new(ErrorKind::Credentials, message);
        }
        if *code == SqlState::UNDEFINED_TABLE {
            let [create, _] = self.schema();
            let message = format!("{place} has no table {table}; set `create = true`, or run: {create}");
            return StoreError::permanent(message);
        }
        if *code == SqlState::UNDEFINED_COLUMN || *code == SqlState::INVALID_COLUMN_REFERENCE {
            let [create, _] = self.schema();
            return StoreError::permanent(format!(
                "{table} at {place} is another table: {told}; it must be as: {create}"
            ));
        }
        match class {
            "53" => StoreError::new(
                ErrorKind::Overload,
                format!("{place} has no room or connections left: {told}"),
            ),
            "08" | "40" | "55" | "57" | "25" => {
                StoreError::transient(format!("{place} could not do it now: {told}"))
            }
            "3D" => StoreError::permanent(format!("{place} has no such database: {told}; create it")),
            _ => StoreError::permanent(format!("{place} refuses it: {told}")),
        }
    }
}

/// A table of a PostgreSQL server. Connections are made when they are first needed, and again when they are lost.
pub struct Postgres {
    settings: Settings,
    links: Vec<Link<Arc<Session>>>,
    turn: AtomicUsize,
    sweep: Sweep,
}

/// A connection with what it has prepared.
struct Session {
    client: Client,
    load: Statement,
    write: Statement,
    sweep: Statement,
}

impl std::fmt::Debug for Postgres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Postgres").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Postgres {
    async fn session(&self, deadline: Instant) -> Result<Arc<Session>, StoreError> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.links.len();
        let link = &self.links[turn];
        let (number, session) = link.get(deadline, || self.settings.clone().connect()).await?;
        if !session.client.is_closed() {
            return Ok(session);
        }
        link.lost(number);
        Ok(link.get(deadline, || self.settings.clone().connect()).await?.1)
    }

    /// Writes rows by one statement; answers which keys took.
    async fn upsert(&self, rows: &[Row], deadline: Instant) -> Result<Vec<Vec<u8>>, StoreError> {
        let keys: Vec<&[u8]> = rows.iter().map(|row| &row.key[..]).collect();
        let values: Vec<Option<&[u8]>> = rows.iter().map(|row| row.value.as_deref()).collect();
        let flags: Vec<i64> = rows.iter().map(|row| i64::from(row.flags)).collect();
        let expiries: Vec<Option<i64>> = rows.iter().map(|row| row.expires_at).collect();
        let versions: Vec<i64> = rows.iter().map(|row| row.version).collect();
        let session = self.session(deadline).await?;
        let query = async {
            session.client.query(&session.write, &[&keys, &values, &flags, &expiries, &versions]).await
        };
        let taken = timeout_at(deadline, query).await.map_err(|_| StoreError::timeout())?;
        let taken = taken.map_err(|error| self.settings.error(&error))?;
        Ok(taken.iter().map(|row| row.get(0)).collect())
    }

    /// One statement for all; where the server refuses that for good, one for each, so that only the guilty fail.
    async fn write_rows(&self, rows: &[Row], deadline: Instant) -> Vec<Outcome> {
        match self.upsert(rows, deadline).await {
            Ok(taken) => {
                let taken: std::collections::HashSet<&[u8]> = taken.iter().map(|key| &key[..]).collect();
                let of =
                    |row: &Row| if taken.contains(&row.key[..]) { Applied::Yes } else { Applied::Superseded };
                rows.iter().map(|row| Ok(of(row))).collect()
            }
            Err(error) if error.kind == ErrorKind::Permanent && rows.len() > 1 => {
                let mut outcomes = Vec::with_capacity(rows.len());
                for row in rows.chunks(1) {
                    let one = self.upsert(row, deadline).await;
                    outcomes.push(one.map(|taken| match taken.is_empty() {
                        true => Applied::Superseded,
                        false => Applied::Yes,
                    }));
                }
                outcomes
            }
            Err(error) => failed_all(rows.len(), &error),
        }
    }

    async fn find(&self, keys: &[Bytes], deadline: Instant) -> Result<Vec<Loaded>, StoreError> {
        let session = self.session(deadline).await?;
        let asked: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
        let query = async { session.client.query(&session.load, &[&asked]).await };
        let rows = timeout_at(deadline, query).await.map_err(|_| StoreError::timeout())?;
        let rows = rows.map_err(|error| self.settings.error(&error))?;
        let mut found = std::collections::HashMap::with_capacity(rows.len());
        for row in rows {
            let parts = || -> Result<_, Error> {
                Ok((
                    row.try_get::<_, Vec<u8>>(0)?,
                    sql::item(row.try_get(1)?, row.try_get(2)?, row.try_get(3)?, row.try_get(4)?),
                ))
            };
            let (key, item) = parts().map_err(|error| {
                let [create, _] = self.settings.schema();
                StoreError::permanent(format!(
                    "{} has other types: {error}; it must be as: {create}",
                    self.settings.0.table
                ))
            })?;
            found.insert(key, item);
        }
        Ok(keys.iter().map(|key| Ok(found.remove(&key[..]).flatten())).collect())
    }

    /// Now and then, sweeps rows that nobody needs any more, beside what is asked.
    async fn sweep(&self, deadline: Instant) {
        let Some(before) = self.sweep.due(unix_now(), self.settings.0.remember_secs) else { return };
        let Ok(session) = self.session(deadline).await else { return };
        tokio::spawn(async move {
            if let Err(error) = session.client.execute(&session.sweep, &[&before]).await {
                tracing::warn!(%error, "expired rows were not swept; they are the next time");
            }
        });
    }
}

impl BackingStore for Postgres {
    fn kind(&self) -> &'static str {
        "postgres"
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
            self.find(keys, deadline).await.unwrap_or_else(|error| failed_all(keys.len(), &error))
        })
    }

    fn write<'a>(&'a self, changes: &'a [KeyChange], deadline: Instant) -> BoxFuture<'a, Vec<Outcome>> {
        Box::pin(async move {
            let rows: Vec<Result<Row, StoreError>> = changes.iter().map(Row::of).collect();
            let fit: Vec<Row> = rows.iter().flatten().cloned().collect();
            let mut outcomes = Vec::with_capacity(fit.len());
            for rows in sql::statements(&fit, BATCH_MAX) {
                outcomes.extend(self.write_rows(rows, deadline).await);
            }
            self.sweep(deadline).await;
            let mut outcomes = outcomes.into_iter();
            let missing = || Err(StoreError::transient("an answer was left out"));
            rows.into_iter().map(|row| row.and_then(|_| outcomes.next().unwrap_or_else(missing))).collect()
        })
    }

    fn check(&self, deadline: Instant) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { self.find(&[Bytes::new()], deadline).await.map(|_| ()) })
    }
}
