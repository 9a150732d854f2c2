//! `delete`, and the delete hidden in a value that is too large.

use evanesce_wire::encode;
use evanesce_wire::reply::Status;
use evanesce_wire::request::{Delete, TooLarge};

use super::{Answer, refusal};
use crate::service::Context;

pub(super) async fn answer(context: Context<'_>, delete: &Delete<'_>) -> Answer {
    context.counts.cmd_delete.add(1);
    let deleted = match context.shared.keys.delete(delete.key).run().await {
        Ok(deleted) => deleted,
        Err(error) => return refusal::write(context, &error, delete.noreply),
    };
    let mut answer = Answer::default();
    if !delete.noreply {
        encode::status(answer.buf(), if deleted.found { Status::Deleted } else { Status::NotFound });
    }
    answer
}

/// A set that cannot be stored drops what was there, as on a node: the writer meant to replace it.
pub(super) async fn too_large(context: Context<'_>, refused: &TooLarge<'_>) -> Answer {
    if refused.drop_item
        && let Err(error) = context.shared.keys.delete(&*refused.key.bytes).run().await
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
