//! How are sessions kept that end when their user has been idle for so long?
//!
//! Each request reads the session and moves its end, in one round trip: `get_and_touch`. Zones come and go; users stay
//! signed in.
//!
//! ```text
//! cargo run -p evanesce-client --example sessions
//! ```

mod cluster;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use evanesce_client::{Client, LatchPolicy, Typed};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use cluster::Cluster;

/// How long a user may be idle.
const IDLE_MAX: Duration = Duration::from_secs(30 * 60);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Session {
    user: u64,
    cart: Vec<u32>,
}

/// What is known of whoever sent a request.
#[derive(Debug, PartialEq)]
enum Visitor {
    SignedIn(Session),
    /// No such session, or not any more: ask for a password.
    Anonymous,
    /// No zone answered. Not the same as anonymous: asking everybody for a password makes an outage worse. Show what
    /// needs no session, or answer "try again".
    Unknown,
}

struct Sessions {
    items: Typed<Session>,
}

impl Sessions {
    fn new(cache: &Client) -> Self {
        // A session that only one zone has is lost with that zone: two of three must say that they have it.
        Self { items: cache.namespace("session").ttl(IDLE_MAX).latch(LatchPolicy::Quorum).typed() }
    }

    async fn sign_in(&self, id: &str, session: &Session) -> Result<()> {
        self.items.set(id, session).await?;
        Ok(())
    }

    /// At each request. The zone that is read is touched with the read, the others at the same time; nobody waits for them.
    async fn visitor(&self, id: &str) -> Visitor {
        match self.items.get_and_touch(id, IDLE_MAX).await {
            Ok(Some(session)) => Visitor::SignedIn(session),
            Ok(None) => Visitor::Anonymous,
            Err(error) => {
                eprintln!("session {id}: {error}");
                Visitor::Unknown
            }
        }
    }

    /// A zone that cannot be reached now learns of it when it is back, before it could answer with the session again.
    async fn sign_out(&self, id: &str) -> Result<()> {
        self.items.delete(id).await?;
        Ok(())
    }

    /// What is left of a session that nobody uses.
    async fn left(&self, id: &str) -> Result<Duration> {
        let item = self.items.bytes().get_item(id).await?.context("no such session")?;
        item.ttl.context("it does not expire")
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut cluster = Cluster::start().await?;
    let sessions = Sessions::new(&cluster.cache);
    let session = Session { user: 42, cart: vec![7, 11] };

    sessions.sign_in("ada-1", &session).await?;
    println!("signed in, for {:?}", sessions.left("ada-1").await?);

    // Two sessions that are about to end. One of their users comes back in time.
    for id in ["ada-2", "ada-3"] {
        sessions.items.set(id, &session).ttl(Duration::from_secs(5)).await?;
    }
    ensure!(sessions.visitor("ada-2").await == Visitor::SignedIn(session.clone()));
    while sessions.items.get("ada-3").await?.is_some() {
        sleep(Duration::from_millis(100)).await;
    }
    let left = sessions.left("ada-2").await?;
    println!("the idle session has ended, the one in use goes on for {left:?}");
    ensure!(left > Duration::from_secs(29 * 60), "it was not prolonged");
    ensure!(sessions.visitor("ada-3").await == Visitor::Anonymous);

    if cluster.kill(|zone, _| zone == "a").await {
        ensure!(sessions.visitor("ada-1").await == Visitor::SignedIn(session.clone()));
        println!("the local zone is gone, its users are still signed in");
    }
    for id in ["ada-1", "ada-2"] {
        sessions.sign_out(id).await?;
        ensure!(sessions.visitor(id).await == Visitor::Anonymous, "signed out is signed out");
    }
    println!("signed out; {} deletes wait for the zone that is away", cluster.cache.repairs_pending());

    if cluster.kill(|_, _| true).await {
        ensure!(sessions.visitor("ada-1").await == Visitor::Unknown);
        println!("all zones are gone: that is not the same as signed out");
    }
    Ok(())
}
