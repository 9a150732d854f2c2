//! `ms`.

use evanesce_store::{Compare, Version, Write, WriteMode, WriteOutcome};
use evanesce_wire::encode::{self, ItemFacts, VersionTold};
use evanesce_wire::error_lines::{OUT_OF_MEMORY_STORING, TOO_LARGE};
use evanesce_wire::reply::MetaStatus;
use evanesce_wire::request::{MetaSet, SetMode};

use super::{Context, expiry, hidden, set, tell, version};

pub(super) fn execute(request: &MetaSet<'_>, context: &Context<'_>, out: &mut Vec<u8>) {
    context.commands.cmd_meta.add(1);
    // For what was not stored memcached tells the length sent.
    let refused = ItemFacts { value_bytes: request.value.len(), ..ItemFacts::default() };
    let mut answer = |status, facts: &ItemFacts, told| {
        encode::meta_versioned(out, status, &request.key, &request.flags, Some(facts), told);
    };
    let version = match version::believed(request.version, context) {
        Ok(version) => version,
        Err(clock) => return answer(MetaStatus::NotStored, &refused, clock),
    };
    let decides = match version::decides(request.decides, request.repair, context) {
        Ok(decides) => decides,
        Err(told) => return answer(MetaStatus::NotStored, &refused, told),
    };
    let key = &*request.key.bytes;
    let promise = decides.map(|_| context.shared.promises.of(key));
    let decides =
        match promise.as_ref().map_or(Ok(None), |promise| version::agreed(decides, promise, key, context)) {
            Ok(decides) => decides,
            Err(told) => return answer(MetaStatus::NotStored, &refused, told),
        };
    let write = Write { decides, ..write(request, version, context) };
    let outcome = hidden::write(&write, context);
    version::kept(promise, matches!(outcome, WriteOutcome::Stored { .. }));
    set::count(&outcome, request.compare.is_some(), context);
    tell::stored(&write, &outcome, context);
    match outcome {
        WriteOutcome::Stored { cas, version: stored, value_bytes } => {
            let facts = ItemFacts { cas, value_bytes, ..ItemFacts::default() };
            match version::objection(version, None, key, context) {
                Some(floor) => answer(MetaStatus::NotStored, &facts, VersionTold::Version(floor.0)),
                None => answer(MetaStatus::Done, &facts, VersionTold::Version(stored.0)),
            }
        }
        WriteOutcome::Superseded { version: newer } => {
            let newer = version::objection(version, Some(newer), key, context).unwrap_or(newer);
            answer(MetaStatus::NotStored, &refused, VersionTold::Version(newer.0));
        }
        WriteOutcome::DecidedElsewhere => {
            answer(MetaStatus::NotStored, &refused, version::DECIDED_ELSEWHERE);
        }
        WriteOutcome::NotStored => answer(MetaStatus::NotStored, &refused, VersionTold::Nothing),
        WriteOutcome::Exists => answer(MetaStatus::Exists, &refused, VersionTold::Nothing),
        WriteOutcome::NotFound => answer(MetaStatus::NotFound, &refused, VersionTold::Nothing),
        WriteOutcome::TooLarge => encode::error_line(out, TOO_LARGE),
        _ => encode::error_line(out, OUT_OF_MEMORY_STORING),
    }
}

fn write<'r>(request: &'r MetaSet<'_>, version: Option<Version>, context: &Context<'_>) -> Write<'r> {
    let resolve = |exptime| expiry::resolve(exptime, context.now);
    let vivify = request.vivify.map(resolve);
    Write {
        flags: request.client_flags,
        expiry: request.exptime.map(resolve).unwrap_or_default(),
        mode: match request.mode {
            SetMode::Set => WriteMode::Set,
            SetMode::Add => WriteMode::Add,
            SetMode::Replace => WriteMode::Replace,
            SetMode::Append => WriteMode::Append { vivify },
            SetMode::Prepend => WriteMode::Prepend { vivify },
        },
        compare: request.compare.map(|cas| Compare { cas, invalidate: request.invalidate }),
        cas_override: request.cas_override,
        version,
        repair: request.repair,
        ..Write::set(&request.key.bytes, request.value)
    }
}
