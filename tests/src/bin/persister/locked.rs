//! A row that somebody else has locked costs those who want other rows a moment, and not until it is let go.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use evanesce_persister::ErrorKind;
use tokio::time::{Instant, sleep};

use crate::checks::{CALL, GRACE, SHORT, open, put, soon};
use crate::kinds::{Kind, PASSWORD, USER, Want};
use crate::server::Server;

/// How long the row stays locked, unless the check ends before.
const LOCK_SECS: u64 = 60;

/// By when the lock must be there.
const LOCKED_BY: Duration = Duration::from_secs(20);

/// Writes to the locked row: enough for each connection of the store to have one.
const WRITES: usize = 16;

/// How long a server waits for a lock, as the store asks it to.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// A transaction of somebody else.
struct Lock(Child);

impl Drop for Lock {
    fn drop(&mut self) {
        // What has ended by itself needs no end.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn lock(server: &Server, key: &str) -> anyhow::Result<Lock> {
    let sql = format!(
        "SET client_connection_check_interval = '100ms'; BEGIN; SELECT 1 FROM evanesce_items WHERE key = '{key}'::bytea FOR UPDATE; SELECT pg_sleep({LOCK_SECS}); ROLLBACK"
    );
    let mut psql = Command::new("psql");
    psql.args([
        "-h",
        "127.0.0.1",
        "-p",
        &server.address.port().to_string(),
        "-U",
        USER,
        "-d",
        "evanesce",
        "-c",
        &sql,
    ]);
    psql.env("PGPASSWORD", PASSWORD).stdin(Stdio::null()).stdout(Stdio::null());
    Ok(Lock(psql.spawn().context("cannot start psql")?))
}

/// Writers of a locked row wait no longer than their deadline, and those behind them on its connections a moment.
pub(crate) async fn row(kind: Kind, server: &Server) -> anyhow::Result<String> {
    let store = open(kind, server.address, Want::default()).await?;
    let (locked, other) = (Bytes::from("locked"), Bytes::from("beside it"));
    let write = async |key: &Bytes, version, limit| {
        store.write(&[put(key, version, "v")], soon(limit)).await.pop().context("one answer")
    };
    write(&locked, 1, CALL).await??;
    let held = lock(server, "locked")?;
    let until = soon(LOCKED_BY);
    while write(&locked, 2, SHORT).await?.is_ok() {
        ensure!(Instant::now() < until, "the row was not locked in time");
        sleep(Duration::from_millis(50)).await;
    }
    let writes = (0..WRITES).map(|_| write(&locked, 2, SHORT));
    for outcome in futures_util::future::join_all(writes).await {
        match outcome? {
            Err(error) if error.kind == ErrorKind::Transient => {}
            other => bail!("a locked row was answered by {other:?}"),
        }
    }
    let began = Instant::now();
    write(&other, 1, CALL).await?.context("a row beside a locked one")?;
    let took = began.elapsed();
    // The write before the first lot, and that lot, one behind the other on a connection.
    ensure!(took < 5 * LOCK_PATIENCE + GRACE, "a row beside a locked one took {took:?}");
    drop(held);
    store.close().await;
    Ok(format!("a row beside it after {} ms", took.as_millis()))
}
