//! DynamoDB, and what speaks its protocol: one table, each write done only where it is the newer one.
//!
//! ```text
//!  key     value           flags   expires_at              version       forget_at
//!  binary  binary; absent  number  seconds since 1970;     number;       the table's TTL: `remember_secs` behind
//!          when deleted            absent when it does     absent where  the delete or the expiry
//!                                  not expire              others wrote
//! ```
//!
//! A deleted item stays as its version, and an expired one is not served, until DynamoDB drops it some hours or days after
//! `forget_at`. A value that others wrote may be a string. A write replaces the whole item: attributes of others go.
//!
//! It speaks the JSON protocol with the client, the signatures and the credentials of the S3 store's library: the Amazon SDK
//! would be twenty packages more for the same four requests.

mod client;
mod gather;
mod item;
mod refusal;
mod table;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt};
use reqwest::Url;
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use super::StoreSettings;
use super::link::Link;
use super::secret::Secret;
use crate::clock::unix_now;
use crate::store::{Abilities, BackingStore, ErrorKind, KeyChange, Loaded, Outcome, StoreError, failed_all};

use client::Client;
use gather::Gather;
use item::VALUE_BYTES_MAX;

/// Keys of one call: as many as the service takes. It answers for up to 16 MB of them at once.
const BATCH_MAX: usize = 100;

/// Writes of one call under way at once.
const REQUESTS_MAX: usize = 32;

/// How long versions outlive what they belong to: longer than any write is on its way.
const REMEMBER_SECS_DEFAULT: u64 = 24 * 3600;

/// Where the table is and who we are.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The table. `evanesce_items` by default.
    #[serde(default = "table")]
    pub table: String,
    /// The region. `us-east-1` by default.
    #[serde(default = "region")]
    pub region: String,
    /// The service, as `https://HOST`; Amazon's of that region by default. With `http://` nothing is encrypted.
    pub endpoint: Option<String>,
    /// The id of an access key. Without it the environment says who we are, or the machine's role.
    pub access_key_id: Option<String>,
    /// Its secret.
    pub secret_access_key: Option<Secret>,
    /// Whether the table is made when it is not there, paid for by request, and its TTL switched on. `false` by default.
    #[serde(default)]
    pub create: bool,
    /// Whether loads see every write acknowledged before, at twice the cost. `true` by default.
    #[serde(default = "consistent_reads")]
    pub consistent_reads: bool,
    /// How many seconds an item is kept after it was deleted or has expired, so that nothing older comes back. A day by default.
    #[serde(default = "remember_secs")]
    pub remember_secs: u64,
}

fn table() -> String {
    "evanesce_items".to_owned()
}

fn region() -> String {
    "us-east-1".to_owned()
}

fn consistent_reads() -> bool {
    true
}

fn remember_secs() -> u64 {
    REMEMBER_SECS_DEFAULT
}

/// What tables may be called.
fn is_table(name: &str) -> bool {
    (3..=255).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}

/// What regions are called: a part of a host's name.
fn is_region(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 32
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

impl StoreSettings for Settings {
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if !is_table(&self.table) {
            faults.push(format!(
                "table {:?} is no name: letters, digits, `_`, `-` and `.`, 3 to 255 of them",
                self.table
            ));
        }
        if !is_region(&self.region) {
            faults.push(format!("region {:?} is no name of a region", self.region));
        }
        match &self.endpoint {
            Some(endpoint) if self.url().is_none() && endpoint.contains(['@', '?']) => {
                // Not shown: it may be a secret.
                faults.push("endpoint has a user or a query; write https://HOST".to_owned());
            }
            Some(endpoint) if self.url().is_none() => {
                faults.push(format!("endpoint {endpoint:?} is no URL of a host; write https://HOST"));
            }
            _ => {}
        }
        if self.access_key_id.is_some() != self.secret_access_key.is_some() {
            faults.push("access_key_id and secret_access_key go together".to_owned());
        }
        if self.access_key_id.as_ref().is_some_and(|id| !client::is_sendable(id)) {
            faults.push("access_key_id is no id of an access key".to_owned());
        }
        if self.remember_secs == 0 {
            faults.push("remember_secs is 0; an older write could come back behind a delete".to_owned());
        }
        faults
    }

    fn open(&self) -> BoxFuture<'_, Result<Arc<dyn BackingStore>, StoreError>> {
        super::tls::install_provider();
        let store = DynamoDb { settings: self.clone(), client: Link::default() };
        Box::pin(async { Ok(Arc::new(store) as Arc<dyn BackingStore>) })
    }
}

impl Settings {
    /// Where requests go; `None` where that is no URL of a host alone.
    fn url(&self) -> Option<Url> {
        let text = match &self.endpoint {
            Some(endpoint) => endpoint.clone(),
            None if self.region.starts_with("cn-") => {
                format!("https://dynamodb.{}.amazonaws.com.cn", self.region)
            }
            None => format!("https://dynamodb.{}.amazonaws.com", self.region),
        };
        let url = Url::parse(&text).ok()?;
        let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        let is_open = url.username().is_empty() && url.password().is_none();
        (matches!(url.scheme(), "http" | "https") && url.has_host() && is_bare && is_open).then_some(url)
    }

    /// Where it is, as messages say it.
    fn place(&self) -> String {
        let Some(url) = self.url() else { return String::new() };
        let host = url.host_str().unwrap_or_default();
        url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    fn busy(&self, told: &str) -> StoreError {
        let (place, table) = (self.place(), &self.table);
        StoreError::new(
            ErrorKind::Overload,
            format!(
                "dynamodb at {place} has no more throughput for table {table}: {told}; ask for less (`rate_max`), or give it more"
            ),
        )
    }

    async fn connect(self) -> Result<Arc<Client>, StoreError> {
        let create = self.create;
        let client = Client::new(self).await?;
        if create {
            table::ready(&client).await?;
        }
        Ok(Arc::new(client))
    }
}

/// A table of DynamoDB. It is connected to when it is first needed, and again, with the secret read anew, where we were refused.
#[derive(Debug)]
pub struct DynamoDb {
    settings: Settings,
    client: Link<Arc<Client>>,
}

impl DynamoDb {
    async fn client(&self, deadline: Instant) -> Result<(u64, Arc<Client>), StoreError> {
        self.client.get(deadline, || self.settings.clone().connect()).await
    }
}

/// Loads keys of which none comes twice. What an answer has no room for is asked again.
async fn load_all(client: &Client, keys: &[Bytes]) -> Vec<Loaded> {
    let mut gather = Gather::new(keys);
    while let Some(asked) = gather.next() {
        match client.batch_get(asked).await {
            Ok((items, left_out)) => gather.on_answer(items, left_out),
            Err(error) => gather.on_error(&error),
        }
    }
    gather.loaded(keys, &client.settings.busy("it left keys of a batch out"))
}

async fn write_one(client: &Client, change: &KeyChange) -> Outcome {
    client.put(item::of(change, unix_now(), client.settings.remember_secs)?, change.version).await
}

impl BackingStore for DynamoDb {
    fn kind(&self) -> &'static str {
        "dynamodb"
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

    /// No request of many writes has a condition for each.
    fn writes_key_by_key(&self) -> bool {
        true
    }

    fn load<'a>(&'a self, keys: &'a [Bytes], deadline: Instant) -> BoxFuture<'a, Vec<Loaded>> {
        Box::pin(async move {
            if keys.is_empty() {
                return Vec::new();
            }
            match self.client(deadline).await {
                Err(error) => failed_all(keys.len(), &error),
                Ok((number, client)) => {
                    let loaded = timeout_at(deadline, load_all(&client, keys)).await;
                    let loaded = loaded.unwrap_or_else(|_| failed_all(keys.len(), &StoreError::timeout()));
                    self.client.heard(number, &loaded);
                    loaded
                }
            }
        })
    }

    fn write<'a>(&'a self, changes: &'a [KeyChange], deadline: Instant) -> BoxFuture<'a, Vec<Outcome>> {
        Box::pin(async move {
            match self.client(deadline).await {
                Err(error) => failed_all(changes.len(), &error),
                Ok((number, client)) => {
                    let write = |change| timeout_at(deadline, write_one(&client, change));
                    // Collected first: a stream over a closure that borrows is not known to be `Send`.
                    let writes: Vec<_> = changes.iter().map(write).collect();
                    let written = stream::iter(writes).buffered(REQUESTS_MAX);
                    let written: Vec<Outcome> = written
                        .map(|written| written.unwrap_or_else(|_| Err(StoreError::timeout())))
                        .collect()
                        .await;
                    self.client.heard(number, &written);
                    written
                }
            }
        })
    }

    fn check(&self, deadline: Instant) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            // A key that nobody has: the answer tells a missing table, or another one, from a missing item.
            let probe = [Bytes::from_static(b"\0")];
            self.load(&probe, deadline).await.into_iter().try_for_each(|loaded| loaded.map(|_| ()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Settings {
        toml::from_str(text).expect("good TOML")
    }

    #[test]
    fn all_that_is_wrong_is_told_together() {
        let wrong = settings(
            "table = 'a/b'\nregion = 'US East'\nendpoint = 'localhost:8000'\naccess_key_id = 'a b'\nremember_secs = 0",
        );
        let faults = wrong.faults().join("; ");
        for part in ["table \"a/b\"", "region", "endpoint", "go together", "no id of", "remember_secs"] {
            assert!(faults.contains(part), "{part}: {faults}");
        }
        assert_eq!(wrong.faults().len(), 6);
        assert_eq!(settings("").faults(), [""; 0]);
    }

    #[test]
    fn requests_go_to_the_endpoint_or_the_regions_own() {
        assert_eq!(settings("region = 'eu-north-1'").place(), "dynamodb.eu-north-1.amazonaws.com");
        assert_eq!(settings("region = 'cn-north-1'").place(), "dynamodb.cn-north-1.amazonaws.com.cn");
        let local = settings("endpoint = 'http://127.0.0.1:8000'");
        assert_eq!((local.place().as_str(), local.faults().len()), ("127.0.0.1:8000", 0));
        for wrong in ["http://h/path", "ftp://h", "https://", "https://h?a=s3cret", "https://u:s3cret@h"] {
            let faults = settings(&format!("endpoint = {wrong:?}")).faults().join("; ");
            assert!(faults.contains("endpoint") && !faults.contains("s3cret"), "{wrong}: {faults}");
        }
    }
}
