//! What a connection says and hears before its first request.

use bytes::BytesMut;
use evanesce_wire::reply::{ErrorReply, MetaStatus, Reply, Status};
use evanesce_wire::request::Request;
use evanesce_wire::{Expect, ReplyDecoder};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::cause::{Cause, Failure, Stage};
use crate::credentials::Credentials;
use crate::error::Violation;

/// What a server says to whom it does not know yet.
const UNAUTHENTICATED: &[u8] = b"unauthenticated";

/// The answers before the first request are lines of some words.
const READ_BYTES: usize = 256;

/// What a node told of itself when the connection began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Greeting {
    /// It keeps versions, so that requests may carry them.
    pub versions: bool,
    /// Its clock then, in milliseconds since 1970. Of nodes that keep versions.
    pub clock_ms: Option<u64>,
}

/// Tells a node who we are.
///
/// # Errors
///
/// The stream failed, or the node does not let us in.
pub(crate) async fn authenticate<S>(stream: &mut S, credentials: &Credentials) -> Result<(), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let reply = ask(stream, Stage::Authentication, &credentials.command(), Expect::Line).await?;
    admitted(&reply)
}

/// Asks a node what it can do.
///
/// # Errors
///
/// The stream failed, or the node does not answer as a memcached server would.
pub(crate) async fn greet<S>(stream: &mut S) -> Result<Greeting, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut request = BytesMut::new();
    Request::MetaNoopVersions.encode(&mut request);
    let reply = ask(stream, Stage::Greeting, &request, Expect::Meta).await?;
    greeting(&reply)
}

/// One request and its reply, and not a byte more.
async fn ask<S>(stream: &mut S, stage: Stage, request: &[u8], expect: Expect) -> Result<Reply, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let io = |error: std::io::Error| Failure::of_io(stage, &error);
    // A node that lets us go before it was asked may have said why, so an error here is not the last word.
    let _ = write(stream, request).await;
    let mut decoder = ReplyDecoder::new();
    let mut input = BytesMut::with_capacity(READ_BYTES);
    loop {
        if stream.read_buf(&mut input).await.map_err(io)? == 0 {
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

async fn write<S: AsyncWrite + Unpin>(stream: &mut S, request: &[u8]) -> std::io::Result<()> {
    stream.write_all(request).await?;
    stream.flush().await
}

fn admitted(reply: &Reply) -> Result<(), Failure> {
    match reply {
        Reply::Status(Status::Stored) => Ok(()),
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
            Ok(Greeting { versions, clock_ms: meta.clock_ms().filter(|_| versions) })
        }
        Reply::Error(ErrorReply::Client(text)) if text == UNAUTHENTICATED => {
            Err(said(Cause::PasswordMissing, text))
        }
        Reply::Error(ErrorReply::Server(text)) => Err(said(Cause::Refused, text)),
        Reply::Error(_) => Ok(Greeting { versions: false, clock_ms: None }),
        other => Err(unreadable(&format!("{other:?}"))),
    }
}

fn said(cause: Cause, text: &[u8]) -> Failure {
    Failure::new(cause, &String::from_utf8_lossy(text))
}

fn unreadable(detail: &str) -> Failure {
    Failure::new(Cause::Violation(Violation::Unreadable), detail)
}
