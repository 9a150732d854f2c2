//! The verbs that look at a gateway's backing stores, and at the writes that wait for them.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use evanesce_grpc::admin::v1;
use evanesce_grpc::admin::v1::settle_dead_letters_request::How;
use serde::Serialize;

use crate::ctl::Done;
use crate::ctl::reach::Reach;
use crate::output;
use crate::table::table;

/// Which gateway.
#[derive(Debug, Args)]
pub(crate) struct Gateway {
    /// The gateway's gRPC address.
    #[arg(
        long,
        env = "EVANESCE_GATEWAY",
        hide_env_values = true,
        value_name = "ADDR",
        default_value = "127.0.0.1:11212"
    )]
    gateway: String,
}

/// What to do with a store.
#[derive(Debug, Subcommand)]
pub(crate) enum StoreVerb {
    /// Whether the gateway's stores answer, and how busy they are.
    Status {
        #[command(flatten)]
        gateway: Gateway,
    },
    /// What a store has of a key, whatever the cluster has. Exit code 1 where it has nothing.
    Get {
        /// The store, as the gateway's configuration names it.
        store: String,
        /// The whole key, its namespace included.
        key: String,
        #[command(flatten)]
        gateway: Gateway,
    },
    /// Put a key into a store alone: the cluster keeps what it has.
    Put {
        /// The store, as the gateway's configuration names it.
        store: String,
        /// The whole key, its namespace included.
        key: String,
        /// The value.
        value: String,
        #[command(flatten)]
        gateway: Gateway,
    },
    /// Delete a key from a store alone.
    Delete {
        /// The store, as the gateway's configuration names it.
        store: String,
        /// The whole key, its namespace included.
        key: String,
        #[command(flatten)]
        gateway: Gateway,
    },
}

/// What to do with writes that a store does not take.
#[derive(Debug, Subcommand)]
pub(crate) enum LettersVerb {
    /// Show them, oldest first.
    List {
        /// The write-behind namespace.
        namespace: String,
        #[command(flatten)]
        gateway: Gateway,
    },
    /// Send them to the store again.
    Retry {
        /// The write-behind namespace.
        namespace: String,
        /// That of this key; all, unless given.
        #[arg(long)]
        key: Option<String>,
        #[command(flatten)]
        gateway: Gateway,
    },
    /// Give them up for good. The cluster keeps what it has until it expires.
    Drop {
        /// The write-behind namespace.
        namespace: String,
        /// That of this key; all, unless given.
        #[arg(long, required_unless_present = "all")]
        key: Option<String>,
        /// All of them.
        #[arg(long, conflicts_with = "key")]
        all: bool,
        #[command(flatten)]
        gateway: Gateway,
    },
}

#[derive(Debug, Serialize)]
struct Stored {
    key: String,
    value: String,
    flags: u32,
    expires_at: u64,
    version: u64,
}

impl StoreVerb {
    pub(crate) async fn run(self, reach: &Reach, as_json: bool) -> anyhow::Result<Done> {
        match self {
            Self::Status { gateway } => status(reach, &gateway, as_json).await,
            Self::Get { store, key, gateway } => get(reach, &gateway, store, key, as_json).await,
            Self::Put { store, key, value, gateway } => {
                change(reach, &gateway, store, key, Some(value.into_bytes())).await
            }
            Self::Delete { store, key, gateway } => change(reach, &gateway, store, key, None).await,
        }
    }
}

/// One store, by the names that `stats` has for its numbers.
type Numbers = BTreeMap<String, String>;

async fn status(reach: &Reach, at: &Gateway, as_json: bool) -> anyhow::Result<Done> {
    let mut admin = reach.admin(&at.gateway).await?;
    let stats = reach.within(admin.get_stats(v1::GetStatsRequest {})).await?.into_inner().stats;
    let stores = stores_of(stats.into_iter().map(|stat| (stat.name, stat.value)));
    if as_json {
        output::json(&stores)?;
        return Ok(Done::Well);
    }
    let header =
        ["store", "kind", "breaker", "calls", "loads", "writes", "refused", "timed out", "transient errors"];
    let rows = stores.into_iter().map(|(name, numbers)| {
        let number = |name: &str| numbers.get(name).cloned().unwrap_or_default();
        let [kind, breaker, calls] = ["kind", "breaker", "calls_under_way"].map(number);
        let [loads, writes, refused] = ["loads", "writes", "refused"].map(number);
        [name, kind, breaker, calls, loads, writes, refused, number("timed_out"), number("errors_transient")]
    });
    output::text(&table(header, rows))?;
    Ok(Done::Well)
}

/// What of a process' stats is of its stores, by their names, which may have colons themselves.
fn stores_of(stats: impl Iterator<Item = (String, String)>) -> BTreeMap<String, Numbers> {
    let mut stores = BTreeMap::<String, Numbers>::new();
    for (name, value) in stats {
        let Some((store, number)) = name.strip_prefix("store:").and_then(|rest| rest.rsplit_once(':')) else {
            continue;
        };
        stores.entry(store.to_owned()).or_default().insert(number.to_owned(), value);
    }
    stores
}

async fn get(reach: &Reach, at: &Gateway, store: String, key: String, as_json: bool) -> anyhow::Result<Done> {
    let mut admin = reach.admin(&at.gateway).await?;
    let request = v1::GetStoredRequest { store, key: key.clone().into_bytes() };
    let found = reach.within(admin.get_stored(request)).await?.into_inner();
    let Some(value) = found.value else { return Ok(Done::Short) };
    let value = String::from_utf8_lossy(&value).into_owned();
    if as_json {
        let (flags, expires_at, version) = (found.flags, found.expires_at, found.version);
        output::json(&Stored { key, value, flags, expires_at, version })?;
    } else {
        output::text(&format!("{value}\n"))?;
    }
    Ok(Done::Well)
}

async fn change(
    reach: &Reach,
    at: &Gateway,
    store: String,
    key: String,
    value: Option<Vec<u8>>,
) -> anyhow::Result<Done> {
    let mut admin = reach.admin(&at.gateway).await?;
    let key = key.into_bytes();
    let request = v1::ChangeStoredRequest { store, key, value, flags: 0, expires_at: 0 };
    let changed = reach.within(admin.change_stored(request)).await?.into_inner();
    output::text(if changed.applied { "done\n" } else { "not done: the store has something newer\n" })?;
    Ok(if changed.applied { Done::Well } else { Done::Short })
}

impl LettersVerb {
    pub(crate) async fn run(self, reach: &Reach, as_json: bool) -> anyhow::Result<Done> {
        match self {
            Self::List { namespace, gateway } => list(reach, &gateway, namespace, as_json).await,
            Self::Retry { namespace, key, gateway } => {
                settle(reach, &gateway, namespace, key, How::Retry).await
            }
            Self::Drop { namespace, key, all: _, gateway } => {
                settle(reach, &gateway, namespace, key, How::Drop).await
            }
        }
    }
}

#[derive(Debug, Serialize)]
struct Letter {
    key: String,
    version: u64,
    written_ms: u64,
    attempts: u64,
    error: String,
}

async fn list(reach: &Reach, at: &Gateway, namespace: String, as_json: bool) -> anyhow::Result<Done> {
    let mut admin = reach.admin(&at.gateway).await?;
    let request = v1::ListDeadLettersRequest { namespace, ..v1::ListDeadLettersRequest::default() };
    let letters = reach.within(admin.list_dead_letters(request)).await?.into_inner().letters;
    let letters: Vec<Letter> = letters
        .into_iter()
        .map(|letter| Letter {
            key: letter.key.escape_ascii().to_string(),
            version: letter.version,
            written_ms: letter.written_ms,
            attempts: letter.attempts,
            error: letter.error,
        })
        .collect();
    if as_json {
        output::json(&letters)?;
    } else {
        let rows = letters.into_iter().map(|letter| [letter.key, letter.attempts.to_string(), letter.error]);
        output::text(&table(["key", "attempts", "error"], rows))?;
    }
    Ok(Done::Well)
}

async fn settle(
    reach: &Reach,
    at: &Gateway,
    namespace: String,
    key: Option<String>,
    how: How,
) -> anyhow::Result<Done> {
    let mut admin = reach.admin(&at.gateway).await?;
    let key = key.unwrap_or_default().into_bytes();
    let request = v1::SettleDeadLettersRequest { namespace, key, how: how.into() };
    let settled = reach.within(admin.settle_dead_letters(request)).await?.into_inner().letters;
    output::text(&format!("{settled} letters\n"))?;
    Ok(if settled > 0 { Done::Well } else { Done::Short })
}

#[cfg(test)]
mod tests {
    use super::stores_of;

    #[test]
    fn numbers_of_stores_are_told_from_those_of_namespaces() {
        let stats =
            [("user:loads", "1"), ("store:main:breaker", "open"), ("store:a:b:loads", "7"), ("pid", "1")];
        let stores = stores_of(stats.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(stores.len(), 2);
        assert_eq!(stores["main"]["breaker"], "open");
        assert_eq!(stores["a:b"]["loads"], "7");
    }
}
