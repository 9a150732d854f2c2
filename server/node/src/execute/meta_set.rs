//! `ms`.

use evanesce_store::{Compare, Write, WriteMode, WriteOutcome};
use evanesce_wire::encode::{self, ItemFacts};
use evanesce_wire::error_lines::{OUT_OF_MEMORY_STORING, TOO_LARGE};
use evanesce_wire::reply::MetaStatus;
use evanesce_wire::request::{MetaSet, SetMode};

use super::{Context, expiry, set};

pub(super) fn execute(request: &MetaSet<'_>, context: &Context<'_>, out: &mut Vec<u8>) {
    context.commands.cmd_meta.add(1);
    let outcome = context.store.write(&write(request, context), context.now);
    set::count(&outcome, request.compare.is_some(), context);
    let status = match outcome {
        WriteOutcome::Stored { cas, value_bytes, .. } => {
            let facts = ItemFacts { cas, value_bytes, ..ItemFacts::default() };
            return encode::meta_stored(out, MetaStatus::Done, request, Some(&facts));
        }
        WriteOutcome::NotStored => MetaStatus::NotStored,
        WriteOutcome::Exists => MetaStatus::Exists,
        WriteOutcome::NotFound => MetaStatus::NotFound,
        WriteOutcome::TooLarge => return encode::error_line(out, TOO_LARGE),
        _ => return encode::error_line(out, OUT_OF_MEMORY_STORING),
    };
    encode::meta_stored(out, status, request, None);
}

fn write<'r>(request: &'r MetaSet<'_>, context: &Context<'_>) -> Write<'r> {
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
        ..Write::set(&request.key.bytes, request.value)
    }
}
