//! What DynamoDB's store must do beside what all must: its answers end at 16 MB, and every request is signed.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, ensure};
use bytes::Bytes;
use evanesce_persister::{Applied, Change, KeyChange, StoreItem};
use evanesce_tests::free_port;

use crate::checks::{CALL, open, put, replaced, soon};
use crate::emulators::{self, ACCESS_KEY};
use crate::kinds::{Kind, Want, texts};
use crate::server::Server;

/// The largest items that one call loads here: more than one answer has room for.
const LARGEST: usize = 45;

/// Bytes of a key, at most.
const KEY_BYTES: usize = 250;

/// Amazon's own for a machine, from its published jars. It keeps what it has in a file.
pub(crate) fn local(address: SocketAddr, directory: &Path, installed: &Path) -> anyhow::Result<Server> {
    let (data, jars) = (directory.join("data"), installed.join("dynamodb"));
    std::fs::create_dir_all(&data)?;
    let mut command = texts(["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
    command.extend([
        format!("-Djava.library.path={}", jars.display()),
        "-cp".to_owned(),
        format!("{}/*", jars.display()),
        "com.amazonaws.services.dynamodbv2.local.main.ServerRunner".to_owned(),
    ]);
    let (port, data) = (address.port().to_string(), data.display().to_string());
    command.extend(texts(["-port", &port, "-dbPath", &data, "-sharedDb", "-disableTelemetry"]));
    Ok(Server::new(address, directory, command, None))
}

/// Settings of a store there.
pub(crate) fn settings(address: SocketAddr, secret: &str, create: bool) -> String {
    format!(
        "kind = 'dynamodb'\nendpoint = 'http://{address}'\naccess_key_id = '{ACCESS_KEY}'\n\
         secret_access_key = '{secret}'\ncreate = {create}\n"
    )
}

/// Items that are as large as any, under the longest keys, all in one load: what an answer leaves out is asked again.
pub(crate) async fn largest(server: &Server) -> anyhow::Result<String> {
    let store = open(Kind::DynamoDb, server.address, Want::default()).await?;
    let most = store.abilities().value_bytes_max;
    let keys: Vec<Bytes> = (0..LARGEST).map(|n| format!("{n:0KEY_BYTES$}").into()).collect();
    let value = |n: usize| Bytes::from(vec![u8::try_from(n).unwrap_or(0); most]);
    let changes = keys.iter().enumerate().map(|(n, key)| {
        let at = Some(u64::from(u32::MAX));
        let item = StoreItem { value: value(n), flags: u32::MAX, expires_at: at, version: None };
        KeyChange { key: key.clone(), version: u64::MAX >> 1, change: Change::Put(item) }
    });
    for outcome in store.write(&changes.collect::<Vec<_>>(), soon(3 * CALL)).await {
        ensure!(outcome? == Applied::Yes, "a new item was superseded");
    }
    for (n, loaded) in store.load(&keys, soon(3 * CALL)).await.into_iter().enumerate() {
        let item = loaded?.context("an item is gone")?;
        ensure!(item.value == value(n), "item {n} came back as another");
    }
    store.close().await;
    Ok(format!("{LARGEST} of {most} bytes in one load"))
}

/// A service that refuses who does not sign: a wrong secret, its replacement, and writes.
pub(crate) async fn signatures(directory: &Path, installed: &Path) -> anyhow::Result<String> {
    let directory = directory.join("signatures");
    std::fs::create_dir_all(&directory)?;
    let mut server = emulators::s3(free_port()?, &directory, installed).started()?;
    let (store, error) = replaced(Kind::DynamoDb, server.address, &directory).await?;
    let key = Bytes::from("signed");
    let write = async |version, value| -> anyhow::Result<Applied> {
        Ok(store.write(&[put(&key, version, value)], soon(CALL)).await.pop().context("one answer")??)
    };
    ensure!(write(7, "new").await? == Applied::Yes, "a new item was superseded");
    ensure!(write(6, "old").await? == Applied::Superseded, "an older write was applied");
    let loaded = store.load(std::slice::from_ref(&key), soon(CALL)).await.pop().context("one answer")??;
    ensure!(loaded.is_some_and(|item| item.value == "new"), "what was written is not there");
    store.close().await;
    server.stop()?;
    Ok(error.to_string())
}
