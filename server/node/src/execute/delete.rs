//! `delete`.

use evanesce_store::{Delete as Operation, DeleteOutcome};
use evanesce_wire::reply::Status;
use evanesce_wire::request::Delete;

use super::{Context, tell, word};

pub(super) fn execute(request: &Delete<'_>, context: &Context<'_>, out: &mut Vec<u8>) {
    let remember = context.shared.remembers_deletes();
    let operation = Operation { remember, ..Operation::key(request.key) };
    let outcome = context.store.delete(&operation, context.now);
    count(outcome, context);
    tell::deleted(request.key, "delete", outcome, context);
    let status = if outcome == DeleteOutcome::Deleted { Status::Deleted } else { Status::NotFound };
    word(out, status, request.noreply);
}

pub(super) fn count(outcome: DeleteOutcome, context: &Context<'_>) {
    let commands = context.commands;
    match outcome {
        DeleteOutcome::Deleted => commands.delete_hits.add(1),
        DeleteOutcome::NotFound => commands.delete_misses.add(1),
        DeleteOutcome::Superseded { .. } => commands.superseded.add(1),
        _ => commands.cas_badval.add(1),
    }
}
