//! Requests of the binary protocol: what the text protocols are offered here, in the other form.

use evanesce_client::ArithmeticOutcome;
use evanesce_persister::TierError;
use evanesce_wire::binary::encode;
use evanesce_wire::reply::Status;
use evanesce_wire::request::SetMode;
use evanesce_wire::{BinaryCommand, BinaryHead, BinaryRequest, BinarySet, BinaryStatus, Exptime};

use super::store::Store;
use super::{Answer, arithmetic, refusal, store};
use crate::service::Context;

/// How many keys a request asks the cluster about.
pub(super) fn keys(request: &BinaryRequest<'_>) -> usize {
    usize::from(request.key().is_some())
}

/// Answers one request.
pub(super) async fn answer(context: Context<'_>, request: &BinaryRequest<'_>) -> Answer {
    let head = request.head;
    match request.command {
        BinaryCommand::Get { key, with_key, touch } => get(context, head, key, with_key, touch).await,
        BinaryCommand::Touch { key, exptime } => self::touch(context, head, key, exptime).await,
        _ if request.compare.is_some() && !compares(request) => refusal::binary_unsupported(context, head),
        BinaryCommand::Set(ref set) => self::set(context, head, set, request.compare).await,
        BinaryCommand::Arithmetic { key, direction, delta, initial } => {
            let counted = arithmetic::count(context, key, direction, delta, initial).await;
            self::counted(context, head, counted)
        }
        BinaryCommand::Delete { key } => delete(context, head, key).await,
        BinaryCommand::Flush { delay } => flush(context, head, delay).await,
        _ => local(context, request),
    }
}

/// Whether a token is compared, or means nothing, as in memcached. The home zone compares those of stores.
fn compares(request: &BinaryRequest<'_>) -> bool {
    match request.command {
        BinaryCommand::Set(ref set) => !matches!(set.mode, SetMode::Append | SetMode::Prepend),
        BinaryCommand::Delete { .. } | BinaryCommand::Arithmetic { .. } => false,
        _ => true,
    }
}

async fn get(
    context: Context<'_>,
    head: BinaryHead,
    key: &[u8],
    with_key: bool,
    touch: Option<Exptime>,
) -> Answer {
    let item = match super::get::read(context, key, touch, false).await {
        Ok(item) => item,
        Err(error) => return refusal::binary_read(context, head, &error),
    };
    let mut answer = Answer::default();
    match item {
        Some(item) => {
            context.counts.get_hits.add(1);
            let key = if with_key { key } else { &[] };
            // Where versions are kept every zone has one token, and the home zone can compare it.
            let token = item.version.map_or(0, |_| item.cas);
            encode::hit_header(answer.buf(), head, token, item.flags, key, item.value.len());
            answer.bytes(item.value);
        }
        None => {
            context.counts.get_misses.add(1);
            match (head.is_quiet(), with_key) {
                (true, _) => {}
                (false, true) => encode::miss_of_key(answer.buf(), head, key),
                (false, false) => encode::error(answer.buf(), head, BinaryStatus::NotFound),
            }
        }
    }
    answer
}

/// Tells neither flags nor token: a touch does not bring them.
async fn touch(context: Context<'_>, head: BinaryHead, key: &[u8], exptime: Exptime) -> Answer {
    match super::touch::touch(context, key, exptime).await {
        Ok(true) => done(head, 0),
        Ok(_) => error(head, BinaryStatus::NotFound),
        Err(error) => refusal::binary_write(context, head, &error),
    }
}

async fn set(context: Context<'_>, head: BinaryHead, set: &BinarySet<'_>, compare: Option<u64>) -> Answer {
    let BinarySet { key, mode, value, flags, exptime, .. } = *set;
    let stored = match store::store(context, Store { key, mode, compare, value, flags, exptime }).await {
        Ok(stored) => stored,
        Err(error) => return refusal::binary_write(context, head, &error),
    };
    match stored.status {
        Status::Stored => done(head, stored.token),
        Status::Exists => error(head, BinaryStatus::Exists),
        Status::NotFound => error(head, BinaryStatus::NotFound),
        _ => error(head, refused(mode)),
    }
}

async fn flush(context: Context<'_>, head: BinaryHead, delay: Option<Exptime>) -> Answer {
    if !context.shared.flush_command {
        return refusal::binary_unsupported(context, head);
    }
    match super::flush::flush(context, delay).await {
        Ok(()) => done(head, 0),
        Err(error) => refusal::binary_write(context, head, &error),
    }
}

/// The status for a mode's demand that was not met.
fn refused(mode: SetMode) -> BinaryStatus {
    match mode {
        SetMode::Add => BinaryStatus::Exists,
        SetMode::Append | SetMode::Prepend => BinaryStatus::NotStored,
        SetMode::Set | SetMode::Replace => BinaryStatus::NotFound,
    }
}

fn counted(context: Context<'_>, head: BinaryHead, counted: Result<ArithmeticOutcome, TierError>) -> Answer {
    match counted {
        Ok(ArithmeticOutcome::Counted { .. }) if head.is_quiet() => Answer::default(),
        Ok(ArithmeticOutcome::Counted { number, written }) => {
            let mut answer = Answer::default();
            encode::number(answer.buf(), head, number, store::token(written));
            answer
        }
        Ok(ArithmeticOutcome::NotFound) => error(head, BinaryStatus::NotFound),
        Ok(ArithmeticOutcome::NotANumber) => error(head, BinaryStatus::NotANumber),
        Err(error) => refusal::binary_write(context, head, &error),
    }
}

async fn delete(context: Context<'_>, head: BinaryHead, key: &[u8]) -> Answer {
    match super::delete::delete(context, key).await {
        Ok(true) => done(head, 0),
        Ok(_) => error(head, BinaryStatus::NotFound),
        Err(error) => refusal::binary_write(context, head, &error),
    }
}

/// Answers what needs no other process.
fn local(context: Context<'_>, request: &BinaryRequest<'_>) -> Answer {
    let head = request.head;
    let mut answer = Answer::default();
    match request.command {
        BinaryCommand::Noop => encode::done(answer.buf(), head, 0),
        BinaryCommand::Version => encode::version(answer.buf(), head),
        BinaryCommand::Stat { argument } => {
            let told = super::stats(context, argument);
            encode::stats_of_text(answer.buf(), head, &told.buf);
        }
        // Answered by the front, which closes.
        BinaryCommand::Quit => {}
        // Where a listener authenticates, its front has answered; here memcached knows no such commands.
        BinaryCommand::SaslList | BinaryCommand::SaslAuth { .. } | BinaryCommand::SaslStep { .. } => {
            return error(head, BinaryStatus::UnknownCommand);
        }
        _ => return refusal::binary_unsupported(context, head),
    }
    answer
}

/// A success, which a quiet command keeps to itself.
fn done(head: BinaryHead, token: u64) -> Answer {
    let mut answer = Answer::default();
    if !head.is_quiet() {
        encode::done(answer.buf(), head, token);
    }
    answer
}

fn error(head: BinaryHead, status: BinaryStatus) -> Answer {
    let mut answer = Answer::default();
    encode::error(answer.buf(), head, status);
    answer
}
