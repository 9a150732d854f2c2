//! `ms` and `md`.

use evanesce_wire::encode::{self, ItemFacts};
use evanesce_wire::reply::{MetaStatus, Status};
use evanesce_wire::request::{Exptime, MetaDelete, MetaSet, SetMode};

use super::store::{Store, store};
use super::{Answer, refusal};
use crate::service::Context;

pub(super) async fn set(context: Context<'_>, set: &MetaSet<'_>) -> Answer {
    // The gateway's own client stamps versions. A compare makes the same of a set and of a replace.
    let with_version = set.flags.has(b'V') || set.repair || set.cas_override.is_some();
    let compares = set.compare.is_some() && !matches!(set.mode, SetMode::Set | SetMode::Replace);
    if with_version || compares || set.invalidate || set.vivify.is_some() {
        return refusal::unsupported_flag(context);
    }
    let wanted = Store {
        key: &set.key.bytes,
        mode: set.mode,
        compare: set.compare,
        value: set.value,
        flags: set.client_flags,
        exptime: set.exptime.unwrap_or(Exptime(0)),
    };
    let stored = match store(context, wanted).await {
        Ok(stored) => stored,
        Err(error) => return refusal::write(context, &error, false),
    };
    let facts = ItemFacts { value_bytes: set.value.len(), cas: stored.token, ..ItemFacts::default() };
    let status = match stored.status {
        Status::Stored => MetaStatus::Done,
        Status::Exists => MetaStatus::Exists,
        Status::NotFound => MetaStatus::NotFound,
        _ => MetaStatus::NotStored,
    };
    let mut answer = Answer::default();
    encode::meta_stored(answer.buf(), status, set, (status == MetaStatus::Done).then_some(&facts));
    answer
}

pub(super) async fn delete(context: Context<'_>, delete: &MetaDelete<'_>) -> Answer {
    let with_token = delete.compare.is_some() || delete.cas_override.is_some();
    if delete.flags.has(b'V') || with_token || delete.invalidate || delete.drop_value {
        return refusal::unsupported_flag(context);
    }
    let found = match super::delete::delete(context, &delete.key.bytes).await {
        Ok(found) => found,
        Err(error) => return refusal::write(context, &error, false),
    };
    let mut answer = Answer::default();
    let status = if found { MetaStatus::Done } else { MetaStatus::NotFound };
    encode::meta_deleted(answer.buf(), status, delete);
    answer
}
