//! `touch`.

use evanesce_persister::TierError;
use evanesce_wire::encode;
use evanesce_wire::reply::Status;
use evanesce_wire::request::{Exptime, Touch};

use super::{Answer, refusal, through, ttl};
use crate::service::{Context, Place};

pub(super) async fn answer(context: Context<'_>, touch: &Touch<'_>) -> Answer {
    let found = match self::touch(context, touch.key, touch.exptime).await {
        Ok(found) => found,
        Err(error) => return refusal::write(context, &error, touch.noreply),
    };
    let mut answer = Answer::default();
    if !touch.noreply {
        encode::status(answer.buf(), if found { Status::Touched } else { Status::NotFound });
    }
    answer
}

/// Gives a key another expiry, and tells whether it was there.
pub(super) async fn touch(context: Context<'_>, key: &[u8], exptime: Exptime) -> Result<bool, TierError> {
    context.counts.cmd_touch.add(1);
    match context.place(key)? {
        Place::Tier(tier) => {
            let touch = Box::pin(through::touch(&tier, key, exptime));
            Ok(context.beside_others(&tier, touch).await?.is_some())
        }
        Place::Cluster(keys) => Ok(keys.touch(key, ttl::ttl(exptime)).run().await?.found),
    }
}
