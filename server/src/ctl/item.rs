//! Verbs that try the cache, through the smart client.

use std::time::Duration;

use anyhow::Context;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use evanesce_client::{Client, Item, LatchPolicy, Written};
use evanesce_gateway::NodeAccess;
use serde_json::{Value, json};

use crate::ctl::Done;
use crate::ctl::nodes::NodeArgs;
use crate::ctl::reach::Reach;
use crate::output;

/// A client like any service's, but one that waits for every replica: this process ends with its answer, and writes
/// still under way would end with it.
pub(crate) async fn client(reach: &Reach, zone: Option<String>, nodes: NodeArgs) -> anyhow::Result<Client> {
    let topology = reach.topology().await?;
    let timeout = reach.timeout();
    let builder = Client::builder(&topology.cluster)
        .discovery(reach.discoveries())
        .connect_timeout(timeout)
        // A person waits rather than miss: connections are new, and there is no second try.
        .read_attempt_timeout(timeout / 2)
        .read_timeout(timeout)
        .write_timeout(timeout)
        .latch(LatchPolicy::All);
    let builder = match zone {
        Some(zone) => builder.zone(zone),
        None => builder,
    };
    let builder = NodeAccess::from(nodes).give(builder)?;
    builder.connect().await.with_context(|| format!("cannot connect to cluster {}", topology.cluster))
}

/// `get`: the value as it is, and a line's end.
pub(crate) async fn get(client: &Client, key: &str, as_json: bool) -> anyhow::Result<Done> {
    let found = client.get_item(key).await;
    client.close().await;
    let found = found.with_context(|| format!("cannot read {key}"))?;
    match (&found, as_json) {
        (Some(item), true) => output::json(&item_json(key, item))?,
        (None, true) => output::json(&json!({ "key": key, "found": false }))?,
        (Some(item), false) => output::bytes(&[&item.value[..], b"\n"].concat())?,
        (None, false) => {}
    }
    Ok(if found.is_some() { Done::Well } else { Done::Short })
}

/// A value that is not text comes as base64, under another name.
fn item_json(key: &str, item: &Item) -> Value {
    let (name, value) = match std::str::from_utf8(&item.value) {
        Ok(text) => ("value", text.to_owned()),
        Err(_) => ("value_base64", BASE64_STANDARD.encode(&item.value)),
    };
    let ttl_secs = item.ttl.map(|ttl| ttl.as_secs());
    json!({
        "key": key,
        "found": true,
        name: value,
        "flags": item.flags,
        "cas": item.cas,
        "ttl_secs": ttl_secs,
    })
}

/// `set`.
pub(crate) async fn set(
    client: &Client,
    key: &str,
    value: String,
    ttl: Option<Duration>,
    as_json: bool,
) -> anyhow::Result<Done> {
    let set = client.set(key, value);
    let written = match ttl {
        Some(ttl) => set.ttl(ttl).await,
        None => set.await,
    };
    client.close().await;
    let written = written.with_context(|| format!("cannot write {key}"))?;
    if as_json {
        output::json(&json!({ "key": key, "stored": true, "written": written_json(written) }))?;
    } else {
        output::text(&format!("stored in {}\n", zones(written)))?;
    }
    Ok(Done::Well)
}

/// `delete`.
pub(crate) async fn delete(client: &Client, key: &str, as_json: bool) -> anyhow::Result<Done> {
    let deleted = client.delete(key).await;
    client.close().await;
    let deleted = deleted.with_context(|| format!("cannot delete {key}"))?;
    if as_json {
        let written = written_json(deleted.written);
        output::json(&json!({ "key": key, "found": deleted.found, "written": written }))?;
    } else if deleted.found {
        output::text(&format!("deleted in {}\n", zones(deleted.written)))?;
    }
    Ok(if deleted.found { Done::Well } else { Done::Short })
}

fn written_json(written: Written) -> Value {
    json!({ "acked": written.acked, "failed": written.failed, "pending": written.pending })
}

fn zones(written: Written) -> String {
    let groups = if written.acked == 1 { "server group" } else { "server groups" };
    format!("{} {groups}", written.acked)
}
