//! A store command whose value was too large, or came when there was no memory for it.

use evanesce_store::Delete;
use evanesce_wire::request::TooLarge;

use super::{Context, version};

/// Answers, and drops what is there: its writer believes it replaced.
pub(super) fn execute(refused: &TooLarge<'_>, context: &Context<'_>, out: &mut Vec<u8>) {
    context.commands.store_too_large.add(1);
    // Of a version that nobody believes nothing comes, whatever the value.
    if let (true, Ok(version)) = (refused.drop_item, version::believed(refused.version, context)) {
        let delete = Delete { version, ..Delete::key(&refused.key.bytes) };
        context.store.delete(&delete, context.now);
    }
    refused.refusal.encode(out);
}
