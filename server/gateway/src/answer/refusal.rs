//! What the gateway cannot do, and what the cluster could not.

use evanesce_persister::TierError;
use evanesce_wire::binary::encode;
use evanesce_wire::request::Request;
use evanesce_wire::{BinaryHead, BinaryStatus};

use super::Answer;
use crate::service::Context;

/// The answer to a command that means something on one node only, or would do harm to all of them.
const UNSUPPORTED: &str = "SERVER_ERROR the gateway does not offer this command yet, ask a node";

/// The answer to a meta flag that means something on one node only, or is not decided at home yet.
const UNSUPPORTED_FLAG: &str = "SERVER_ERROR the gateway does not offer this flag yet, ask a node";

/// The answer to `lru_crawler`: keys are where they are stored.
const LISTING: &str =
    "SERVER_ERROR keys are listed by each node for itself: ask the nodes, evanesce ctl topology tells where";

/// The answer to `watch`.
const WATCH: &str =
    "SERVER_ERROR events are told by each node for itself: ask the nodes, evanesce ctl topology tells where";

/// The answer to a request whose turn did not come.
const BUSY: &str = "SERVER_ERROR the gateway has too much under way: try again later";

/// Longest error line: what comes of many replicas may be long, and clients read lines into small buffers.
const LINE_BYTES_MAX: usize = 500;

/// Refuses a command that the gateway does not offer.
pub(super) fn unsupported(context: Context<'_>, request: &Request<'_>) -> Answer {
    context.counts.unsupported.add(1);
    Answer::error(UNSUPPORTED, request.is_noreply())
}

/// Refuses a request whose turn did not come in time.
pub(super) fn busy(context: Context<'_>, request: &Request<'_>) -> Answer {
    context.counts.busy.add(1);
    match request {
        Request::Binary(request) => binary(request.head, BinaryStatus::TemporaryFailure, BUSY),
        request => Answer::error(BUSY, request.is_noreply()),
    }
}

/// Refuses to list keys.
pub(super) fn listing(context: Context<'_>) -> Answer {
    context.counts.unsupported.add(1);
    Answer::error(LISTING, false)
}

/// Refuses to tell of events.
pub(super) fn watch(context: Context<'_>) -> Answer {
    context.counts.unsupported.add(1);
    Answer::error(WATCH, false)
}

/// Refuses a request for a flag that the gateway does not offer.
pub(super) fn unsupported_flag(context: Context<'_>) -> Answer {
    context.counts.unsupported.add(1);
    Answer::error(UNSUPPORTED_FLAG, false)
}

/// The line for a read that neither cluster nor backing store answered.
pub(super) fn read_line(context: Context<'_>, error: &TierError) -> String {
    context.counts.read_errors.add(1);
    line(error.is_callers(), error)
}

/// The answer to a write that did not meet its latch policy.
pub(super) fn write(context: Context<'_>, error: &TierError, silent: bool) -> Answer {
    context.counts.write_errors.add(1);
    Answer::error(&line(error.is_callers(), error), silent)
}

/// Refuses a command of the binary protocol that the gateway does not offer.
pub(super) fn binary_unsupported(context: Context<'_>, head: BinaryHead) -> Answer {
    context.counts.unsupported.add(1);
    binary(head, BinaryStatus::NotSupported, UNSUPPORTED)
}

/// The answer to a read that no zone answered.
pub(super) fn binary_read(context: Context<'_>, head: BinaryHead, error: &TierError) -> Answer {
    let line = read_line(context, error);
    binary(head, binary_status(error.is_callers()), &line)
}

/// The answer to a write that did not meet its latch policy.
pub(super) fn binary_write(context: Context<'_>, head: BinaryHead, error: &TierError) -> Answer {
    context.counts.write_errors.add(1);
    let is_callers = error.is_callers();
    binary(head, binary_status(is_callers), &line(is_callers, error))
}

/// Neither makes Netflix's client drop the connection.
fn binary_status(is_callers: bool) -> BinaryStatus {
    if is_callers { BinaryStatus::Invalid } else { BinaryStatus::TemporaryFailure }
}

/// A status with an error line's text, less its first word, which the status says.
fn binary(head: BinaryHead, status: BinaryStatus, line: &str) -> Answer {
    let text = line.split_once(' ').map_or(line, |(_, text)| text);
    let mut answer = Answer::default();
    encode::with_text(answer.buf(), head, status, text);
    answer
}

/// A `CLIENT_ERROR` when the request was wrong, so that nobody takes the cluster for ill.
fn line(is_callers: bool, error: &dyn std::error::Error) -> String {
    let text: String = error.to_string().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let whose = if is_callers { "CLIENT_ERROR" } else { "SERVER_ERROR" };
    let mut line = format!("{whose} {text}");
    if line.len() > LINE_BYTES_MAX {
        line.truncate(line.floor_char_boundary(LINE_BYTES_MAX));
    }
    line
}
