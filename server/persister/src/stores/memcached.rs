//! An existing memcached fleet with its own placement: the way in for teams that migrate.
//!
//! What the cluster lacks is read from the fleet, with its flags and what is left of its life; what is written goes there as
//! well, so that the way back stays open. The fleet keeps no versions: of two gateways that write a key at once either may
//! be last there. It forgets what it needs room for, so it is no place for write-behind alone.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use evanesce_client::{
    Cause, Client, Credentials, LatchPolicy, NodeError, ReadError, RingProfile, StaticNodes, TransportError,
    Ttl, WriteError,
};
use futures_util::future::{BoxFuture, join_all};
use serde::Deserialize;
use tokio::time::{Duration, Instant, timeout_at};

use super::StoreSettings;
use super::link::{Link, SILENCE};
use super::secret::Secret;
use crate::clock::unix_now;
use crate::store::{
    Abilities, Applied, BackingStore, Change, ErrorKind, KeyChange, Loaded, Outcome, StoreError, StoreItem,
    failed_all,
};

/// Largest value: what a server of 1 MiB an item takes, with room for the longest key and its head.
const VALUE_BYTES_MAX: usize = 1_000_000;

/// Keys of one call; all are sent at once, in a few packets to each server.
const BATCH_MAX: usize = 256;

/// The one zone of a fleet.
const ZONE: &str = "fleet";

/// Which servers there are.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The servers, each `NAME/IP:PORT`: the name places the keys. All clients of the fleet must have the same.
    pub nodes: Vec<String>,
    /// How the fleet's clients place keys: `evcache`, as EVCache's and spymemcached's ketama do, by default; or `evanesce`.
    #[serde(default)]
    pub ring: Placement,
    /// The user, where the servers ask for one (`memcached -Y`).
    pub user: Option<String>,
    /// The password.
    pub password: Option<Secret>,
}

/// How keys find their server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Placement {
    /// Ketama of 160 points a server, as EVCache and spymemcached have it.
    #[default]
    Evcache,
    /// Our own.
    Evanesce,
}

impl Placement {
    fn profile(self) -> RingProfile {
        match self {
            Self::Evcache => RingProfile::EVCACHE,
            Self::Evanesce => RingProfile::EVANESCE,
        }
    }
}

impl Settings {
    async fn connect(self) -> Result<Arc<Client>, StoreError> {
        let mut nodes = StaticNodes::new().profile(self.ring.profile());
        for (name, address) in self.servers().0 {
            nodes = nodes.node(ZONE, name, address);
        }
        // A write that failed is told and not repeated behind the caller's back, when it may be an older one.
        let mut builder = Client::builder("fleet").nodes(nodes).zone(ZONE).repair_queue_bytes(0);
        if let (Some(user), Some(password)) = (&self.user, &self.password) {
            let credentials = Credentials::new(user, password.reveal().await?)
                .map_err(|error| StoreError::new(ErrorKind::Credentials, error.to_string()))?;
            builder = builder.credentials(credentials);
        }
        let client = builder.connect_timeout(SILENCE).connect().await;
        client
            .map(Arc::new)
            .map_err(|error| StoreError::permanent(format!("the fleet cannot be used: {error}")))
    }

    /// The servers by name, and what is wrong with them.
    fn servers(&self) -> (Vec<(&str, SocketAddr)>, Vec<String>) {
        let (mut servers, mut faults) = (Vec::new(), Vec::new());
        for node in &self.nodes {
            match node.split_once('/').map(|(name, address)| (name, address.parse())) {
                Some((name, Ok(address))) if !name.is_empty() => servers.push((name, address)),
                _ => faults.push(format!("node {node:?} is no NAME/IP:PORT")),
            }
        }
        (servers, faults)
    }
}

impl StoreSettings for Settings {
    fn faults(&self) -> Vec<String> {
        let (servers, mut faults) = self.servers();
        if self.nodes.is_empty() {
            faults.push("nodes is empty; name each server of the fleet as NAME/IP:PORT".to_owned());
        }
        for (at, (name, _)) in servers.iter().enumerate() {
            if servers[..at].iter().any(|(other, _)| other == name) {
                faults.push(format!("two nodes are called {name:?}; keys are placed by names"));
            }
        }
        if self.user.is_some() != self.password.is_some() {
            faults.push("user and password go together".to_owned());
        }
        faults
    }

    fn open(&self) -> BoxFuture<'_, Result<Arc<dyn BackingStore>, StoreError>> {
        let store = Fleet { settings: self.clone(), client: Link::default() };
        Box::pin(async { Ok(Arc::new(store) as Arc<dyn BackingStore>) })
    }
}

/// A fleet of memcached servers.
pub struct Fleet {
    settings: Settings,
    client: Link<Arc<Client>>,
}

impl std::fmt::Debug for Fleet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fleet").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Fleet {
    /// Who was refused is given up, with its connections: the next one may have another password.
    fn heard<T>(&self, number: u64, client: &Arc<Client>, answers: &[Result<T, StoreError>]) {
        if self.client.heard(number, answers) {
            let client = Arc::clone(client);
            tokio::spawn(async move { client.close().await });
        }
    }

    async fn load_one(client: &Client, key: &Bytes, deadline: Instant) -> Loaded {
        let item = client
            .raw()
            .get_item(key)
            .deadline(deadline)
            .no_fallback()
            .await
            .map_err(|error| unread(&error))?;
        Ok(item.map(|item| StoreItem {
            value: item.value,
            flags: item.flags,
            expires_at: item.ttl.map(|left| unix_now().saturating_add(left.as_secs())),
            version: None,
        }))
    }

    async fn write_one(client: &Client, change: &KeyChange, deadline: Instant) -> Outcome {
        let key = &change.key;
        let written = match &change.change {
            Change::Put(item) if item.value.len() > VALUE_BYTES_MAX => {
                let bytes = item.value.len();
                return Err(StoreError::permanent(format!(
                    "the value has {bytes} bytes, more than 1,000,000"
                )));
            }
            Change::Put(item) => {
                let ttl = match item.expires_at {
                    None => Ttl::Never,
                    Some(at) if at <= unix_now() => Ttl::After(Duration::ZERO),
                    Some(at) => Ttl::At(at),
                };
                let set = client.raw().set(key, item.value.clone()).ttl(ttl).flags(item.flags);
                set.latch(LatchPolicy::All).deadline(deadline).await.map(|_| ())
            }
            Change::Delete => {
                client.raw().delete(key).latch(LatchPolicy::All).deadline(deadline).await.map(|_| ())
            }
        };
        written.map(|()| Applied::Yes).map_err(|error| unwritten(&error))
    }
}

fn unread(error: &ReadError) -> StoreError {
    let told = error.to_string().replace(['\r', '\n'], " ");
    match error {
        ReadError::Unanswered { attempts } => failed(&told, attempts.iter().map(|attempt| &attempt.cause)),
        ReadError::Closed => StoreError::transient("the fleet's client is closed"),
        _ => StoreError::permanent(format!("the fleet has something else: {told}")),
    }
}

fn unwritten(error: &WriteError) -> StoreError {
    let told = error.to_string().replace(['\r', '\n'], " ");
    match error {
        WriteError::NotAcknowledged { attempts, .. } => {
            failed(&told, attempts.iter().map(|attempt| &attempt.cause))
        }
        WriteError::MaybeApplied { attempt } => failed(&told, [&attempt.cause].into_iter()),
        WriteError::TooLate => StoreError::timeout(),
        WriteError::Busy => StoreError::new(ErrorKind::Overload, told),
        WriteError::Closed => StoreError::transient("the fleet's client is closed"),
        _ => StoreError::permanent(format!("the fleet cannot have it: {told}")),
    }
}

fn failed<'a>(told: &str, mut causes: impl Iterator<Item = &'a NodeError> + Clone) -> StoreError {
    if causes.clone().any(is_login_refused) {
        let message = format!("the fleet refuses us: {told}; check `user` and `password`");
        return StoreError::new(ErrorKind::Credentials, message);
    }
    match causes.next() {
        Some(NodeError::Refused(_)) => StoreError::permanent(format!("the fleet refuses it: {told}")),
        Some(NodeError::Overloaded) => StoreError::new(ErrorKind::Overload, told),
        _ => StoreError::transient(format!("the fleet cannot be reached: {told}")),
    }
}

/// Only what a server says, as it lets nobody in or in answer to a request: one that stops closes its connections at any
/// step, and nothing of ours is wrong then. So one that refuses by hanging up counts as away.
fn is_login_refused(cause: &NodeError) -> bool {
    match cause {
        NodeError::Transport(TransportError::Unreachable { cause, .. }) => {
            matches!(cause, Cause::PasswordRefused | Cause::PasswordMissing)
        }
        NodeError::Refused(line) => line == "unauthenticated" || line == "authentication failure",
        _ => false,
    }
}

impl BackingStore for Fleet {
    fn kind(&self) -> &'static str {
        "memcached"
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            writes: true,
            versions: false,
            flags: true,
            expiry: true,
            value_bytes_max: VALUE_BYTES_MAX,
            batch_max: BATCH_MAX,
        }
    }

    fn load<'a>(&'a self, keys: &'a [Bytes], deadline: Instant) -> BoxFuture<'a, Vec<Loaded>> {
        Box::pin(async move {
            match self.client.get(deadline, || self.settings.clone().connect()).await {
                Err(error) => failed_all(keys.len(), &error),
                Ok((number, client)) => {
                    let loads =
                        keys.iter().map(|key| timeout_at(deadline, Self::load_one(&client, key, deadline)));
                    let loads: Vec<_> = loads.collect();
                    let timed = join_all(loads).await.into_iter();
                    let loaded: Vec<Loaded> =
                        timed.map(|loaded| loaded.unwrap_or_else(|_| Err(StoreError::timeout()))).collect();
                    self.heard(number, &client, &loaded);
                    loaded
                }
            }
        })
    }

    fn write<'a>(&'a self, changes: &'a [KeyChange], deadline: Instant) -> BoxFuture<'a, Vec<Outcome>> {
        Box::pin(async move {
            match self.client.get(deadline, || self.settings.clone().connect()).await {
                Err(error) => failed_all(changes.len(), &error),
                Ok((number, client)) => {
                    let write = |change| timeout_at(deadline, Self::write_one(&client, change, deadline));
                    let writes: Vec<_> = changes.iter().map(write).collect();
                    let timed = join_all(writes).await.into_iter();
                    let written: Vec<Outcome> =
                        timed.map(|written| written.unwrap_or_else(|_| Err(StoreError::timeout()))).collect();
                    self.heard(number, &client, &written);
                    written
                }
            }
        })
    }

    fn check(&self, deadline: Instant) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let probe = [Bytes::from_static(b"evanesce-check")];
            self.load(&probe, deadline).await.into_iter().try_for_each(|loaded| loaded.map(|_| ()))
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            if let Some(client) = self.client.there() {
                client.close().await;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use evanesce_client::Stage;

    use super::*;

    #[test]
    fn servers_without_names_or_of_one_name_are_refused() {
        let faults = |nodes: &str| {
            let settings: Settings = toml::from_str(&format!("nodes = {nodes}")).expect("good TOML");
            settings.faults()
        };
        assert_eq!(faults("['a/127.0.0.1:11211', 'b/127.0.0.1:11212']"), [""; 0]);
        assert!(faults("['127.0.0.1:11211']")[0].contains("is no NAME/IP:PORT"));
        assert!(faults("['a/127.0.0.1:1', 'a/127.0.0.1:2']")[0].contains("two nodes are called"));
        assert!(faults("[]")[0].contains("nodes is empty"));
    }

    #[test]
    fn server_that_stops_while_it_greets_is_away_and_one_that_refuses_the_password_is_told() {
        let kind = |cause| {
            let address = "127.0.0.1:11211".parse().expect("an address");
            let cause = NodeError::Transport(TransportError::Unreachable { address, cause });
            failed(&cause.to_string(), [&cause].into_iter()).kind
        };
        for stage in [Stage::Authentication, Stage::Greeting] {
            assert_eq!(kind(Cause::Closed(stage)), ErrorKind::Transient);
        }
        assert_eq!(kind(Cause::PasswordRefused), ErrorKind::Credentials);
        assert_eq!(kind(Cause::PasswordMissing), ErrorKind::Credentials);
        let said = |line: &str| failed(line, [&NodeError::Refused(line.to_owned())].into_iter()).kind;
        assert_eq!(said("unauthenticated"), ErrorKind::Credentials);
        assert_eq!(said("bad command line format"), ErrorKind::Permanent);
    }
}
