//! `ms` and `md`, without tokens.

use evanesce_wire::encode::{self, ItemFacts};
use evanesce_wire::reply::MetaStatus;
use evanesce_wire::request::{Exptime, MetaDelete, MetaSet};

use super::store::{is_offered, store};
use super::{Answer, refusal};
use crate::service::Context;

pub(super) async fn set(context: Context<'_>, set: &MetaSet<'_>) -> Answer {
    let with_token = set.compare.is_some() || set.cas_override.is_some() || set.flags.has(b'c');
    // The gateway's own client stamps versions.
    let with_version = set.flags.has(b'V') || set.repair;
    if with_version || with_token || set.invalidate || !is_offered(set.mode) {
        return refusal::unsupported_flag(context);
    }
    let exptime = set.exptime.unwrap_or(Exptime(0));
    let stored = store(context, &set.key.bytes, set.mode, set.value, set.client_flags, exptime).await;
    let mut answer = Answer::default();
    let facts = ItemFacts { value_bytes: set.value.len(), ..ItemFacts::default() };
    match stored {
        Ok(true) => encode::meta_stored(answer.buf(), MetaStatus::Done, set, Some(&facts)),
        Ok(false) => encode::meta_stored(answer.buf(), MetaStatus::NotStored, set, None),
        Err(error) => return refusal::write(context, &error, false),
    }
    answer
}

pub(super) async fn delete(context: Context<'_>, delete: &MetaDelete<'_>) -> Answer {
    let with_token = delete.compare.is_some() || delete.cas_override.is_some();
    if delete.flags.has(b'V') || with_token || delete.invalidate || delete.drop_value {
        return refusal::unsupported_flag(context);
    }
    context.counts.cmd_delete.add(1);
    let deleted = match context.shared.keys.delete(&*delete.key.bytes).run().await {
        Ok(deleted) => deleted,
        Err(error) => return refusal::write(context, &error, false),
    };
    let mut answer = Answer::default();
    let status = if deleted.found { MetaStatus::Done } else { MetaStatus::NotFound };
    encode::meta_deleted(answer.buf(), status, delete);
    answer
}
