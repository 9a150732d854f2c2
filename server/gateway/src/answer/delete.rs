//! `delete`, and the delete hidden in a value that is too large.

use evanesce_persister::TierError;
use evanesce_wire::encode;
use evanesce_wire::reply::Status;
use evanesce_wire::request::{Delete, TooLarge};

use super::{Answer, refusal};
use crate::service::{Context, Place};

pub(super) async fn answer(context: Context<'_>, delete: &Delete<'_>) -> Answer {
    let found = match self::delete(context, delete.key).await {
        Ok(found) => found,
        Err(error) => return refusal::write(context, &error, delete.noreply),
    };
    let mut answer = Answer::default();
    if !delete.noreply {
        encode::status(answer.buf(), if found { Status::Deleted } else { Status::NotFound });
    }
    answer
}

/// Deletes a key, and tells whether it was there.
pub(super) async fn delete(context: Context<'_>, key: &[u8]) -> Result<bool, TierError> {
    context.counts.cmd_delete.add(1);
    match context.place(key)? {
        Place::Tier(tier) => {
            let delete = Box::pin(tier.delete(key));
            context.beside_others(&tier, delete).await
        }
        Place::Cluster(keys) => Ok(keys.delete(key).run().await?.found),
    }
}

/// A set that cannot be stored drops what was there, as on a node: the writer meant to replace it. What a backing store has
/// stays: a cache may lose an item, a database may not.
pub(super) async fn too_large(context: Context<'_>, refused: &TooLarge<'_>) -> Answer {
    if refused.drop_item
        && let Err(error) = drop_item(context, &refused.key.bytes).await
    {
        return match refused.refusal.binary {
            Some((head, _)) => refusal::binary_write(context, head, &error),
            None => refusal::write(context, &error, refused.refusal.silent),
        };
    }
    let mut answer = Answer::default();
    refused.refusal.encode(answer.buf());
    answer
}

async fn drop_item(context: Context<'_>, key: &[u8]) -> Result<(), TierError> {
    let place = context.place(key)?;
    place.keys().delete(key).run().await?;
    Ok(())
}
