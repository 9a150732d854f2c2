//! How is a slow database spared, when a hundred callers want the same row at once, or one that is not there?
//!
//! `get_or_load` reads the cache and calls a loader on a miss: once for all callers, those of other processes included. With
//! `stale` nobody waits for a row that was there before; with `absent_ttl` it is remembered that there is none.
//!
//! ```text
//! cargo run -p evanesce-client --example read_through
//! ```

mod cluster;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use evanesce_client::{LatchPolicy, LoadError, Typed};
use serde::{Deserialize, Serialize};
use tokio::sync::RwLock;
use tokio::task::JoinSet;
use tokio::time::sleep;

use cluster::Cluster;

const CALLERS: usize = 100;
const FRESH: Duration = Duration::from_secs(2);
const STALE: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct User {
    name: String,
    /// Which query it came from, to tell old from new.
    query: u32,
}

/// A database that takes its time, and counts.
#[derive(Clone, Default)]
struct Database {
    queries: Arc<AtomicU32>,
    /// Whoever writes here keeps all queries waiting.
    busy: Arc<RwLock<()>>,
}

impl Database {
    async fn user(&self, id: &[u8]) -> Result<Option<User>> {
        let query = self.queries.fetch_add(1, Ordering::SeqCst) + 1;
        let _turn = self.busy.read().await;
        sleep(Duration::from_millis(200)).await;
        match id {
            b"42" => Ok(Some(User { name: "Ada".to_owned(), query })),
            b"broken" => bail!("the disk is on fire"),
            _ => Ok(None),
        }
    }

    fn queries(&self) -> u32 {
        self.queries.load(Ordering::SeqCst)
    }
}

#[derive(Clone)]
struct Users {
    cache: Typed<User>,
    database: Database,
}

impl Users {
    async fn get(&self, id: &str) -> Result<Option<User>, LoadError> {
        let database = self.database.clone();
        // The loader runs in a task of its own, which outlives a caller that gives up.
        self.cache
            .get_or_load(id, async move |id| database.user(&id).await)
            .ttl(FRESH)
            .stale(STALE)
            .absent_ttl(Duration::from_secs(10))
            .await
    }

    /// A hundred at once. All get the same answer, which is returned.
    async fn stampede(&self, id: &'static str) -> Result<Option<User>> {
        let begun = Instant::now();
        let before = self.database.queries();
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            let users = self.clone();
            callers.spawn(async move { users.get(id).await });
        }
        let answers = callers.join_all().await.into_iter().collect::<Result<Vec<_>, _>>()?;
        ensure!(answers.iter().all(|answer| *answer == answers[0]), "all get the same");
        let queries = self.database.queries() - before;
        println!("{CALLERS} callers for {id:?}: {queries} queries, all answered after {:?}", begun.elapsed());
        Ok(answers.into_iter().next().flatten())
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut cluster = Cluster::start().await?;
    let users = Users { cache: cluster.cache.namespace("user").typed(), database: Database::default() };
    users.cache.delete_many(["42", "nobody", "broken"]).latch(LatchPolicy::All).await?;

    // Nothing cached: one query, and all wait for it.
    let first = users.stampede("42").await?.map(|user| user.query);
    ensure!((first, users.database.queries()) == (Some(1), 1), "one query for all");

    // Beyond its TTL the row is served as it is, while one query fetches it anew: nobody waits, however long that takes.
    let query = async || anyhow::Ok(users.get("42").await?.map(|user| user.query));
    let busy = users.database.busy.write().await;
    while users.database.queries() == 1 {
        ensure!(query().await? == first, "nobody has asked anew");
        sleep(Duration::from_millis(20)).await;
    }
    for _ in 0..CALLERS {
        ensure!(query().await? == first, "it is still being asked");
    }
    println!("the old row was served {CALLERS} times while the new one was fetched");
    ensure!(users.database.queries() == 2, "{} queries", users.database.queries());
    drop(busy);
    while query().await? == first {
        sleep(Duration::from_millis(20)).await;
    }

    // That there is no such row is cached too: unknown ids cannot be used to wear the database out.
    let before = users.database.queries();
    ensure!(users.stampede("nobody").await?.is_none());
    ensure!(users.stampede("nobody").await?.is_none());
    ensure!(users.database.queries() == before + 1, "it was asked once");

    // What the loader says is told to all who waited, and kept by nobody: the next caller tries again.
    let error = users.get("broken").await.expect_err("it cannot be loaded");
    println!("a failure: {error}");
    ensure!(matches!(error, LoadError::Loader(_)) && users.cache.get("broken").await?.is_none());

    // Without any cache it is loaded all the same, once at a time for this process.
    if cluster.kill(|_, _| true).await {
        let before = users.database.queries();
        ensure!(users.stampede("42").await?.map(|user| user.name) == Some("Ada".to_owned()));
        ensure!(users.database.queries() == before + 1, "once for all");
    }
    Ok(())
}
