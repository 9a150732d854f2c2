//! One request, answered by the cluster.

pub(crate) mod get;

mod arithmetic;
mod binary;
mod delete;
mod flush;
mod meta_get;
mod meta_write;
mod refusal;
mod store;
mod through;
mod touch;
mod ttl;

use bytes::{Bytes, BytesMut};
use evanesce_front::Output;
use evanesce_wire::request::Request;
use evanesce_wire::{encode, error_lines};

use crate::service::Context;

/// A reply, ready to be written in its turn. Empty when the request wanted none.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// Encoded replies, and the small values.
    buf: BytesMut,
    /// Large values, each with the place in `buf` before which it goes.
    large: Vec<(usize, Bytes)>,
}

impl Answer {
    pub(crate) fn buf(&mut self) -> &mut BytesMut {
        &mut self.buf
    }

    /// An answer of one error line; empty when `silent`.
    pub(crate) fn error(line: &str, silent: bool) -> Self {
        let mut answer = Self::default();
        if !silent {
            encode::error_line(&mut answer.buf, line);
        }
        answer
    }

    /// Appends a value and its line end, copied only when it is small.
    pub(crate) fn value(&mut self, value: Bytes) {
        self.bytes(value);
        self.buf.extend_from_slice(b"\r\n");
    }

    /// Appends a value alone, copied only when it is small.
    pub(crate) fn bytes(&mut self, value: Bytes) {
        if value.len() >= evanesce_front::PINNED_BYTES_MIN {
            self.large.push((self.buf.len(), value));
        } else {
            self.buf.extend_from_slice(&value);
        }
    }

    /// Hands everything to the connection, in order.
    pub(crate) fn write(self, out: &mut Output<'_>) {
        let mut written = 0;
        for (place, value) in self.large {
            out.buf().extend_from_slice(&self.buf[written..place]);
            out.push(value);
            written = place;
        }
        out.buf().extend_from_slice(&self.buf[written..]);
    }
}

/// How many keys a request asks the cluster about.
pub(crate) fn keys(request: &Request<'_>) -> usize {
    match request {
        Request::Get(get) => get.keys.iter().count(),
        Request::Binary(request) => binary::keys(request),
        Request::Version | Request::Verbosity(_) | Request::Stats(_) | Request::Quit | Request::MetaNoop => 0,
        Request::LruCrawler(_) | Request::Watch(_) | Request::Shutdown(_) | Request::ConfigGetCluster => 0,
        Request::MetaNoopVersions | Request::FlushAll(_) => 0,
        _ => 1,
    }
}

/// Refuses a request whose turn did not come in time.
pub(crate) fn busy(context: Context<'_>, request: &Request<'_>) -> Answer {
    refusal::busy(context, request)
}

/// Answers one request.
pub(crate) async fn answer(context: Context<'_>, request: &Request<'_>) -> Answer {
    match request {
        Request::Get(get) => get::answer(context, get).await,
        Request::Set(set) => store::answer(context, set).await,
        Request::Arithmetic(request) => arithmetic::answer(context, request).await,
        Request::Touch(touch) => touch::answer(context, touch).await,
        Request::Delete(delete) => delete::answer(context, delete).await,
        Request::MetaGet(get) => meta_get::answer(context, get).await,
        Request::MetaSet(set) => meta_write::set(context, set).await,
        Request::MetaDelete(delete) => meta_write::delete(context, delete).await,
        Request::MetaArithmetic(request) => arithmetic::meta(context, request).await,
        Request::TooLarge(refused) => delete::too_large(context, refused).await,
        Request::FlushAll(request) => flush::answer(context, *request).await,
        Request::Binary(request) => binary::answer(context, request).await,
        other => local(context, other),
    }
}

/// Answers what needs no other process.
fn local(context: Context<'_>, request: &Request<'_>) -> Answer {
    let mut answer = Answer::default();
    match request {
        Request::Version => encode::version(&mut answer.buf),
        Request::Verbosity(verbosity) if verbosity.noreply => {}
        Request::Verbosity(_) => encode::status(&mut answer.buf, evanesce_wire::reply::Status::Ok),
        // Versions are the business of the client behind it.
        Request::MetaNoop | Request::MetaNoopVersions => encode::meta_noop(&mut answer.buf),
        Request::Stats(argument) => return stats(context, argument),
        Request::Quit => {}
        Request::LruCrawler(_) => return refusal::listing(context),
        Request::Watch(_) => return refusal::watch(context),
        Request::Shutdown(_) => return Answer::error(error_lines::SHUTDOWN_NOT_ENABLED, false),
        Request::ConfigGetCluster => match &context.shared.configuration {
            Some(payload) => encode::configuration(&mut answer.buf, payload),
            None => encode::error_line(&mut answer.buf, error_lines::UNKNOWN_COMMAND),
        },
        other => return refusal::unsupported(context, other),
    }
    answer
}

fn stats(context: Context<'_>, argument: &[u8]) -> Answer {
    let mut answer = Answer::default();
    let stats = match (argument, context.shared.persister()) {
        (b"", _) => context.shared.stats(),
        (b"persister", Some(persister)) => persister.stats(),
        _ => return Answer::error(error_lines::BAD_COMMAND_LINE, false),
    };
    for (name, value) in stats {
        encode::stat(&mut answer.buf, &name, &value);
    }
    encode::end(&mut answer.buf);
    answer
}
