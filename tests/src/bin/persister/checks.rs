//! What every store must do beside its suite, and what it must say when it cannot.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use evanesce_persister::{
    Applied, BackingStore, Change, ErrorKind, KeyChange, Loaded, Outcome, StoreError, StoreItem, conformance,
    stores,
};
use tokio::time::{Instant, sleep};

use crate::dynamodb;
use crate::emulators;
use crate::kinds::{Kind, PASSWORD, Want};
use crate::locked;
use crate::relay::Relay;
use crate::server::Server;

/// For calls that should come back: slow machines, cold stores.
pub(crate) const CALL: Duration = Duration::from_secs(20);

/// For calls that should not.
pub(crate) const SHORT: Duration = Duration::from_millis(800);

/// What a call may take beyond its deadline: a scheduler's turn on a loaded machine.
pub(crate) const GRACE: Duration = Duration::from_secs(2);

/// By when a store must serve again once its server does.
const BACK: Duration = Duration::from_secs(30);

/// Items written by two writers at once.
const CONTENDED_KEYS: usize = 100;

/// The same of a server that does one thing at a time, or waits for its disk at each.
const CONTENDED_KEYS_SLOW: usize = 10;

/// No server's password.
const WRONG: &str = "wr0ng-secret";

pub(crate) type Store = Arc<dyn BackingStore>;

/// All checks of a kind; whether all passed. What they start beside its server runs in `directory`, of what is `installed`.
pub(crate) async fn all(kind: Kind, server: &mut Server, directory: &Path, installed: &Path) -> bool {
    let mut passed = report(kind, "missing schema is named", &missing(kind, server).await);
    passed &= report(kind, "suite", &suite(kind, server).await);
    passed &= report(kind, "two writers", &two_writers(kind, server).await);
    passed &= report(kind, "wrong credentials", &wrong_credentials(kind, server, directory).await);
    if kind == Kind::DynamoDb {
        passed &= report(kind, "largest items", &dynamodb::largest(server).await);
        passed &= report(kind, "signatures", &dynamodb::signatures(directory, installed).await);
    }
    if kind == Kind::Postgres {
        passed &= report(kind, "locked row", &locked::row(kind, server).await);
    }
    passed &= report(kind, "slow", &slow(kind, server).await);
    passed & report(kind, "down and back", &down(kind, server).await)
}

fn report(kind: Kind, check: &str, outcome: &anyhow::Result<String>) -> bool {
    match outcome {
        Ok(said) if said.is_empty() => println!("{:10} {check}: ok", kind.name()),
        Ok(said) => println!("{:10} {check}: ok ({said})", kind.name()),
        Err(error) => println!("{:10} {check}: FAILED: {error:#}", kind.name()),
    }
    outcome.is_ok()
}

pub(crate) async fn open(kind: Kind, address: std::net::SocketAddr, want: Want) -> anyhow::Result<Store> {
    opened(&kind.settings(address, want)).await
}

async fn opened(text: &str) -> anyhow::Result<Store> {
    let table = text.parse().with_context(|| format!("settings {text}"))?;
    let settings = stores::settings(table).map_err(|faults| anyhow::anyhow!(faults.join("; ")))?;
    ensure!(!format!("{settings:?}").contains(PASSWORD), "the settings show the password");
    Ok(settings.open().await?)
}

pub(crate) fn soon(limit: Duration) -> Instant {
    Instant::now() + limit
}

pub(crate) fn put(key: &Bytes, version: u64, value: &str) -> KeyChange {
    let value = Bytes::copy_from_slice(value.as_bytes());
    let item = StoreItem { value, flags: 0, expires_at: None, version: None };
    KeyChange { key: key.clone(), version, change: Change::Put(item) }
}

/// A table that is not there is no transient error, and the message says how to get one.
async fn missing(kind: Kind, server: &Server) -> anyhow::Result<String> {
    if !kind.has_schema() {
        return Ok("it has none".to_owned());
    }
    let store = open(kind, server.address, Want { create: false, ..Want::default() }).await?;
    let error = store.check(soon(CALL)).await.err().context("there is no table, and nobody said so")?;
    ensure!(error.kind == ErrorKind::Permanent, "{:?}: {error}", error.kind);
    ensure!(error.message.contains("create = true"), "it does not say what to do: {error}");
    store.close().await;
    Ok(String::new())
}

/// The suite of the package, against the real server.
async fn suite(kind: Kind, server: &Server) -> anyhow::Result<String> {
    let store = open(kind, server.address, Want::default()).await?;
    let prefix = format!("suite-{}:", std::process::id());
    let run = tokio::spawn(async move {
        let left_out = conformance::all(&*store, &prefix).await;
        store.close().await;
        left_out
    });
    let left_out = run.await.context("the suite panicked; what it said is above")?;
    if kind == Kind::Http {
        // A store that cannot write finds what others put there.
        let store = open(kind, server.address, Want::default()).await?;
        let (name, text) = emulators::FILE;
        let loaded = store.load(&[name.into(), "not there".into()], soon(CALL)).await;
        let [Ok(Some(item)), Ok(None)] = &loaded[..] else { bail!("it loads {loaded:?}") };
        ensure!(item.value == text, "it loads another text: {:?}", item.value);
    }
    Ok(match left_out.is_empty() {
        true => String::new(),
        false => format!("cannot do: {}", left_out.join(", ")),
    })
}

/// Two writers of the same keys, in opposite orders, each with its own versions: the newest of each key stays.
async fn two_writers(kind: Kind, server: &Server) -> anyhow::Result<String> {
    let store = open(kind, server.address, Want::default()).await?;
    if !store.abilities().versions {
        return Ok("it keeps no versions".to_owned());
    }
    let is_slow = matches!(kind, Kind::S3 | Kind::DynamoDb);
    let count = if is_slow { CONTENDED_KEYS_SLOW } else { CONTENDED_KEYS };
    let keys: Vec<Bytes> = (0..count).map(|n| format!("contended {n}").into()).collect();
    let writer = |odd: u64| {
        let (store, mut keys) = (Arc::clone(&store), keys.clone());
        if odd == 1 {
            keys.reverse();
        }
        tokio::spawn(async move {
            for round in 0..10 {
                let version = 1_000 + 2 * round + odd;
                for part in keys.chunks(store.abilities().batch_max) {
                    let changes: Vec<_> =
                        part.iter().map(|key| put(key, version, &version.to_string())).collect();
                    retried(&*store, &changes).await?;
                }
            }
            anyhow::Ok(())
        })
    };
    let (even, odd) = (writer(0), writer(1));
    even.await??;
    odd.await??;
    for part in keys.chunks(store.abilities().batch_max) {
        for (key, loaded) in part.iter().zip(store.load(part, soon(CALL)).await) {
            let value = loaded?.context("a key is gone")?.value;
            ensure!(value == "1019", "{key:?} ended with {value:?}");
        }
    }
    store.close().await;
    Ok(String::new())
}

/// Writes until nothing fails with an error that may pass.
async fn retried(store: &dyn BackingStore, changes: &[KeyChange]) -> anyhow::Result<Vec<Applied>> {
    let until = soon(CALL);
    loop {
        let outcomes: Result<Vec<Applied>, StoreError> =
            store.write(changes, until).await.into_iter().collect();
        match outcomes {
            Err(error) if error.kind == ErrorKind::Transient && Instant::now() < until => {}
            outcomes => return Ok(outcomes?),
        }
    }
}

/// The kind of error of all answers, which must be one.
fn kind_of<T>(outcomes: Vec<Result<T, StoreError>>) -> anyhow::Result<StoreError> {
    let mut errors = outcomes.into_iter().map(|outcome| outcome.err().context("it should have failed"));
    let first = errors.next().context("no answer")??;
    for error in errors {
        ensure!(error?.kind == first.kind, "the keys failed each in another way");
    }
    Ok(first)
}

/// Two keys, loaded and written, where nothing can succeed.
async fn refused(store: &dyn BackingStore, limit: Duration) -> anyhow::Result<[StoreError; 3]> {
    let keys = [Bytes::from("a"), Bytes::from("b")];
    let changes = [put(&keys[0], 1, "v"), put(&keys[1], 1, "v")];
    let loaded: Vec<Loaded> = store.load(&keys, soon(limit)).await;
    let written: Vec<Outcome> = match store.abilities().writes {
        true => store.write(&changes, soon(limit)).await,
        false => loaded.iter().map(|loaded| loaded.clone().map(|_| Applied::Yes)).collect(),
    };
    ensure!(loaded.len() == 2 && written.len() == 2, "an answer for each key");
    let checked = store.check(soon(limit)).await.err().context("the check should have failed")?;
    Ok([kind_of(loaded)?, kind_of(written)?, checked])
}

async fn wrong_credentials(kind: Kind, server: &Server, directory: &Path) -> anyhow::Result<String> {
    if !kind.has_credentials() {
        return Ok("it asks for none".to_owned());
    }
    let (store, error) = replaced(kind, server.address, directory).await?;
    store.close().await;
    Ok(error.to_string())
}

/// With a wrong password every call fails as one of credentials, and shows none of it. Once the right one is in its place, the
/// store serves, which is returned with what it said before.
pub(crate) async fn replaced(
    kind: Kind,
    address: std::net::SocketAddr,
    directory: &Path,
) -> anyhow::Result<(Store, StoreError)> {
    let file = directory.join("replaced");
    std::fs::write(&file, format!("{WRONG}\n"))?;
    let settings = kind.settings(address, Want { password: WRONG, ..Want::default() });
    let place = format!("{{ file = '{}' }}", file.display());
    let store = opened(&settings.replace(&format!("'{WRONG}'"), &place)).await?;
    let errors = refused(&*store, CALL).await?;
    for error in &errors {
        ensure!(error.kind == ErrorKind::Credentials, "{:?}: {error}", error.kind);
        ensure!(!error.message.contains(WRONG), "the message shows the password: {error}");
    }
    std::fs::write(&file, format!("{}\n", kind.password()))?;
    serves_again(&*store).await.context("after the password was replaced")?;
    let [error, ..] = errors;
    Ok((store, error))
}

/// A server that does not answer costs no more than the deadline; one that answers again is used again.
async fn slow(kind: Kind, server: &Server) -> anyhow::Result<String> {
    let relay = Relay::to(server.address)?;
    let store = open(kind, relay.address, Want::default()).await?;
    store.check(soon(CALL)).await?;
    relay.hold(true);
    let began = Instant::now();
    let errors = refused(&*store, SHORT).await?;
    ensure!(began.elapsed() < 3 * SHORT + GRACE, "three calls took {:?}", began.elapsed());
    for error in errors {
        ensure!(error.kind == ErrorKind::Transient, "{:?}: {error}", error.kind);
    }
    relay.hold(false);
    serves_again(&*store).await?;
    store.close().await;
    Ok(String::new())
}

/// A server that is gone is told at once; when it is back, with what it had, nobody has to do anything.
async fn down(kind: Kind, server: &mut Server) -> anyhow::Result<String> {
    let store = open(kind, server.address, Want::default()).await?;
    let key = Bytes::from("through a restart");
    if store.abilities().writes {
        retried(&*store, &[put(&key, 7, "kept")]).await?;
    }
    server.stop()?;
    let began = Instant::now();
    let errors = refused(&*store, CALL).await?;
    let took = began.elapsed();
    for error in &errors {
        ensure!(error.kind == ErrorKind::Transient, "{:?}: {error}", error.kind);
    }
    server.start()?;
    serves_again(&*store).await?;
    if kind.is_durable() {
        let loaded =
            store.load(std::slice::from_ref(&key), soon(CALL)).await.pop().context("one answer")??;
        ensure!(loaded.is_some_and(|item| item.value == "kept"), "what it acknowledged is gone");
    }
    store.close().await;
    Ok(format!("three calls failed in {} ms: {}", took.as_millis(), errors[0]))
}

async fn serves_again(store: &dyn BackingStore) -> anyhow::Result<()> {
    let until = soon(BACK);
    loop {
        match store.check(soon(Duration::from_secs(2))).await {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > until => bail!("it does not serve again: {error}"),
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}
