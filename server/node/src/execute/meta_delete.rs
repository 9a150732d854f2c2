//! `md`.

use evanesce_store::{Delete as Operation, DeleteMode, DeleteOutcome};
use evanesce_wire::encode;
use evanesce_wire::reply::MetaStatus;
use evanesce_wire::request::MetaDelete;

use super::{Context, delete, expiry};

pub(super) fn execute(request: &MetaDelete<'_>, context: &Context<'_>, out: &mut Vec<u8>) {
    context.commands.cmd_meta.add(1);
    let touch = request.touch.map(|exptime| expiry::resolve(exptime, context.now));
    let mode = match (request.invalidate, request.drop_value) {
        (true, drop_value) => DeleteMode::Invalidate { touch, drop_value },
        (false, true) => DeleteMode::DropValue,
        (false, false) => DeleteMode::Remove,
    };
    let operation = Operation {
        mode,
        compare: request.compare,
        cas_override: request.cas_override,
        ..Operation::key(&request.key.bytes)
    };
    let outcome = context.store.delete(&operation, context.now);
    delete::count(outcome, context);
    let status = match outcome {
        DeleteOutcome::Deleted => MetaStatus::Done,
        DeleteOutcome::NotFound => MetaStatus::NotFound,
        _ => MetaStatus::Exists,
    };
    encode::meta_deleted(out, status, request);
}
