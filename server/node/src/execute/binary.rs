//! Requests of the binary protocol.

use evanesce_front::{Flow, ReplyBuffer};
use evanesce_store::{
    Arithmetic, ArithmeticOutcome, Compare, Delete, DeleteOutcome, Lookup, Read, Write, WriteMode,
    WriteOutcome,
};
use evanesce_wire::binary::encode;
use evanesce_wire::request::{Direction, SetMode};
use evanesce_wire::{BinaryCommand, BinaryHead, BinaryRequest, BinarySet, BinaryStatus, Exptime};

use super::retrieval::append_bytes;
use super::{Context, arithmetic, delete, expiry, flush_all, hidden, retrieval, set, stats, tell};

/// memcached's texts where it is out of memory.
const NO_ROOM_FOR_ITEM: &str = "Out of memory allocating item";
const NO_ROOM_FOR_NUMBER: &str = "Out of memory incrementing value";

/// Whether a request can be part of a run of retrievals.
#[inline]
pub(super) fn is_retrieval(request: &BinaryRequest<'_>) -> bool {
    matches!(request.command, BinaryCommand::Get { .. })
}

/// What a retrieval reads.
#[inline]
pub(super) fn read<'b>(request: &BinaryRequest<'_>, key: &'b [u8], context: &Context<'_>) -> Read<'b> {
    let touch = match request.command {
        BinaryCommand::Get { touch, .. } => touch,
        _ => None,
    };
    Read { touch: touch.map(|exptime| expiry::resolve(exptime, context.now)), ..Read::key(key) }
}

/// Answers a retrieval.
#[inline]
pub(super) fn answer(request: &BinaryRequest<'_>, key: &[u8], lookup: &Lookup<'_>, out: &mut ReplyBuffer) {
    let head = request.head;
    let with_key = matches!(request.command, BinaryCommand::Get { with_key: true, .. });
    match lookup {
        Lookup::Hit(hit) => {
            let key = if with_key { key } else { &[] };
            encode::hit_header(out.buf(), head, hit.cas, hit.flags, key, hit.value.len());
            append_bytes(&hit.value, out);
        }
        Lookup::Miss if head.is_quiet() => {}
        Lookup::Miss if with_key => encode::miss_of_key(out.buf(), head, key),
        Lookup::Miss => encode::error(out.buf(), head, BinaryStatus::NotFound),
    }
}

/// Executes any other request.
pub(super) fn execute(request: &BinaryRequest<'_>, context: &Context<'_>, out: &mut Vec<u8>) -> Flow {
    let head = request.head;
    match request.command {
        // Retrievals are answered in runs.
        BinaryCommand::Get { .. } => {}
        BinaryCommand::Touch { key, exptime } => touch(head, key, exptime, context, out),
        BinaryCommand::Set(ref set) => store(request, set, context, out),
        BinaryCommand::Delete { key } => remove(request, key, context, out),
        BinaryCommand::Arithmetic { key, direction, delta, initial } => {
            let operation = Arithmetic {
                key,
                direction: arithmetic::direction(direction),
                delta,
                initial: initial.map(|(number, exptime)| (number, expiry::resolve(exptime, context.now))),
                touch: None,
                compare: request.compare,
                cas_override: None,
                decides: None,
            };
            calculate(head, direction, &operation, context, out);
        }
        BinaryCommand::Flush { delay } => {
            flush_all::flush(delay, context);
            done(head, 0, out);
        }
        BinaryCommand::Noop => encode::done(out, head, 0),
        BinaryCommand::Version => encode::version(out, head),
        BinaryCommand::Stat { argument } => {
            let mut told = Vec::new();
            stats::execute(argument, context, &mut told);
            encode::stats_of_text(out, head, &told);
        }
        BinaryCommand::Quit => {
            done(head, 0, out);
            return Flow::Close;
        }
        // Where a listener authenticates, its front has answered; here memcached knows no such commands.
        BinaryCommand::SaslList | BinaryCommand::SaslAuth { .. } | BinaryCommand::SaslStep { .. } => {
            encode::error(out, head, BinaryStatus::UnknownCommand);
        }
    }
    Flow::Continue
}

/// A success, which a quiet command keeps to itself.
fn done(head: BinaryHead, cas: u64, out: &mut Vec<u8>) {
    if !head.is_quiet() {
        encode::done(out, head, cas);
    }
}

fn touch(head: BinaryHead, key: &[u8], exptime: Exptime, context: &Context<'_>, out: &mut Vec<u8>) {
    let read = Read { touch: Some(expiry::resolve(exptime, context.now)), ..Read::key(key) };
    context.store.read(&read, context.now, |lookup| {
        let lookup = hidden::shown(lookup, context);
        retrieval::count(&lookup, true, context);
        tell::fetched(key, &lookup, context);
        tell::touched(key, context);
        match lookup {
            Lookup::Hit(hit) => encode::hit_header(out, head, hit.cas, hit.flags, &[], 0),
            Lookup::Miss => encode::error(out, head, BinaryStatus::NotFound),
        }
    });
}

fn store(request: &BinaryRequest<'_>, set: &BinarySet<'_>, context: &Context<'_>, out: &mut Vec<u8>) {
    let head = request.head;
    let joins = matches!(set.mode, SetMode::Append | SetMode::Prepend);
    let write = Write {
        flags: set.flags,
        expiry: expiry::resolve(set.exptime, context.now),
        // As in memcached, a token makes a `cas` of whatever stores a whole value.
        mode: if request.compare.is_some() && !joins { WriteMode::Set } else { set::mode(set.mode) },
        compare: request.compare.map(|cas| Compare { cas, invalidate: false }),
        ..Write::set(set.key, set.value)
    };
    let outcome = hidden::write(&write, context);
    set::count(&outcome, request.compare.is_some(), context);
    tell::stored(&write, &outcome, context);
    let status = match outcome {
        WriteOutcome::Stored { cas, .. } => return done(head, cas, out),
        WriteOutcome::NotStored | WriteOutcome::NotFound if joins => BinaryStatus::NotStored,
        WriteOutcome::NotStored if set.mode == SetMode::Add => BinaryStatus::Exists,
        WriteOutcome::NotStored | WriteOutcome::NotFound => BinaryStatus::NotFound,
        WriteOutcome::Exists => BinaryStatus::Exists,
        WriteOutcome::TooLarge => {
            let text = BinaryStatus::TooLarge.text();
            return encode::with_text(out, head, BinaryStatus::OutOfMemory, text);
        }
        _ => return encode::with_text(out, head, BinaryStatus::OutOfMemory, NO_ROOM_FOR_ITEM),
    };
    encode::error(out, head, status);
}

fn remove(request: &BinaryRequest<'_>, key: &[u8], context: &Context<'_>, out: &mut Vec<u8>) {
    let operation =
        Delete { compare: request.compare, remember: context.shared.remembers_deletes(), ..Delete::key(key) };
    let outcome = hidden::delete(&operation, context);
    delete::count(outcome, context);
    tell::deleted(key, "delete", outcome, context);
    match outcome {
        DeleteOutcome::Deleted => done(request.head, 0, out),
        DeleteOutcome::NotFound => encode::error(out, request.head, BinaryStatus::NotFound),
        _ => encode::error(out, request.head, BinaryStatus::Exists),
    }
}

fn calculate(
    head: BinaryHead,
    direction: Direction,
    operation: &Arithmetic<'_>,
    context: &Context<'_>,
    out: &mut Vec<u8>,
) {
    let outcome = hidden::arithmetic(operation, context);
    arithmetic::count(&outcome, direction, context);
    tell::counted(operation.key, operation.direction, &outcome, context);
    let status = match outcome {
        ArithmeticOutcome::Number { .. } if head.is_quiet() => return,
        ArithmeticOutcome::Number { number, cas, .. } => return encode::number(out, head, number, cas),
        ArithmeticOutcome::NotFound => BinaryStatus::NotFound,
        ArithmeticOutcome::Exists => BinaryStatus::Exists,
        ArithmeticOutcome::NotANumber => BinaryStatus::NotANumber,
        _ => return encode::with_text(out, head, BinaryStatus::OutOfMemory, NO_ROOM_FOR_NUMBER),
    };
    encode::error(out, head, status);
}
