//! S3 and what speaks its protocol: one object an item.
//!
//! ```text
//!  PREFIX/KEY      body: the value, then 8 bytes of version      an object without our metadata is
//!                  metadata: evanesce-version, -flags,           a value that others put there
//!                  -expires-at, -deleted
//! ```
//!
//! A write looks at the metadata and replaces the object only if it is still the one it saw (`If-Match`), so the service
//! must know conditional writes. They compare content, which is why the version is in it: two objects of one value, or
//! two deletes, would be taken for one. A delete leaves such an object with nothing but its version. Nothing expires by
//! itself: give the prefix a lifecycle rule that is longer than any TTL.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, ClientOptions, Error, GetOptions, GetResult, ObjectStore, PutMode, PutOptions,
    RetryConfig, UpdateVersion,
};
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use super::StoreSettings;
use super::link::{Link, SILENCE};
use super::secret::Secret;
use crate::clock::unix_now;
use crate::store::{
    Abilities, Applied, BackingStore, Change, ErrorKind, KeyChange, Loaded, Outcome, StoreError, StoreItem,
    failed_all,
};

/// Largest value: what is sent in one request without slowing down everything else.
const VALUE_BYTES_MAX: usize = 32 << 20;

/// Keys of one call, each a request or two of its own.
const BATCH_MAX: usize = 128;

/// Requests of one call under way at once.
const REQUESTS_MAX: usize = 32;

/// How often a write that others overtook looks again. Each time somebody else's write took, so all together progress.
const RACES_MAX: usize = 16;

/// The version behind the value.
const TRAILER_BYTES: usize = 8;

const VERSION: Attribute = named("evanesce-version");
const FLAGS: Attribute = named("evanesce-flags");
const EXPIRES_AT: Attribute = named("evanesce-expires-at");
const DELETED: Attribute = named("evanesce-deleted");

const fn named(name: &'static str) -> Attribute {
    Attribute::Metadata(std::borrow::Cow::Borrowed(name))
}

/// Where the container is and who we are.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The container. It must be there.
    pub container: String,
    /// The service, as `https://HOST`; Amazon's own by default. With `http://` nothing is encrypted.
    pub endpoint: Option<String>,
    /// The region. `us-east-1` by default.
    #[serde(default = "region")]
    pub region: String,
    /// The id of an access key. Without it the environment says who we are, or the machine's role.
    pub access_key_id: Option<String>,
    /// Its secret.
    pub secret_access_key: Option<Secret>,
    /// What the objects' names begin with, before `/` and the key. Nothing by default.
    #[serde(default)]
    pub prefix: String,
}

fn region() -> String {
    "us-east-1".to_owned()
}

impl StoreSettings for Settings {
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.container.is_empty() || self.container.contains('/') {
            faults.push(format!("container {:?} is no name of a container", self.container));
        }
        if let Some(endpoint) = &self.endpoint
            && !endpoint.starts_with("https://")
            && !endpoint.starts_with("http://")
        {
            faults.push(format!("endpoint {endpoint:?} is no URL; write https://HOST"));
        }
        if self.access_key_id.is_some() != self.secret_access_key.is_some() {
            faults.push("access_key_id and secret_access_key go together".to_owned());
        }
        if self.root().is_none() {
            faults.push(format!(
                "prefix {:?} is no path: parts with / between, and none before or behind",
                self.prefix
            ));
        }
        faults
    }

    fn open(&self) -> BoxFuture<'_, Result<Arc<dyn BackingStore>, StoreError>> {
        super::tls::install_provider();
        let store = self.root().map(|root| S3 { settings: self.clone(), root, client: Link::default() });
        let store = store.ok_or_else(|| StoreError::permanent("s3 has a prefix that is no path"));
        Box::pin(async { Ok(Arc::new(store?) as Arc<dyn BackingStore>) })
    }
}

impl Settings {
    /// Where the objects are; `None` where the prefix is no path.
    fn root(&self) -> Option<Path> {
        let is_cut = self.prefix.starts_with('/') || self.prefix.ends_with('/');
        Path::parse(&self.prefix).ok().filter(|_| !is_cut)
    }

    async fn connect(self) -> Result<Arc<AmazonS3>, StoreError> {
        let Settings { container, endpoint, region, access_key_id, secret_access_key, .. } = &self;
        // Deadlines and retries are ours.
        let options = ClientOptions::new().with_timeout_disabled().with_connect_timeout(SILENCE);
        let retry = RetryConfig { max_retries: 0, ..RetryConfig::default() };
        let mut builder = match access_key_id {
            Some(_) => AmazonS3Builder::new(),
            None => AmazonS3Builder::from_env(),
        };
        builder = builder
            .with_bucket_name(container)
            .with_region(region)
            .with_client_options(options)
            .with_retry(retry);
        if let Some(endpoint) = endpoint {
            builder = builder.with_endpoint(endpoint).with_allow_http(endpoint.starts_with("http://"));
        }
        if let (Some(id), Some(secret)) = (access_key_id, secret_access_key) {
            builder = builder.with_access_key_id(id).with_secret_access_key(secret.reveal().await?);
        }
        builder
            .build()
            .map(Arc::new)
            .map_err(|error| StoreError::permanent(format!("s3 cannot be set up: {error}")))
    }
}

/// A container, or a part of one.
#[derive(Debug)]
pub struct S3 {
    settings: Settings,
    /// Before each object's name.
    root: Path,
    client: Link<Arc<AmazonS3>>,
}

/// What is there of a key.
struct Seen {
    version: u64,
    e_tag: Option<String>,
}

impl S3 {
    fn path(&self, key: &Bytes) -> Path {
        self.root.clone().join(object_name(key))
    }

    fn error(&self, error: &Error) -> StoreError {
        let Settings { container, endpoint, access_key_id, .. } = &self.settings;
        let place = endpoint.as_deref().unwrap_or("amazon");
        let told = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
        let told: String = told.replace(['\r', '\n'], " ").chars().take(400).collect();
        match error {
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
                let who = access_key_id.as_deref().unwrap_or("of the environment");
                let message = format!(
                    "s3 at {place} refuses access key {who}: {told}; check it, or allow it container {container}"
                );
                StoreError::new(ErrorKind::Credentials, message)
            }
            Error::NotFound { .. } => StoreError::permanent(format!(
                "s3 at {place} has no container {container}; create it in its region: {told}"
            )),
            Error::NotImplemented { .. } | Error::NotSupported { .. } => StoreError::permanent(format!(
                "s3 at {place} knows no conditional writes: {told}; use one that does"
            )),
            _ if told.contains("SlowDown") || told.contains("429") || told.contains("TooManyRequests") => {
                StoreError::new(ErrorKind::Overload, format!("s3 at {place} has too much to do: {told}"))
            }
            _ if told.contains("NotImplemented") || told.contains("EntityTooLarge") => {
                StoreError::permanent(format!("s3 at {place} refuses it: {told}"))
            }
            _ => StoreError::transient(format!("s3 at {place} cannot be reached: {told}")),
        }
    }

    async fn load_one(&self, client: &AmazonS3, key: &Bytes) -> Loaded {
        let got = match client.get_opts(&self.path(key), GetOptions::default()).await {
            Err(Error::NotFound { source, .. }) if !source.to_string().contains("NoSuchBucket") => {
                return Ok(None);
            }
            got => got.map_err(|error| self.error(&error))?,
        };
        let number = |name: &Attribute| got.attributes.get(name).and_then(|value| value.parse::<u64>().ok());
        let (version, expires_at) = (number(&VERSION), number(&EXPIRES_AT));
        let flags = number(&FLAGS).and_then(|flags| u32::try_from(flags).ok()).unwrap_or(0);
        let gone = got.attributes.get(&DELETED).is_some() || expires_at.is_some_and(|at| at <= unix_now());
        if gone {
            return Ok(None);
        }
        let mut value = got.bytes().await.map_err(|error| self.error(&error))?;
        if version.is_some() {
            if value.len() < TRAILER_BYTES {
                return Err(StoreError::permanent(
                    "the object is shorter than what we wrote; somebody changed it",
                ));
            }
            value.truncate(value.len() - TRAILER_BYTES);
        }
        Ok(Some(StoreItem { value, flags, expires_at, version }))
    }

    /// What is there, deleted or not.
    async fn look(&self, client: &AmazonS3, path: &Path) -> Result<Option<Seen>, StoreError> {
        let head = GetOptions { head: true, ..GetOptions::default() };
        match client.get_opts(path, head).await {
            Ok(GetResult { attributes, meta, .. }) => {
                let version = attributes.get(&VERSION).and_then(|value| value.parse().ok());
                Ok(Some(Seen { version: version.unwrap_or(0), e_tag: meta.e_tag }))
            }
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.error(&error)),
        }
    }

    async fn write_one(&self, client: &AmazonS3, change: &KeyChange) -> Outcome {
        if let Change::Put(item) = &change.change
            && item.value.len() > VALUE_BYTES_MAX
        {
            let bytes = item.value.len();
            return Err(StoreError::permanent(format!("the value has {bytes} bytes, more than 32 MiB")));
        }
        let (path, (body, attributes)) = (self.path(&change.key), object(change));
        for _ in 0..RACES_MAX {
            let mode = match self.look(client, &path).await? {
                Some(seen) if seen.version > change.version => return Ok(Applied::Superseded),
                Some(seen) if seen.version == change.version => return Ok(Applied::Yes),
                Some(seen) => PutMode::Update(UpdateVersion { e_tag: seen.e_tag, version: None }),
                None => PutMode::Create,
            };
            let options = PutOptions { mode, attributes: attributes.clone(), ..PutOptions::default() };
            match client.put_opts(&path, body.clone().into(), options).await {
                Ok(_) => return Ok(Applied::Yes),
                Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {}
                // Somebody took the object away; that is no missing container unless it says so.
                Err(Error::NotFound { source, .. }) if source.to_string().contains("NoSuchKey") => {}
                Err(error) => return Err(self.error(&error)),
            }
        }
        Err(StoreError::transient(format!("{RACES_MAX} others wrote the key meanwhile")))
    }
}

/// The object that a change leaves.
fn object(change: &KeyChange) -> (Bytes, Attributes) {
    let (mut body, mut attributes) = (BytesMut::new(), Attributes::new());
    attributes.insert(VERSION, change.version.to_string().into());
    match &change.change {
        Change::Put(item) => {
            body.reserve(item.value.len() + TRAILER_BYTES);
            body.put_slice(&item.value);
            attributes.insert(FLAGS, item.flags.to_string().into());
            if let Some(at) = item.expires_at {
                attributes.insert(EXPIRES_AT, at.to_string().into());
            }
        }
        Change::Delete => {
            attributes.insert(DELETED, "yes".into());
        }
    }
    body.put_u64(change.version);
    (body.freeze(), attributes)
}

/// The name of a key's object: letters, digits and `-_:` as they are, dots too unless there is nothing else, all other bytes
/// as `=` and two hexadecimal digits.
fn object_name(key: &Bytes) -> String {
    use std::fmt::Write;
    let only_dots = key.iter().all(|byte| *byte == b'.');
    let mut name = String::with_capacity(key.len());
    for &byte in key {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b':' => name.push(char::from(byte)),
            b'.' if !only_dots => name.push('.'),
            _ => write!(name, "={byte:02X}").expect("a string takes what is written"),
        }
    }
    name
}

impl BackingStore for S3 {
    fn kind(&self) -> &'static str {
        "s3"
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

    fn asks_key_by_key(&self) -> bool {
        true
    }

    fn load<'a>(&'a self, keys: &'a [Bytes], deadline: Instant) -> BoxFuture<'a, Vec<Loaded>> {
        Box::pin(async move {
            match self.client.get(deadline, || self.settings.clone().connect()).await {
                Err(error) => failed_all(keys.len(), &error),
                Ok((number, client)) => {
                    let loads: Vec<_> =
                        keys.iter().map(|key| timeout_at(deadline, self.load_one(&client, key))).collect();
                    let loaded = stream::iter(loads).buffered(REQUESTS_MAX);
                    let loaded = loaded.map(|loaded| loaded.unwrap_or_else(|_| Err(StoreError::timeout())));
                    let loaded: Vec<Loaded> = loaded.collect().await;
                    self.client.heard(number, &loaded);
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
                    let write = |change| timeout_at(deadline, self.write_one(&client, change));
                    let writes: Vec<_> = changes.iter().map(write).collect();
                    let written = stream::iter(writes).buffered(REQUESTS_MAX);
                    let written =
                        written.map(|written| written.unwrap_or_else(|_| Err(StoreError::timeout())));
                    let written: Vec<Outcome> = written.collect().await;
                    self.client.heard(number, &written);
                    written
                }
            }
        })
    }

    fn check(&self, deadline: Instant) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            // An object that cannot be there: the answer tells a missing container from a missing object.
            let probe = [Bytes::from_static(b"\0")];
            self.load(&probe, deadline).await.into_iter().try_for_each(|loaded| loaded.map(|_| ()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_objects_tell_all_keys_apart_and_are_good_paths() {
        let keys: [&[u8]; 8] =
            [b"user:42", b"a/b", b"a=2Fb", b"..", b".", b"a.b", b"\xff\0", "ключ".as_bytes()];
        let names: Vec<String> = keys.iter().map(|key| object_name(&Bytes::copy_from_slice(key))).collect();
        assert_eq!(names[..6], ["user:42", "a=2Fb", "a=3D2Fb", "=2E=2E", "=2E", "a.b"]);
        assert!(names.iter().all(|name| Path::parse(name).is_ok_and(|path| path.as_ref() == name)));
    }

    #[test]
    fn prefix_that_is_no_path_is_a_fault_and_any_other_takes_every_key() {
        let settings = |prefix: &str| -> Settings {
            toml::from_str(&format!("container = 'c'\nprefix = {prefix:?}")).expect("good TOML")
        };
        for wrong in ["cache/", "/cache", "/", "a//b", "..", "a/../b"] {
            assert_eq!((settings(wrong).faults().len(), settings(wrong).root()), (1, None), "{wrong}");
        }
        for (prefix, expected) in [("", "=2E=2E"), ("cache", "cache/=2E=2E"), ("a/b", "a/b/=2E=2E")] {
            let settings = settings(prefix);
            let root = settings.root().expect("a path");
            let store = S3 { settings, root, client: Link::default() };
            assert_eq!(store.path(&Bytes::from_static(b"..")).as_ref(), expected);
        }
    }
}
