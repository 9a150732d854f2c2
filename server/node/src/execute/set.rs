//! `set`, `add`, `replace`, `append`, `prepend`, `cas`.

use evanesce_store::{Compare, Write, WriteMode, WriteOutcome};
use evanesce_wire::error_lines::{OUT_OF_MEMORY_STORING, TOO_LARGE};
use evanesce_wire::reply::Status;
use evanesce_wire::request::{Set, SetMode};

use super::{Context, error, expiry, hidden, tell, word};

pub(super) fn execute(set: &Set<'_>, context: &Context<'_>, out: &mut Vec<u8>) {
    let write = Write {
        flags: set.flags,
        expiry: expiry::resolve(set.exptime, context.now),
        mode: mode(set.mode),
        compare: set.compare.map(|cas| Compare { cas, invalidate: false }),
        ..Write::set(set.key, set.value)
    };
    let outcome = hidden::write(&write, context);
    count(&outcome, set.compare.is_some(), context);
    tell::stored(&write, &outcome, context);
    match outcome {
        WriteOutcome::Stored { .. } => word(out, Status::Stored, set.noreply),
        WriteOutcome::NotStored => word(out, Status::NotStored, set.noreply),
        WriteOutcome::Exists => word(out, Status::Exists, set.noreply),
        WriteOutcome::NotFound => word(out, Status::NotFound, set.noreply),
        WriteOutcome::TooLarge => error(out, TOO_LARGE, set.noreply),
        _ => error(out, OUT_OF_MEMORY_STORING, set.noreply),
    }
}

pub(super) fn mode(mode: SetMode) -> WriteMode {
    match mode {
        SetMode::Set => WriteMode::Set,
        SetMode::Add => WriteMode::Add,
        SetMode::Replace => WriteMode::Replace,
        SetMode::Append => WriteMode::Append { vivify: None },
        SetMode::Prepend => WriteMode::Prepend { vivify: None },
    }
}

/// Counts a write and, where a CAS token was demanded, how that went.
pub(super) fn count(outcome: &WriteOutcome, compares: bool, context: &Context<'_>) {
    let commands = context.commands;
    match outcome {
        WriteOutcome::TooLarge => return commands.store_too_large.add(1),
        WriteOutcome::OutOfMemory => return commands.store_no_memory.add(1),
        WriteOutcome::Superseded { .. } => return commands.superseded.add(1),
        // It is asked once more, when what others have is known.
        WriteOutcome::DecidedElsewhere => return,
        _ => commands.cmd_set.add(1),
    }
    match outcome {
        WriteOutcome::Stored { .. } if compares => commands.cas_hits.add(1),
        WriteOutcome::Exists => commands.cas_badval.add(1),
        WriteOutcome::NotFound => commands.cas_misses.add(1),
        _ => {}
    }
}
