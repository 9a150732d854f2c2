//! A service that answers to GET: read-only. What it says of caching is how long an item lives.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt};
use reqwest::header::{CACHE_CONTROL, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Response, StatusCode, redirect};
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use super::StoreSettings;
use super::link::{Link, SILENCE};
use super::secret::Secret;
use crate::clock::unix_now;
use crate::store::{
    Abilities, BackingStore, ErrorKind, KeyChange, Loaded, Outcome, StoreError, StoreItem, failed_all,
};

/// Where the key goes in the URL.
const PLACE: &str = "{key}";

/// Largest value: a larger answer is not read to its end.
const VALUE_BYTES_MAX: usize = 32 << 20;

/// Keys of one call, each a request of its own.
const BATCH_MAX: usize = 128;

/// Requests of one call under way at once: a service counts connections, too.
const REQUESTS_MAX: usize = 16;

/// Connections kept open between requests.
const IDLE_MAX: usize = 16;

/// Redirects followed, within the origin.
const REDIRECTS_MAX: usize = 2;

/// What to get and as whom.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The URL, with `{key}` where the key goes: `https://HOST/items/{key}`. Bytes other than letters, digits and `-._~` are
    /// sent as `%XX`.
    pub url: String,
    /// Headers of each request; a value is a secret like a password.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
}

impl StoreSettings for Settings {
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if !self.url.starts_with("http://") && !self.url.starts_with("https://") {
            faults.push("url is no URL; write https://HOST/PATH/{key}".to_owned());
        } else if reqwest::Url::parse(&self.url.replace(PLACE, "k")).is_err() {
            faults.push(format!("url {:?} cannot be read", self.place()));
        }
        if reqwest::Url::parse(&self.url)
            .is_ok_and(|url| url.password().is_some() || !url.username().is_empty())
        {
            faults.push("url has a user or password; send them by `headers`".to_owned());
        }
        if !self.url.contains(PLACE) {
            faults.push("url has no {key}: all keys would have one value".to_owned());
        }
        let bad = self.headers.keys().filter(|name| HeaderName::try_from(name.as_str()).is_err());
        faults.extend(bad.map(|name| format!("{name:?} is no name of a header")));
        faults
    }

    fn takes_writes(&self) -> bool {
        false
    }

    fn open(&self) -> BoxFuture<'_, Result<Arc<dyn BackingStore>, StoreError>> {
        super::tls::install_provider();
        let store = Http { settings: self.clone(), client: Link::default() };
        Box::pin(async { Ok(Arc::new(store) as Arc<dyn BackingStore>) })
    }
}

impl Settings {
    /// Where it is, as messages say it: what is behind `?` may be a key to it.
    fn place(&self) -> &str {
        self.url.split('?').next().unwrap_or_default()
    }

    async fn connect(self) -> Result<Client, StoreError> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let wrong = || StoreError::permanent(format!("the value of header {name} cannot be sent"));
            let mut value = HeaderValue::try_from(value.reveal().await?).map_err(|_| wrong())?;
            value.set_sensitive(true);
            headers.insert(HeaderName::try_from(name.as_str()).map_err(|_| wrong())?, value);
        }
        let builder = Client::builder()
            .default_headers(headers)
            .connect_timeout(SILENCE)
            .pool_max_idle_per_host(IDLE_MAX)
            .redirect(redirect::Policy::custom(follow))
            .user_agent("evanesce");
        builder.build().map_err(|error| StoreError::permanent(format!("http cannot be set up: {error}")))
    }
}

/// Follows within the origin alone: what another one is sent, headers too, is not ours to say.
fn follow(attempt: redirect::Attempt<'_>) -> redirect::Action {
    let from = attempt.previous().first().map(reqwest::Url::origin);
    let stays = from.is_some_and(|from| from == attempt.url().origin());
    if stays && attempt.previous().len() <= REDIRECTS_MAX { attempt.follow() } else { attempt.stop() }
}

/// A service that is asked for one key after the other.
#[derive(Debug)]
pub struct Http {
    settings: Settings,
    client: Link<Client>,
}

impl Http {
    fn unreachable(&self, error: &reqwest::Error) -> StoreError {
        let cause = std::error::Error::source(error).map_or_else(String::new, |cause| format!(": {cause}"));
        StoreError::transient(format!(
            "{} cannot be reached: {error}{cause}; is it running?",
            self.settings.place()
        ))
    }

    fn refused(&self, status: StatusCode) -> StoreError {
        let url = self.settings.place();
        match status.as_u16() {
            401 | 403 | 407 => {
                StoreError::new(ErrorKind::Credentials, format!("{url} answers {status}; check `headers`"))
            }
            429 | 503 => {
                StoreError::new(ErrorKind::Overload, format!("{url} answers {status}: it has too much to do"))
            }
            408 | 425 | 500..=599 => StoreError::transient(format!("{url} answers {status}")),
            _ => StoreError::permanent(format!("{url} answers {status}; check `url`")),
        }
    }

    async fn load_one(&self, client: &Client, key: &Bytes) -> Loaded {
        if matches!(&key[..], b"." | b"..") {
            return Err(StoreError::permanent("the key is a step in a path, which no URL can say otherwise"));
        }
        let url = self.settings.url.replace(PLACE, &escaped(key));
        let sent = client.get(url).send().await;
        let response = sent.map_err(|error| self.unreachable(&error.without_url()))?;
        match response.status() {
            StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(None),
            status if status != StatusCode::OK => return Err(self.refused(status)),
            _ => {}
        }
        let said = response.headers().get(CACHE_CONTROL).and_then(|said| said.to_str().ok());
        // What must not be kept may be used now: it gets the shortest life that there is.
        let age = said.and_then(max_age).map(|age| age.as_secs().max(1));
        let expires_at = age.map(|age| unix_now().saturating_add(age));
        Ok(Some(StoreItem { value: self.body(response).await?, flags: 0, expires_at, version: None }))
    }

    async fn body(&self, mut response: Response) -> Result<Bytes, StoreError> {
        let mut body = BytesMut::new();
        while let Some(part) =
            response.chunk().await.map_err(|error| self.unreachable(&error.without_url()))?
        {
            if body.len() + part.len() > VALUE_BYTES_MAX {
                return Err(StoreError::permanent(format!("{} answers more than 32 MiB", self.settings.url)));
            }
            body.extend_from_slice(&part);
        }
        Ok(body.freeze())
    }
}

/// A key as a part of a path.
fn escaped(key: &Bytes) -> String {
    let mut text = String::with_capacity(key.len());
    for &byte in key {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' | b'.' => {
                text.push(char::from(byte));
            }
            _ => write!(text, "%{byte:02X}").expect("a string takes what is written"),
        }
    }
    text
}

/// How long an answer may be kept, of `Cache-Control`.
fn max_age(said: &str) -> Option<Duration> {
    let mut age = None;
    for part in said.split(',').map(|part| part.trim().to_ascii_lowercase()) {
        match part.split_once('=') {
            _ if part == "no-store" || part == "no-cache" => return Some(Duration::ZERO),
            // For caches that many share, as this one, it goes before the other.
            Some(("s-maxage", secs)) => return secs.trim_matches('"').parse().ok().map(Duration::from_secs),
            Some(("max-age", secs)) => age = secs.trim_matches('"').parse().ok().map(Duration::from_secs),
            _ => {}
        }
    }
    age
}

impl BackingStore for Http {
    fn kind(&self) -> &'static str {
        "http"
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            writes: false,
            versions: false,
            flags: false,
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

    fn write<'a>(&'a self, changes: &'a [KeyChange], _deadline: Instant) -> BoxFuture<'a, Vec<Outcome>> {
        let error = StoreError::permanent("http stores are read-only; choose another kind to write to");
        Box::pin(async move { failed_all(changes.len(), &error) })
    }

    fn check(&self, deadline: Instant) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let probe = [Bytes::from_static(b"evanesce-check")];
            self.load(&probe, deadline).await.into_iter().try_for_each(|loaded| loaded.map(|_| ()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_escaped_byte_by_byte() {
        assert_eq!(escaped(&Bytes::from("user:4 2/ü")), "user%3A4%202%2F%C3%BC");
    }

    #[test]
    fn life_of_an_answer_is_what_shared_caches_are_told() {
        let secs = |said| max_age(said).map(|age| age.as_secs());
        assert_eq!(secs("public, max-age=60"), Some(60));
        assert_eq!(secs("max-age=60, s-maxage=10"), Some(10));
        assert_eq!(secs("no-store"), Some(0));
        assert_eq!(secs("public"), None);
    }
}
