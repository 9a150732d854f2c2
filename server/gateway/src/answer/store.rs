//! `set`, `add`, `replace`, `append`, `prepend`, `cas`. All but the first are decided by the key's home zone.

use bytes::Bytes;
use evanesce_client::{CompareAndSetOutcome, StoreOutcome, Version, Written};
use evanesce_persister::TierError;
use evanesce_wire::encode;
use evanesce_wire::reply::Status;
use evanesce_wire::request::{Exptime, Set, SetMode};

use super::{Answer, refusal, through, ttl};
use crate::service::{Context, Place};

/// What a store command is to do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Store<'a> {
    pub(super) key: &'a [u8],
    pub(super) mode: SetMode,
    pub(super) compare: Option<u64>,
    pub(super) value: &'a [u8],
    pub(super) flags: u32,
    pub(super) exptime: Exptime,
}

/// What came of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stored {
    /// `Stored`, or what the home zone has against it.
    pub(super) status: Status,
    /// The item's token, the same in every zone; 0 where nodes keep no versions, since each has its own then.
    pub(super) token: u64,
}

impl Stored {
    pub(super) fn refused(status: Status) -> Self {
        Self { status, token: 0 }
    }
}

/// The token of a write, for [`Stored`].
pub(super) fn token(written: Written) -> u64 {
    written.version.map_or(0, Version::as_u64)
}

impl From<Written> for Stored {
    fn from(written: Written) -> Self {
        Self { status: Status::Stored, token: token(written) }
    }
}

pub(super) async fn answer(context: Context<'_>, set: &Set<'_>) -> Answer {
    let Set { key, mode, compare, value, flags, exptime, noreply } = *set;
    match store(context, Store { key, mode, compare, value, flags, exptime }).await {
        Ok(_) if noreply => Answer::default(),
        Ok(stored) => {
            let mut answer = Answer::default();
            encode::status(answer.buf(), stored.status);
            answer
        }
        Err(error) => refusal::write(context, &error, noreply),
    }
}

/// Stores in every zone.
pub(super) async fn store(context: Context<'_>, store: Store<'_>) -> Result<Stored, TierError> {
    context.counts.cmd_set.add(1);
    let keys = match context.place(store.key)? {
        Place::Cluster(keys) => keys,
        Place::Tier(tier) => {
            return context.beside_others(&tier, Box::pin(through::store(&tier, store))).await;
        }
    };
    let Store { key, mode, compare, value, flags, exptime } = store;
    let ttl = ttl::ttl(exptime);
    let value = Bytes::copy_from_slice(value);
    if let Some(token) = compare {
        let set = keys.compare_and_set(key, token, value).flags(flags).ttl(ttl);
        return Ok(match set.run().await? {
            CompareAndSetOutcome::Stored(written) => written.into(),
            CompareAndSetOutcome::Exists => Stored::refused(Status::Exists),
            CompareAndSetOutcome::NotFound => Stored::refused(Status::NotFound),
        });
    }
    let outcome = match mode {
        SetMode::Set => StoreOutcome::Stored(keys.set(key, value).flags(flags).ttl(ttl).run().await?),
        SetMode::Add => keys.add(key, value).flags(flags).ttl(ttl).run().await?,
        SetMode::Replace => keys.replace(key, value).flags(flags).ttl(ttl).run().await?,
        SetMode::Append => keys.append(key, value).run().await?,
        SetMode::Prepend => keys.prepend(key, value).run().await?,
    };
    Ok(match outcome {
        StoreOutcome::Stored(written) => written.into(),
        StoreOutcome::NotStored => Stored::refused(Status::NotStored),
    })
}
