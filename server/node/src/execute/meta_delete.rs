//! `md`.

use evanesce_store::{Delete as Operation, DeleteMode, DeleteOutcome};
use evanesce_wire::encode::{self, VersionTold};
use evanesce_wire::reply::MetaStatus;
use evanesce_wire::request::MetaDelete;

use super::{Context, delete, expiry, hidden, tell, version};

pub(super) fn execute(request: &MetaDelete<'_>, context: &Context<'_>, out: &mut Vec<u8>) {
    context.commands.cmd_meta.add(1);
    let mut answer =
        |status, told| encode::meta_versioned(out, status, &request.key, &request.flags, None, told);
    let version = match version::believed(request.version, context) {
        Ok(version) => version,
        Err(clock) => return answer(MetaStatus::NotStored, clock),
    };
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
        version,
        remember: context.shared.remembers_deletes(),
        ..Operation::key(&request.key.bytes)
    };
    let outcome = hidden::delete(&operation, context);
    delete::count(outcome, context);
    tell::deleted(&request.key.bytes, "md", outcome, context);
    match outcome {
        // A delete that carries none is not told what it was stamped with.
        DeleteOutcome::Deleted => {
            answer(MetaStatus::Done, version.map_or(VersionTold::Nothing, |v| VersionTold::Version(v.0)));
        }
        DeleteOutcome::NotFound => answer(MetaStatus::NotFound, VersionTold::Nothing),
        DeleteOutcome::Superseded { version } => {
            answer(MetaStatus::NotStored, VersionTold::Version(version.0));
        }
        _ => answer(MetaStatus::Exists, VersionTold::Nothing),
    }
}
