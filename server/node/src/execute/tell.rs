//! What watchers are told of requests, see [`crate::watch`], and other owners of changed keys, see [`crate::resize`]. Nothing,
//! as a rule: nobody watches, and a key has one owner.

use evanesce_store::{
    ArithmeticOutcome, DeleteOutcome, Direction, Expiry, Lookup, Write, WriteMode, WriteOutcome,
};

use super::{Context, expiry};

#[inline]
pub(super) fn fetched(key: &[u8], lookup: &Lookup<'_>, context: &Context<'_>) {
    if let Some(watch) = context.watch {
        let value_bytes = match lookup {
            Lookup::Hit(hit) => Some(hit.value.len()),
            Lookup::Miss => None,
        };
        watch.fetched(key, value_bytes);
    }
}

#[inline]
pub(super) fn stored(write: &Write<'_>, outcome: &WriteOutcome, context: &Context<'_>) {
    if matches!(outcome, WriteOutcome::Stored { .. } | WriteOutcome::TooLarge | WriteOutcome::OutOfMemory) {
        context.shared.resize.changed(write.key);
    }
    let Some(watch) = context.watch else { return };
    let command = match write.mode {
        WriteMode::Set if write.compare.is_some() => "cas",
        WriteMode::Set => "set",
        WriteMode::Add => "add",
        WriteMode::Replace => "replace",
        WriteMode::Append { .. } => "append",
        WriteMode::Prepend { .. } => "prepend",
    };
    let (status, bytes) = match outcome {
        WriteOutcome::Stored { value_bytes, .. } => ("stored", *value_bytes),
        WriteOutcome::NotStored => ("not_stored", write.value.len()),
        WriteOutcome::Exists => ("exists", write.value.len()),
        WriteOutcome::NotFound => ("not_found", write.value.len()),
        WriteOutcome::TooLarge => ("too_large", write.value.len()),
        // Not memcached's.
        WriteOutcome::Superseded { .. } => ("superseded", write.value.len()),
        WriteOutcome::DecidedElsewhere => ("decided_elsewhere", write.value.len()),
        _ => ("no_memory", write.value.len()),
    };
    watch.stored(write.key, status, command, ttl_secs(write.expiry, context), bytes);
}

/// A lookup that may change the item has found it, or made it.
#[inline]
pub(super) fn touched(key: &[u8], context: &Context<'_>) {
    context.shared.resize.changed(key);
}

/// Tells of arithmetic that stored its result, as a write of it.
pub(super) fn counted(key: &[u8], direction: Direction, outcome: &ArithmeticOutcome, context: &Context<'_>) {
    if matches!(outcome, ArithmeticOutcome::Number { .. }) {
        context.shared.resize.changed(key);
    }
    if let (Some(watch), ArithmeticOutcome::Number { number, expiry, .. }) = (context.watch, outcome) {
        let command = match direction {
            Direction::Increment => "incr",
            Direction::Decrement => "decr",
        };
        let digits = number.checked_ilog10().unwrap_or(0) as usize + 1;
        watch.stored(key, "stored", command, ttl_secs(*expiry, context), digits);
    }
}

/// Tells of a delete by `command` that found something.
pub(super) fn deleted(key: &[u8], command: &str, outcome: DeleteOutcome, context: &Context<'_>) {
    if matches!(outcome, DeleteOutcome::Deleted | DeleteOutcome::NotFound) {
        context.shared.resize.changed(key);
    }
    if let (Some(watch), DeleteOutcome::Deleted) = (context.watch, outcome) {
        watch.deleted(key, command);
    }
}

fn ttl_secs(expiry: Expiry, context: &Context<'_>) -> u64 {
    expiry::remaining_secs(expiry, context.now).unwrap_or(0)
}
