//! Redis and Valkey, one server or what stands before several.
//!
//! ```text
//!  PREFIX KEY            hash: v value, f flags, n version, x expires_at (0 is never); expires by itself
//!  "evanesce:version:" PREFIX KEY
//!                        string: the version of what was deleted or may have expired, kept a while longer
//! ```
//!
//! A plain string that others wrote under `PREFIX KEY` is loaded as a value without flags or version. Versions are 16
//! hexadecimal digits, which order as text: the server's scripts count in doubles, and would round 63 bits.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ErrorKind as RedisKind, FromRedisValue, IntoConnectionInfo, Pipeline,
    RedisConnectionInfo, RedisError, Script, ServerErrorKind, Value,
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

/// What the keys of versions begin with.
const VERSION_PREFIX: &[u8] = b"evanesce:version:";

/// Largest value: a server of one thread serves nobody else while it copies one.
const VALUE_BYTES_MAX: usize = 32 << 20;

/// Scripts of one pipeline: enough to hide the network, few enough that others get their turn.
const BATCH_MAX: usize = 256;

/// How long versions outlive what they belong to: longer than any write is on its way.
const REMEMBER_SECS_DEFAULT: u64 = 24 * 3600;

/// KEYS: item, version. ARGV: version, 1 put 0 delete, value, flags, expires_at (0 never), now, remember.
const WRITE: &str = r"
local known = redis.call('GET', KEYS[2])
if redis.call('TYPE', KEYS[1]).ok == 'hash' then
  local n = redis.call('HGET', KEYS[1], 'n')
  if n and (not known or n > known) then known = n end
end
if known and known > ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
local at, now, remember = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
if ARGV[2] == '1' and (at == 0 or at > now) then
  redis.call('HSET', KEYS[1], 'v', ARGV[3], 'f', ARGV[4], 'n', ARGV[1], 'x', ARGV[5])
  if at == 0 then
    redis.call('DEL', KEYS[2])
    return 1
  end
  redis.call('EXPIREAT', KEYS[1], at)
  remember = remember + at - now
end
redis.call('SET', KEYS[2], ARGV[1], 'EX', remember)
return 1";

/// KEYS: item. Answers value, flags, version, expires_at; the value alone when others wrote it; else nothing.
const READ: &str = r"
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'hash' then return redis.call('HMGET', KEYS[1], 'v', 'f', 'n', 'x') end
if kind == 'string' then return {redis.call('GET', KEYS[1])} end
if kind == 'none' then return {} end
return redis.error_reply('WRONGTYPE the key holds a ' .. kind)";

static WRITE_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(WRITE));
static READ_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(READ));

/// Where it is and who we are.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// `redis://HOST:PORT/DATABASE`, or `rediss://` for TLS. No user or password in it: they would be shown.
    pub url: String,
    /// The user, where the server has several.
    pub user: Option<String>,
    /// The password.
    pub password: Option<Secret>,
    /// What the keys begin with, before the cluster's key. Nothing by default.
    #[serde(default)]
    pub prefix: String,
    /// How many seconds the version of what was deleted or has expired is kept, so that nothing older comes back. A day
    /// by default.
    #[serde(default = "remember_secs")]
    pub remember_secs: u64,
}

fn remember_secs() -> u64 {
    REMEMBER_SECS_DEFAULT
}

impl StoreSettings for Settings {
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        match self.url.as_str().into_connection_info() {
            Err(_) => faults.push("url is none of Redis; write redis://HOST:PORT/DATABASE".to_owned()),
            Ok(info)
                if info.redis_settings().password().is_some()
                    || info.redis_settings().username().is_some() =>
            {
                faults.push("url has a user or password; write them as `user` and `password`".to_owned());
            }
            Ok(_) => {}
        }
        if self.user.is_some() && self.password.is_none() {
            faults.push("user is set without password".to_owned());
        }
        if self.remember_secs == 0 {
            faults.push("remember_secs is 0; an older write could come back behind a delete".to_owned());
        }
        faults
    }

    fn open(&self) -> BoxFuture<'_, Result<Arc<dyn BackingStore>, StoreError>> {
        super::tls::install_provider();
        let store = Redis { settings: self.clone(), link: Link::default() };
        Box::pin(async { Ok(Arc::new(store) as Arc<dyn BackingStore>) })
    }
}

impl Settings {
    async fn connect(self) -> Result<MultiplexedConnection, StoreError> {
        let info = self.url.as_str().into_connection_info().map_err(|error| self.error(&error))?;
        let mut login: RedisConnectionInfo = info.redis_settings().clone().set_skip_set_lib_name();
        if let Some(user) = &self.user {
            login = login.set_username(user);
        }
        if let Some(password) = &self.password {
            login = login.set_password(password.reveal().await?);
        }
        let tcp = TcpSettings::default().set_nodelay(true).set_user_timeout(SILENCE);
        let client = Client::open(info.set_redis_settings(login).set_tcp_settings(tcp));
        // Deadlines are ours.
        let config =
            AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(Some(SILENCE));
        let open = async {
            let mut connection = client?.get_multiplexed_async_connection_with_config(&config).await?;
            for script in [&*WRITE_SCRIPT, &*READ_SCRIPT] {
                script.load_async(&mut connection).await?;
            }
            Ok(connection)
        };
        open.await.map_err(|error| self.error(&error))
    }

    fn error(&self, error: &RedisError) -> StoreError {
        let told = match error.detail() {
            Some(detail) if error.code().is_some() => detail.to_owned(),
            _ => error.to_string(),
        };
        let told = told.replace(['\r', '\n'], " ");
        let url = &self.url;
        match (error.kind(), error.code()) {
            (RedisKind::AuthenticationFailed, _) | (_, Some("WRONGPASS" | "NOAUTH" | "NOPERM")) => {
                StoreError::new(
                    ErrorKind::Credentials,
                    format!(
                        "redis at {url} refuses us: {told}; set `user` and `password`, or allow the keys by ACL"
                    ),
                )
            }
            (_, Some("OOM")) => StoreError::new(
                ErrorKind::Overload,
                format!("redis at {url} is full: {told}; raise its maxmemory or let it evict"),
            ),
            (RedisKind::Server(ServerErrorKind::BusyLoading | ServerErrorKind::TryAgain), _) => {
                StoreError::transient(format!("redis at {url} is not ready: {told}"))
            }
            (RedisKind::Server(ServerErrorKind::ReadOnly), _) => {
                StoreError::transient(format!("redis at {url} is a replica: name the primary in `url`"))
            }
            (RedisKind::Server(ServerErrorKind::NoScript), _) => {
                StoreError::transient(format!("redis at {url} forgot our scripts; they are loaded again"))
            }
            (RedisKind::Server(ServerErrorKind::Moved | ServerErrorKind::CrossSlot), _) => {
                StoreError::permanent(format!(
                    "redis at {url} is one of a cluster, which is not supported: name a single server or proxy"
                ))
            }
            (RedisKind::Server(_) | RedisKind::Extension, _) => {
                StoreError::permanent(format!("redis at {url} refuses it: {told}"))
            }
            _ => StoreError::transient(format!("redis at {url} cannot be reached: {told}; is it running?")),
        }
    }
}

/// A Redis server. It is connected to when it is first needed, and again when the connection is lost.
#[derive(Debug)]
pub struct Redis {
    settings: Settings,
    link: Link<MultiplexedConnection>,
}

impl Redis {
    fn item_key(&self, key: &Bytes) -> Vec<u8> {
        [self.settings.prefix.as_bytes(), key].concat()
    }

    /// Sends all, and reads an answer for each; what breaks the connection breaks all that were on it.
    async fn send(
        &self,
        pipeline: &Pipeline,
        deadline: Instant,
    ) -> Result<Vec<Result<Value, StoreError>>, StoreError> {
        let (number, mut connection) = self.link.get(deadline, || self.settings.clone().connect()).await?;
        let sent = pipeline.query_async::<Vec<Result<Value, RedisError>>>(&mut connection);
        match timeout_at(deadline, sent).await {
            Err(_) => Err(StoreError::timeout()),
            Ok(Err(error)) => {
                self.link.lost(number);
                Err(self.settings.error(&error))
            }
            Ok(Ok(answers)) => {
                let forgot = |answer: &Result<Value, RedisError>| {
                    answer
                        .as_ref()
                        .is_err_and(|error| error.kind() == RedisKind::Server(ServerErrorKind::NoScript))
                };
                if answers.iter().any(forgot) {
                    self.link.lost(number);
                }
                Ok(answers
                    .into_iter()
                    .map(|answer| answer.map_err(|error| self.settings.error(&error)))
                    .collect())
            }
        }
    }

    fn add_write(&self, pipeline: &mut Pipeline, change: &KeyChange) {
        let empty = Bytes::new();
        let (put, value, flags, at) = match &change.change {
            Change::Put(item) => (1, &item.value, item.flags, item.expires_at.unwrap_or(0)),
            Change::Delete => (0, &empty, 0, 0),
        };
        let item = self.item_key(&change.key);
        let version = [VERSION_PREFIX, &item].concat();
        pipeline.cmd("EVALSHA").arg(WRITE_SCRIPT.get_hash()).arg(2).arg(item).arg(version);
        pipeline.arg(format!("{:016x}", change.version)).arg(put).arg(&value[..]).arg(flags).arg(at);
        pipeline.arg(unix_now()).arg(self.settings.remember_secs);
    }

    fn loaded(&self, answer: Value) -> Loaded {
        let fields = Vec::<Option<Bytes>>::from_redis_value(answer)
            .map_err(|error| StoreError::permanent(format!("redis answered what it cannot: {error}")))?;
        let mut fields = fields.into_iter();
        let Some(Some(value)) = fields.next() else { return Ok(None) };
        let mut number = |radix| {
            let text = fields.next().flatten()?;
            u64::from_str_radix(std::str::from_utf8(&text).ok()?, radix).ok()
        };
        let flags = number(10).and_then(|flags| u32::try_from(flags).ok()).unwrap_or(0);
        let version = number(16);
        let expires_at = number(10).filter(|at| *at > 0);
        Ok(Some(StoreItem { value, flags, expires_at, version }))
    }
}

/// Whether it can be kept at all.
fn fits(change: &KeyChange) -> Result<(), StoreError> {
    if change.key.starts_with(VERSION_PREFIX) {
        return Err(StoreError::permanent("keys that begin with evanesce:version: are the store's own"));
    }
    match &change.change {
        Change::Put(item) if item.value.len() > VALUE_BYTES_MAX => {
            Err(StoreError::permanent(format!("the value has {} bytes, more than 32 MiB", item.value.len())))
        }
        _ => Ok(()),
    }
}

impl BackingStore for Redis {
    fn kind(&self) -> &'static str {
        "redis"
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

    fn load<'a>(&'a self, keys: &'a [Bytes], deadline: Instant) -> BoxFuture<'a, Vec<Loaded>> {
        Box::pin(async move {
            if keys.is_empty() {
                return Vec::new();
            }
            let mut pipeline = Pipeline::with_capacity(keys.len());
            pipeline.ignore_errors();
            for key in keys {
                pipeline.cmd("EVALSHA").arg(READ_SCRIPT.get_hash()).arg(1).arg(self.item_key(key));
            }
            match self.send(&pipeline, deadline).await {
                Err(error) => failed_all(keys.len(), &error),
                Ok(answers) => answers.into_iter().map(|answer| self.loaded(answer?)).collect(),
            }
        })
    }

    fn write<'a>(&'a self, changes: &'a [KeyChange], deadline: Instant) -> BoxFuture<'a, Vec<Outcome>> {
        Box::pin(async move {
            let mut pipeline = Pipeline::with_capacity(changes.len());
            pipeline.ignore_errors();
            let fit: Vec<Result<(), StoreError>> = changes.iter().map(fits).collect();
            for (change, _) in changes.iter().zip(&fit).filter(|(_, fit)| fit.is_ok()) {
                self.add_write(&mut pipeline, change);
            }
            let sent = match pipeline.is_empty() {
                true => Ok(Vec::new()),
                false => self.send(&pipeline, deadline).await,
            };
            let mut answers = match sent {
                Ok(answers) => answers.into_iter(),
                Err(error) => failed_all(changes.len(), &error).into_iter(),
            };
            let mut outcome = |fit: Result<(), StoreError>| {
                fit?;
                let missing = || Err(StoreError::transient("redis left an answer out"));
                match answers.next().unwrap_or_else(missing)? {
                    Value::Int(0) => Ok(Applied::Superseded),
                    _ => Ok(Applied::Yes),
                }
            };
            fit.into_iter().map(&mut outcome).collect()
        })
    }

    fn check(&self, deadline: Instant) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let mut pipeline = Pipeline::new();
            pipeline.ignore_errors().cmd("PING");
            let answers = self.send(&pipeline, deadline).await?;
            answers.into_iter().try_for_each(|answer| answer.map(|_| ()))
        })
    }
}
