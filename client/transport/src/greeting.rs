//! What a connection says and hears before its first request.

use std::time::Duration;

use bytes::BytesMut;
use evanesce_wire::reply::{ErrorReply, MetaStatus, Reply, Status};
use evanesce_wire::request::Request;
use evanesce_wire::{Expect, ReplyDecoder};
use tokio::time::Instant;

use crate::cause::{Cause, Failure, Stage};
use crate::credentials::Credentials;
use crate::error::Violation;
use crate::stream::Talk;

/// What a server says to whom it does not know yet.
const UNAUTHENTICATED: &[u8] = b"unauthenticated";

/// What a node of ours says to whoever speaks plain text where it speaks TLS.
const TLS_ONLY: &[u8] = b"this port speaks TLS only";

/// The answers before the first request are lines of some words.
const READ_BYTES: usize = 256;

/// No node settles for longer, whatever it says.
const SETTLING_MAX: Duration = Duration::from_secs(60);

/// What a node told of itself when the connection began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Greeting {
    /// It keeps versions, so that requests may carry them.
    pub versions: bool,
    /// Its clock then, in milliseconds since 1970. Of nodes that keep versions.
    pub clock_ms: Option<u64>,
    /// Until when it settles, if it does: it has just started, or did not run for a while.
    pub settles_until: Option<Instant>,
}

/// Tells a node who we are.
///
/// # Errors
///
/// The stream failed, or the node does not let us in.
pub(crate) async fn authenticate(stream: &mut impl Talk, credentials: &Credentials) -> Result<(), Failure> {
    let reply = ask(stream, Stage::Authentication, credentials.command(), Expect::Line).await?;
    admitted(&reply)
}

/// Asks a node what it can do.
///
/// # Errors
///
/// The stream failed, or the node does not answer as a memcached server would.
pub(crate) async fn greet(stream: &mut impl Talk) -> Result<Greeting, Failure> {
    let mut request = BytesMut::new();
    Request::MetaNoopVersions.encode(&mut request);
    let reply = ask(stream, Stage::Greeting, request, Expect::Meta).await?;
    greeting(&reply)
}

/// One request and its reply, and not a byte more.
async fn ask(
    stream: &mut impl Talk,
    stage: Stage,
    request: BytesMut,
    expect: Expect,
) -> Result<Reply, Failure> {
    // A node that lets us go before it was asked may have said why, so an error here is not the last word.
    let _ = stream.say(request).await;
    let mut decoder = ReplyDecoder::new();
    let mut input = BytesMut::new();
    loop {
        input.reserve(READ_BYTES);
        if stream.hear(&mut input).await.map_err(|error| Failure::of_io(stage, &error))? == 0 {
            return Err(Cause::Closed(stage).into());
        }
        let decoded = decoder.decode(&mut input, expect);
        match decoded.map_err(|error| unreadable(&error.to_string()))? {
            Some(_) if !input.is_empty() => return Err(Cause::Violation(Violation::Unasked).into()),
            Some(reply) => return Ok(reply),
            None => {}
        }
    }
}

fn admitted(reply: &Reply) -> Result<(), Failure> {
    match reply {
        Reply::Status(Status::Stored) => Ok(()),
        Reply::Error(ErrorReply::Client(text)) if text == TLS_ONLY => Err(said(Cause::TlsMissing, text)),
        Reply::Error(ErrorReply::Client(text)) => Err(said(Cause::PasswordRefused, text)),
        Reply::Error(ErrorReply::Server(text)) => Err(said(Cause::Refused, text)),
        Reply::Error(ErrorReply::Unknown) => Err(said(Cause::Refused, b"ERROR")),
        other => Err(unreadable(&format!("{other:?}"))),
    }
}

/// An error line is the answer of a server that does not know the question: it keeps no versions.
fn greeting(reply: &Reply) -> Result<Greeting, Failure> {
    match reply {
        Reply::Meta(meta) if meta.status == MetaStatus::Noop => {
            let versions = meta.flags().any(|flag| flag.letter == b'V');
            let left = meta.settling_ms().map(|left| Duration::from_millis(left).min(SETTLING_MAX));
            let settles_until = left.filter(|_| versions).map(|left| Instant::now() + left);
            Ok(Greeting { versions, clock_ms: meta.clock_ms().filter(|_| versions), settles_until })
        }
        Reply::Error(ErrorReply::Client(text)) if text == UNAUTHENTICATED => {
            Err(said(Cause::PasswordMissing, text))
        }
        Reply::Error(ErrorReply::Client(text)) if text == TLS_ONLY => Err(said(Cause::TlsMissing, text)),
        Reply::Error(ErrorReply::Server(text)) => Err(said(Cause::Refused, text)),
        Reply::Error(_) => Ok(Greeting { versions: false, clock_ms: None, settles_until: None }),
        other => Err(unreadable(&format!("{other:?}"))),
    }
}

fn said(cause: Cause, text: &[u8]) -> Failure {
    Failure::new(cause, &String::from_utf8_lossy(text))
}

fn unreadable(detail: &str) -> Failure {
    Failure::new(Cause::Violation(Violation::Unreadable), detail)
}
