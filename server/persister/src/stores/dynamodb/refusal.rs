//! What the service says when it does not do what it was asked.

use serde::Deserialize;

use super::Settings;
use crate::store::{ErrorKind, StoreError};

/// Characters of a message that are passed on.
const TOLD_MAX: usize = 400;

/// Its answer. The name is empty where something else answered than the service: a proxy, a page of HTML.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) name: String,
    pub(super) told: String,
}

#[derive(Deserialize)]
struct Said {
    #[serde(rename = "__type")]
    name: String,
    #[serde(alias = "Message")]
    message: Option<String>,
}

impl Refusal {
    pub(super) fn read(status: u16, body: &[u8]) -> Self {
        match serde_json::from_slice::<Said>(body) {
            Ok(said) => {
                let name = said.name.rsplit('#').next().unwrap_or_default().to_owned();
                Self { status, name, told: one_line(&said.message.unwrap_or_default()) }
            }
            Err(_) => Self { status, name: String::new(), told: one_line(&String::from_utf8_lossy(body)) },
        }
    }

    /// Whether the condition of a write did not hold.
    pub(super) fn is_condition(&self) -> bool {
        self.name == "ConditionalCheckFailedException"
    }

    /// As an error of the store with these settings.
    pub(super) fn error(&self, settings: &Settings) -> StoreError {
        let (place, table) = (settings.place(), &settings.table);
        let Self { status, name, told } = self;
        match (self.kind(), name.as_str()) {
            (_, "ResourceNotFoundException") => StoreError::permanent(format!(
                "dynamodb at {place} has no table {table}; set `create = true`, check `region`, or make it with the partition \
                 key `key` of type binary and its TTL on `forget_at`"
            )),
            (ErrorKind::Permanent, "ValidationException") if told.contains("key") => {
                StoreError::permanent(format!(
                    "table {table} at {place} is another table: {told}; its only key must be `key`, a partition key of type binary"
                ))
            }
            (ErrorKind::Credentials, _) => {
                let who = settings.access_key_id.as_deref().unwrap_or("of the environment");
                let message = format!(
                    "dynamodb at {place} refuses access key {who}: {name} {told}; check it, or allow it table {table}"
                );
                StoreError::new(ErrorKind::Credentials, message)
            }
            (ErrorKind::Overload, _) => settings.busy(&format!("{name} {told}")),
            (ErrorKind::Transient, _) => StoreError::transient(format!(
                "dynamodb at {place} could not do it now: {status} {name} {told}"
            )),
            (ErrorKind::Permanent, _) => {
                StoreError::permanent(format!("dynamodb at {place} refuses it: {status} {name} {told}"))
            }
        }
    }

    fn kind(&self) -> ErrorKind {
        match self.name.as_str() {
            "ProvisionedThroughputExceededException"
            | "ThrottlingException"
            | "Throttling"
            | "RequestLimitExceeded"
            | "LimitExceededException" => ErrorKind::Overload,
            "AccessDeniedException"
            | "ExpiredTokenException"
            | "IncompleteSignatureException"
            | "InvalidClientTokenId"
            | "InvalidSignatureException"
            | "MissingAuthenticationToken"
            | "MissingAuthenticationTokenException"
            | "NotAuthorized"
            | "OptInRequired"
            | "SignatureDoesNotMatch"
            | "UnrecognizedClientException" => ErrorKind::Credentials,
            // Another writes the same item, or the table is being made or changed.
            "TransactionConflictException"
            | "ReplicatedWriteConflictException"
            | "ResourceInUseException"
            | "InternalServerError"
            | "ServiceUnavailable" => ErrorKind::Transient,
            _ => match self.status {
                401 | 403 | 407 => ErrorKind::Credentials,
                429 | 503 => ErrorKind::Overload,
                408 | 500..=599 => ErrorKind::Transient,
                _ => ErrorKind::Permanent,
            },
        }
    }
}

fn one_line(text: &str) -> String {
    text.chars().map(|shown| if shown.is_control() { ' ' } else { shown }).take(TOLD_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(status: u16, body: &str) -> StoreError {
        let settings: Settings = toml::from_str("table = 'cache'\nregion = 'eu-north-1'").expect("settings");
        Refusal::read(status, body.as_bytes()).error(&settings)
    }

    fn kind(status: u16, name: &str) -> ErrorKind {
        error(status, &format!(r#"{{"__type":"com.amazonaws.dynamodb.v20120810#{name}","Message":"m"}}"#))
            .kind
    }

    #[test]
    fn refusals_are_told_apart_by_their_names() {
        for name in ["ProvisionedThroughputExceededException", "ThrottlingException", "RequestLimitExceeded"]
        {
            assert_eq!(kind(400, name), ErrorKind::Overload, "{name}");
        }
        for name in ["UnrecognizedClientException", "InvalidSignatureException", "AccessDeniedException"] {
            assert_eq!(kind(400, name), ErrorKind::Credentials, "{name}");
        }
        for name in ["TransactionConflictException", "InternalServerError"] {
            assert_eq!(kind(400, name), ErrorKind::Transient, "{name}");
        }
        for name in ["ValidationException", "SerializationException", "ResourceNotFoundException"] {
            assert_eq!(kind(400, name), ErrorKind::Permanent, "{name}");
        }
    }

    #[test]
    fn missing_and_foreign_tables_are_named_with_what_to_do() {
        let missing = error(400, r#"{"__type":"a#ResourceNotFoundException","message":"not found"}"#);
        assert!(
            missing.message.contains("dynamodb.eu-north-1.amazonaws.com has no table cache"),
            "{missing}"
        );
        assert!(missing.message.contains("create = true"), "{missing}");
        let other = error(
            400,
            r#"{"__type":"ValidationException","message":"The provided key element does not match the schema"}"#,
        );
        assert!(other.message.contains("is another table"), "{other}");
    }

    #[test]
    fn what_no_service_said_counts_by_its_status_and_is_one_short_line() {
        let page = format!("<html>\r\n{}", "x".repeat(5_000));
        for (status, expected) in [
            (403, ErrorKind::Credentials),
            (404, ErrorKind::Permanent),
            (429, ErrorKind::Overload),
            (502, ErrorKind::Transient),
            (503, ErrorKind::Overload),
        ] {
            let error = error(status, &page);
            assert_eq!(error.kind, expected, "{status}");
            assert!(error.message.len() < 600 && !error.message.contains('\n'), "{error}");
        }
    }
}
