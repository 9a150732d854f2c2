//! The client's operations against stock memcached, in two zones, less versions and repair.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use evanesce_client::{
    ArithmeticOutcome, Client, CompareAndSetOutcome, LatchPolicy, Namespace, StaticNodes, StoreOutcome,
};
use evanesce_tests::{Process, Programs, start_memcached};

use crate::Bench;
use crate::stage::runtime;
use crate::verdict::Verdict;

/// Zones, and servers in each.
const ZONES: [&str; 2] = ["a", "b"];
/// Servers of a zone.
const NODES: usize = 2;
/// Keys of bulk reads.
const MANY: usize = 500;

/// Runs it.
///
/// # Errors
/// When memcached does not start.
pub(crate) fn run(bench: &Bench, verdict: &mut Verdict) -> anyhow::Result<()> {
    let (mut servers, nodes) = start(&bench.programs, &bench.directory)?;
    let runtime = runtime()?;
    let client = Client::builder("STOCK").nodes(nodes).zone("a").latch(LatchPolicy::All);
    let client = runtime.block_on(client.connect())?;
    let cases = runtime.block_on(operations(&client))?;
    verdict.figure(format!("{cases} groups of operations on {} memcached", servers.len()));
    // A zone goes: reads and writes go on, and nothing waits for its repair.
    servers.drain(..NODES);
    runtime.block_on(without_a_zone(&client))?;
    verdict.figure("a zone lost: reads and writes go on");
    verdict.must(client.repairs_pending() == 0, "repairs wait for servers that keep no versions");
    drop(servers);
    Ok(())
}

fn start(programs: &Programs, directory: &Path) -> anyhow::Result<(Vec<Process>, StaticNodes)> {
    let (mut servers, mut nodes) = (Vec::new(), StaticNodes::new());
    for zone in ZONES {
        for node in 0..NODES {
            let (process, address) = start_memcached(programs, directory, 64, &[])?;
            servers.push(process);
            nodes = nodes.node(zone, format!("n{node}"), address);
        }
    }
    Ok((servers, nodes))
}

/// Returns how many groups passed.
async fn operations(client: &Client) -> anyhow::Result<usize> {
    let users = client.namespace("user");
    set_and_get(&users).await.context("set, get, delete")?;
    bulk(&users).await.context("get_many")?;
    conditional(&users).await.context("add, replace, append, prepend")?;
    numbers(&users).await.context("incr, decr")?;
    compare(&users).await.context("compare_and_set")?;
    lives(&users).await.context("touch, TTL")?;
    odd(&users).await.context("odd keys and values")?;
    typed(&users).await.context("typed values")?;
    write_many(&users).await.context("set_many, delete_many")?;
    load(&users).await.context("get_or_load, get_or_load_many")?;
    chunks(&users).await.context("large values, long keys")?;
    batch(client, &users).await.context("batches")?;
    Ok(12)
}

async fn set_and_get(users: &Namespace) -> anyhow::Result<()> {
    ensure!(users.get("none").await?.is_none());
    let written = users.set("1", "one").flags(7).await?;
    ensure!(written.acked == ZONES.len() && written.version.is_none() && !written.is_superseded());
    ensure!(users.get("1").await?.as_deref() == Some(&b"one"[..]));
    let item = users.get_item("1").await?.context("an item")?;
    ensure!(item.flags == 7 && item.version.is_none() && item.ttl.is_some() && item.cas > 0);
    let deleted = users.delete("1").await?;
    ensure!(deleted.found && deleted.written.acked == ZONES.len());
    ensure!(!users.delete("1").await?.found && users.get("1").await?.is_none());
    Ok(())
}

async fn bulk(users: &Namespace) -> anyhow::Result<()> {
    for key in (0..MANY).step_by(2) {
        users.set(format!("many-{key}"), key.to_string()).await?;
    }
    let found = users.get_many((0..MANY).map(|key| format!("many-{key}"))).await?;
    ensure!(found.is_complete() && found.hits.len() == MANY / 2 && found.misses.len() == MANY / 2);
    for (key, value) in &found.hits {
        ensure!(key.strip_prefix(b"many-") == Some(&value[..]));
    }
    Ok(())
}

async fn conditional(users: &Namespace) -> anyhow::Result<()> {
    ensure!(!users.replace("2", "b").await?.is_stored() && !users.append("2", "b").await?.is_stored());
    ensure!(users.add("2", "b").await?.is_stored());
    ensure!(users.add("2", "x").await? == StoreOutcome::NotStored);
    ensure!(users.append("2", "c").await?.is_stored() && users.prepend("2", "a").await?.is_stored());
    ensure!(users.get("2").await?.as_deref() == Some(&b"abc"[..]));
    ensure!(
        users.replace("2", "d").await?.is_stored() && users.get("2").await?.as_deref() == Some(&b"d"[..])
    );
    Ok(())
}

async fn numbers(users: &Namespace) -> anyhow::Result<()> {
    ensure!(users.incr("3", 1).await? == ArithmeticOutcome::NotFound);
    ensure!(users.incr("3", 1).initial(5).await?.number() == Some(5));
    ensure!(users.incr("3", 10).await?.number() == Some(15));
    ensure!(users.get_number("3").await? == Some(15));
    ensure!(users.decr("3", 6).await?.number() == Some(9) && users.get_number("3").await? == Some(9));
    ensure!(users.decr("3", 20).await?.number() == Some(0));
    users.set("3", "words").await?;
    ensure!(users.incr("3", 1).await? == ArithmeticOutcome::NotANumber);
    Ok(())
}

async fn compare(users: &Namespace) -> anyhow::Result<()> {
    users.set("4", "old").await?;
    let item = users.get_for_cas("4").await?.context("an item")?;
    let stored = users.compare_and_set("4", item.cas, "new").await?;
    ensure!(matches!(stored, CompareAndSetOutcome::Stored(_)));
    ensure!(users.compare_and_set("4", item.cas, "newer").await? == CompareAndSetOutcome::Exists);
    ensure!(users.get("4").await?.as_deref() == Some(&b"new"[..]));
    ensure!(users.compare_and_set("none", 1, "x").await? == CompareAndSetOutcome::NotFound);
    Ok(())
}

async fn lives(users: &Namespace) -> anyhow::Result<()> {
    users.set("5", "short").ttl(Duration::from_secs(100)).await?;
    ensure!(users.touch("5", Duration::from_secs(1_000)).await?.found);
    let ttl = users.get_item("5").await?.context("an item")?.ttl.context("a TTL")?;
    ensure!(ttl > Duration::from_secs(900), "touched to {ttl:?}");
    ensure!(users.get_and_touch("5", Duration::from_secs(2_000)).await?.as_deref() == Some(&b"short"[..]));
    let ttl = users.get_item("5").await?.context("an item")?.ttl.context("a TTL")?;
    ensure!(ttl > Duration::from_secs(1_900), "touched to {ttl:?}");
    ensure!(!users.touch("none", Duration::from_secs(1)).await?.found);
    Ok(())
}

async fn odd(users: &Namespace) -> anyhow::Result<()> {
    for key in ["with space".as_bytes(), b"\0\r\n\xff", "schl\u{fc}ssel".as_bytes(), &[b'k'; 240]] {
        users.set(key, key.to_vec()).await?;
        ensure!(users.get(key).await?.as_deref() == Some(key));
    }
    let large: Vec<u8> = (0..900_000_u32).map(|at| (at * 31 % 251) as u8).collect();
    users.set("large", large.clone()).await?;
    ensure!(users.get("large").await?.as_deref() == Some(&large[..]));
    users.set("empty", "").await?;
    ensure!(users.get("empty").await?.as_deref() == Some(&b""[..]));
    Ok(())
}

async fn typed(users: &Namespace) -> anyhow::Result<()> {
    let people = users.clone().typed::<(String, u32)>();
    let ada = ("Ada".to_owned(), 36);
    people.set("6", &ada).await?;
    ensure!(people.get("6").await? == Some(ada.clone()));
    let found = people.get_many(["6", "none"]).await?;
    ensure!(found.hits.len() == 1 && found.misses.len() == 1 && found.get("6") == Some(&ada));
    let item = people.get_item("6").await?.context("an item")?;
    ensure!(item.value == ada && item.version.is_none() && item.ttl.is_some());
    Ok(())
}

async fn write_many(users: &Namespace) -> anyhow::Result<()> {
    let keys: Vec<String> = (0..MANY).map(|key| format!("bulk-{key}")).collect();
    let written = users.set_many(keys.iter().map(|key| (key, key.clone()))).await?;
    ensure!(written.is_complete() && written.written.len() == MANY && written.retryable().count() == 0);
    let found = users.get_many(&keys).await?;
    let values = found.in_order_of(&keys);
    ensure!(
        keys.iter().zip(values).all(|(key, value)| value.map(|value| &value[..]) == Some(key.as_bytes()))
    );
    ensure!(users.delete_many(&keys).await?.is_complete());
    ensure!(users.get_many(&keys).await?.misses.len() == MANY);
    Ok(())
}

async fn load(users: &Namespace) -> anyhow::Result<()> {
    let loader = async |key: Bytes| Ok::<_, io::Error>(Some(key));
    ensure!(users.get_or_load("load-1", loader).await?.as_deref() == Some(&b"load-1"[..]));
    let present = |key: &Bytes| *key != "load-none";
    let loader = move |keys: Vec<Bytes>| async move {
        let loaded = keys.into_iter().filter(present).map(|key| (key.clone(), key));
        Ok::<_, io::Error>(loaded.collect::<Vec<_>>())
    };
    let keys = ["load-1", "load-2", "load-none", "load-3"];
    let found = users.get_or_load_many(keys, loader).remember_absent().await?;
    ensure!(found.is_complete() && found.hits.len() == 3 && found.absent == ["load-none"]);
    // The fills follow, and nothing else lasts as long.
    let patience = Instant::now() + Duration::from_secs(10);
    while users.get_many(keys).await?.hits.len() < 3 {
        ensure!(Instant::now() < patience, "what was loaded is not stored");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    ensure!(!users.add("load-none", "x").await?.is_stored(), "it is remembered that there is nothing");
    Ok(())
}

async fn chunks(users: &Namespace) -> anyhow::Result<()> {
    let large: Vec<u8> = (0..3_000_000_u32).map(|at| (at * 31 % 251) as u8).collect();
    let long = vec![b'k'; 1_000];
    let second = Duration::from_secs(1);
    users.set(&long, large.clone()).timeout(2 * second).await?;
    ensure!(users.get(&long).timeout(second).await?.as_deref() == Some(&large[..]));
    Ok(())
}

async fn batch(client: &Client, users: &Namespace) -> anyhow::Result<()> {
    let typed = users.clone().typed::<(String, u32)>();
    let mut batch = client.batch();
    let (number, person) = (batch.add(users.get_number("batch")), batch.add(typed.get("6")));
    let mut answers = batch.await;
    ensure!(answers.take(number)?.is_none() && answers.take(person)? == Some(("Ada".to_owned(), 36)));
    Ok(())
}

async fn without_a_zone(client: &Client) -> anyhow::Result<()> {
    let users = client.namespace("user");
    for key in 0..MANY {
        users.set(format!("many-{key}"), "again").latch(LatchPolicy::Local).await?;
        ensure!(users.get(format!("many-{key}")).await?.as_deref() == Some(&b"again"[..]));
    }
    Ok(())
}
