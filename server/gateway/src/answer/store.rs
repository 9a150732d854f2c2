//! `set`, `add`, `replace`. The others need one place to decide.

use bytes::Bytes;
use evanesce_client::{StoreOutcome, WriteError};
use evanesce_wire::encode;
use evanesce_wire::reply::Status;
use evanesce_wire::request::{Exptime, Request, Set, SetMode};

use super::{Answer, refusal, ttl};
use crate::service::Context;

pub(super) async fn answer(context: Context<'_>, set: &Set<'_>) -> Answer {
    if set.compare.is_some() || !is_offered(set.mode) {
        return refusal::unsupported(context, &Request::Set(set.clone()));
    }
    match store(context, set.key, set.mode, set.value, set.flags, set.exptime).await {
        Ok(stored) if set.noreply => drop_reply(stored),
        Ok(true) => status(Status::Stored),
        Ok(false) => status(Status::NotStored),
        Err(error) => refusal::write(context, &error, set.noreply),
    }
}

/// Whether the gateway offers a mode.
pub(super) fn is_offered(mode: SetMode) -> bool {
    matches!(mode, SetMode::Set | SetMode::Add | SetMode::Replace)
}

/// Stores in every zone; false when the mode's demand was not met.
pub(super) async fn store(
    context: Context<'_>,
    key: &[u8],
    mode: SetMode,
    value: &[u8],
    flags: u32,
    exptime: Exptime,
) -> Result<bool, WriteError> {
    context.counts.cmd_set.add(1);
    let (keys, ttl) = (&context.shared.keys, ttl::ttl(exptime));
    let value = Bytes::copy_from_slice(value);
    let outcome = match mode {
        SetMode::Add => keys.add(key, value).flags(flags).ttl(ttl).run().await?,
        SetMode::Replace => keys.replace(key, value).flags(flags).ttl(ttl).run().await?,
        _ => StoreOutcome::Stored(keys.set(key, value).flags(flags).ttl(ttl).run().await?),
    };
    Ok(outcome.is_stored())
}

fn status(status: Status) -> Answer {
    let mut answer = Answer::default();
    encode::status(answer.buf(), status);
    answer
}

fn drop_reply(_stored: bool) -> Answer {
    Answer::default()
}
