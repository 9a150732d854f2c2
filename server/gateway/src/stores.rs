//! The backing stores as an operator sees them.

use bytes::Bytes;
use evanesce_admin::messages as v1;
use evanesce_admin::{Answer, Stores, StoresRefusal};
use evanesce_persister::{Applied, Change, DeadLetter, OperatorError, Persister, StoreItem};

use crate::service::Shared;

/// Dead letters of one answer unless told otherwise: a screen's worth many times over, and well within a message.
const LETTERS_DEFAULT: u32 = 1000;

/// Letters of one answer at most, each of a key and a sentence.
const LETTERS_MAX: u32 = 10_000;

impl Stores for Shared {
    fn get(&self, request: v1::GetStoredRequest) -> Answer<'_, v1::GetStoredResponse> {
        Box::pin(async move {
            let found =
                self.operated()?.store_get(&request.store, request.key.into()).await.map_err(refusal)?;
            Ok(found.map_or_else(v1::GetStoredResponse::default, |item| v1::GetStoredResponse {
                value: Some(item.value.into()),
                flags: item.flags,
                expires_at: item.expires_at.unwrap_or_default(),
                version: item.version.unwrap_or_default(),
            }))
        })
    }

    fn change(&self, request: v1::ChangeStoredRequest) -> Answer<'_, v1::ChangeStoredResponse> {
        let v1::ChangeStoredRequest { store, key, value, flags, expires_at } = request;
        Box::pin(async move {
            let expires_at = Some(expires_at).filter(|at| *at > 0);
            let item = |value: Vec<u8>| StoreItem { value: value.into(), flags, expires_at, version: None };
            let change = value.map_or(Change::Delete, |value| Change::Put(item(value)));
            let applied = self.operated()?.store_write(&store, key.into(), change).await.map_err(refusal)?;
            Ok(v1::ChangeStoredResponse { applied: applied == Applied::Yes })
        })
    }

    fn dead_letters(
        &self,
        request: &v1::ListDeadLettersRequest,
    ) -> Result<v1::ListDeadLettersResponse, StoresRefusal> {
        let most = if request.most == 0 { LETTERS_DEFAULT } else { request.most.min(LETTERS_MAX) };
        let behind = Some(&request.behind[..]).filter(|key| !key.is_empty());
        let letters = self.operated()?.dead_letters(&request.namespace, most as usize, behind);
        let letters = letters.map_err(refusal)?.into_iter().map(letter).collect();
        Ok(v1::ListDeadLettersResponse { letters })
    }

    fn settle(&self, request: v1::SettleDeadLettersRequest) -> Answer<'_, v1::SettleDeadLettersResponse> {
        Box::pin(async move {
            let key = Some(&request.key[..]).filter(|key| !key.is_empty());
            let (persister, namespace) = (self.operated()?, &request.namespace);
            let settled = match request.how() {
                v1::settle_dead_letters_request::How::Retry => persister.retry_dead_letters(namespace, key),
                v1::settle_dead_letters_request::How::Drop => {
                    persister.drop_dead_letters(namespace, key).await
                }
                v1::settle_dead_letters_request::How::Unspecified => {
                    return Err(StoresRefusal::Invalid("say how: retry or drop".to_owned()));
                }
            };
            Ok(v1::SettleDeadLettersResponse { letters: settled.map_err(refusal)? as u64 })
        })
    }
}

impl Shared {
    fn operated(&self) -> Result<&Persister, StoresRefusal> {
        let none = || {
            StoresRefusal::Unknown("this gateway has no backing stores: see its option persister".to_owned())
        };
        self.persister().ok_or_else(none)
    }
}

fn letter(letter: DeadLetter) -> v1::DeadLetter {
    v1::DeadLetter {
        key: Bytes::into(letter.key),
        version: letter.version,
        written_ms: letter.stamped_ms,
        attempts: letter.attempts as u64,
        error: letter.error,
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what map_err gives")]
fn refusal(error: OperatorError) -> StoresRefusal {
    match error {
        OperatorError::NoStore(_) | OperatorError::NoLog(_) => StoresRefusal::Unknown(error.to_string()),
        OperatorError::Key(_) => StoresRefusal::Invalid(error.to_string()),
        _ => StoresRefusal::Failed(error.to_string()),
    }
}
