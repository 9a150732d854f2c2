//! Requests: signed, sent, and their answers read.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use object_store::ClientOptions;
use object_store::aws::{AmazonS3Builder, AwsAuthorizer, AwsCredential, AwsCredentialProvider};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponseBody, ReqwestConnector,
    StaticCredentialProvider,
};
use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::item::{self, EXPIRES_AT, FLAGS, Item, KEY, VALUE, VERSION};
use super::refusal::Refusal;
use super::{Settings, StoreError};
use crate::clock::unix_now;
use crate::store::{Applied, ErrorKind, Loaded, Outcome};
use crate::stores::link::SILENCE;

/// Largest answer that is read: the service answers 16 MB, a third more as text.
const ANSWER_BYTES_MAX: usize = 32 << 20;

/// How long a connection is kept that nobody uses: shorter than the service keeps it, so that it is not ended as it is used.
const IDLE: Duration = Duration::from_secs(15);

/// The version of the protocol.
const PROTOCOL: &str = "DynamoDB_20120810";

/// Who signs, and where requests go.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) settings: Settings,
    url: Url,
    http: HttpClient,
    credentials: AwsCredentialProvider,
}

/// What an answer to a request for many items has.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Batch {
    #[serde(default)]
    responses: std::collections::HashMap<String, Vec<Item>>,
    #[serde(default)]
    unprocessed_keys: std::collections::HashMap<String, LeftOut>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct LeftOut {
    keys: Vec<OnlyKey>,
}

#[derive(Deserialize)]
struct OnlyKey {
    key: item::Attribute,
}

/// Whether a header can have it.
pub(super) fn is_sendable(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

impl Client {
    pub(super) async fn new(settings: Settings) -> Result<Self, StoreError> {
        let url =
            settings.url().ok_or_else(|| StoreError::permanent("dynamodb has an endpoint that is no URL"))?;
        let wrong =
            |error: object_store::Error| StoreError::permanent(format!("dynamodb cannot be set up: {error}"));
        // Deadlines and retries are ours.
        let options = ClientOptions::new()
            .with_timeout_disabled()
            .with_connect_timeout(SILENCE)
            .with_pool_idle_timeout(IDLE)
            .with_allow_http(url.scheme() == "http");
        let http = ReqwestConnector::default().connect(&options).map_err(wrong)?;
        let credentials = match (&settings.access_key_id, &settings.secret_access_key) {
            (Some(id), Some(secret)) => {
                let secret_key = secret.reveal().await?;
                let credential = AwsCredential { key_id: id.clone(), secret_key, token: None };
                Arc::new(StaticCredentialProvider::new(credential)) as AwsCredentialProvider
            }
            // The S3 client is what finds them; it is asked for nothing else.
            _ => {
                let builder = AmazonS3Builder::from_env().with_bucket_name("none");
                let client = builder.with_region(&settings.region).build().map_err(wrong)?;
                Arc::clone(client.credentials())
            }
        };
        Ok(Self { settings, url, http, credentials })
    }

    /// The items of these keys, and the keys that the answer has no room for, or the table no throughput.
    pub(super) async fn batch_get(
        &self,
        keys: &[Bytes],
    ) -> Result<(Vec<(Bytes, Loaded)>, Vec<Bytes>), StoreError> {
        let table = &self.settings.table;
        let keys: Vec<Value> = keys.iter().map(|key| json!({ KEY: item::binary(key) })).collect();
        let wanted = json!({
            "Keys": keys,
            "ConsistentRead": self.settings.consistent_reads,
            "ProjectionExpression": "#k, #v, #f, #e, #n",
            "ExpressionAttributeNames": { "#k": KEY, "#v": VALUE, "#f": FLAGS, "#e": EXPIRES_AT, "#n": VERSION },
        });
        let asked = self.ask("BatchGetItem", &json!({ "RequestItems": { table: wanted } })).await?;
        let mut batch: Batch = self.read(&asked.map_err(|refusal| refusal.error(&self.settings))?)?;
        let now = unix_now();
        let key = |key: item::Attribute| key.bytes().ok_or_else(|| self.unreadable(&"a key that is none"));
        let items = batch.responses.remove(table).unwrap_or_default().into_iter();
        let items = items.map(|mut item| Ok((key(std::mem::take(&mut item.key))?, item.loaded(now))));
        let left_out = batch.unprocessed_keys.remove(table).map(|left| left.keys).unwrap_or_default();
        let left_out = left_out.into_iter().map(|left| key(left.key));
        Ok((items.collect::<Result<_, StoreError>>()?, left_out.collect::<Result<_, StoreError>>()?))
    }

    /// Writes an item unless the one that is there is newer.
    pub(super) async fn put(&self, item: Value, version: u64) -> Outcome {
        let put = json!({
            "TableName": self.settings.table,
            "Item": item,
            "ConditionExpression": "attribute_not_exists(#n) OR #n <= :n",
            "ExpressionAttributeNames": { "#n": VERSION },
            "ExpressionAttributeValues": { ":n": item::number(version) },
        });
        match self.ask("PutItem", &put).await? {
            Ok(_) => Ok(Applied::Yes),
            Err(refusal) if refusal.is_condition() => Ok(Applied::Superseded),
            Err(refusal) => Err(refusal.error(&self.settings)),
        }
    }

    /// What the service answers: the body where it did as asked. An error where nobody knows whether it did.
    pub(super) async fn ask(&self, action: &str, body: &Value) -> Result<Result<Bytes, Refusal>, StoreError> {
        let request = self.request(action, body).await?;
        let answer = self.http.execute(request).await.map_err(|error| self.unreachable(&error))?;
        let status = answer.status().as_u16();
        let body = self.body(answer.into_body()).await?;
        Ok(if status == 200 { Ok(body) } else { Err(Refusal::read(status, &body)) })
    }

    /// An answer's body as what it should be.
    pub(super) fn read<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, StoreError> {
        serde_json::from_slice(body).map_err(|error| self.unreadable(&error))
    }

    async fn request(&self, action: &str, body: &Value) -> Result<HttpRequest, StoreError> {
        let credential = self.credentials.get_credential().await.map_err(|error| {
            let told = format!("no credentials for dynamodb are found: {error}; set access_key_id and secret_access_key, or the environment");
            StoreError::new(ErrorKind::Credentials, told.replace(['\r', '\n'], " "))
        })?;
        if !is_sendable(&credential.key_id)
            || credential.token.as_ref().is_some_and(|token| !is_sendable(token))
        {
            let told = "the access key or session token of the environment is none: it has bytes that no header can have";
            return Err(StoreError::new(ErrorKind::Credentials, told));
        }
        let wrong = |error: &dyn std::error::Error| {
            StoreError::permanent(format!("a request to dynamodb cannot be made: {error}"))
        };
        let body = serde_json::to_vec(body).map_err(|error| wrong(&error))?;
        let mut request = HttpRequest::new(body.into());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.url.as_str().parse().map_err(|error| wrong(&error))?;
        let target = HeaderValue::try_from(format!("{PROTOCOL}.{action}")).map_err(|error| wrong(&error))?;
        request.headers_mut().insert(HeaderName::from_static("x-amz-target"), target);
        let json = HeaderValue::from_static("application/x-amz-json-1.0");
        request.headers_mut().insert(CONTENT_TYPE, json);
        let signer = AwsAuthorizer::new(&credential, "dynamodb", &self.settings.region);
        signer.try_authorize(&mut request, None).map_err(|error| wrong(&error))?;
        Ok(request)
    }

    async fn body(&self, body: HttpResponseBody) -> Result<Bytes, StoreError> {
        let (mut parts, mut body) = (body.bytes_stream(), BytesMut::new());
        while let Some(part) = parts.next().await {
            let part = part.map_err(|error| self.unreachable(&error))?;
            if body.len() + part.len() > ANSWER_BYTES_MAX {
                return Err(self.unreadable(&"more than 32 MiB"));
            }
            body.extend_from_slice(&part);
        }
        Ok(body.freeze())
    }

    fn unreachable(&self, error: &HttpError) -> StoreError {
        let cause = std::iter::successors(std::error::Error::source(error), |error| error.source()).last();
        let told = cause.map_or_else(|| error.to_string(), ToString::to_string).replace(['\r', '\n'], " ");
        let place = self.settings.place();
        StoreError::transient(format!("dynamodb at {place} cannot be reached: {told}; is it running?"))
    }

    fn unreadable(&self, what: &dyn std::fmt::Display) -> StoreError {
        let place = self.settings.place();
        StoreError::transient(format!("dynamodb at {place} answers what it cannot: {what}"))
    }
}
