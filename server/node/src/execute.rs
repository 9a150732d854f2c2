//! What each request does to the store and what it answers. The only place that knows both the wire and the store.
//!
//! Nothing here waits. Retrievals, which may be long, can be taken in steps: see [`retrieval()`].

mod arithmetic;
mod binary;
mod configuration;
mod delete;
mod expiry;
mod flush_all;
mod get;
mod hidden;
mod in_turn;
mod listing;
mod meta_arithmetic;
mod meta_debug;
mod meta_delete;
mod meta_get;
mod meta_set;
mod promise;
mod retrieval;
mod set;
mod stats;
mod tell;
mod too_large;
mod touch;
mod version;

use std::cell::Cell;

use evanesce_front::{Flow, ReplyBuffer};
use evanesce_store::{Store, Time, Version};
use evanesce_wire::encode;
use evanesce_wire::error_lines::UNKNOWN_COMMAND;
use evanesce_wire::reply::Status;
use evanesce_wire::request::Request;

use crate::commands::Commands;
use crate::shared::Shared;
use crate::watch::Watch;

pub(crate) use listing::Listing;
pub(crate) use retrieval::{READS_MAX, is_retrieval, retrieval};
pub(crate) use version::CLOCK_AHEAD_MAX;

#[cfg(test)]
mod tests;

/// The store has no size classes; where the protocol needs one, all items are in this.
pub(crate) const CLASS: u32 = 1;

/// What a request is executed against.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) store: &'a Store,
    /// The same instant for a whole batch.
    pub(crate) now: Time,
    /// The worker's counts.
    pub(crate) commands: &'a Commands,
    /// What `stats` tells of.
    pub(crate) shared: &'a Shared,
    /// What is older is not shown; nothing is older than the first version of all.
    pub(crate) hides_before: Version,
    /// Keys to look up at once next: all that may be while values are small, few after large ones.
    pub(crate) reads: &'a Cell<usize>,
    /// Who watches, and whose requests these are; `None` while nobody does.
    pub(crate) watch: Option<Watch<'a>>,
}

/// Executes one request and appends its reply.
pub(crate) fn execute(request: &Request<'_>, context: &Context<'_>, out: &mut ReplyBuffer) -> Flow {
    match request {
        request if is_retrieval(request) => {
            let mut retrieval = retrieval(std::slice::from_ref(request));
            while retrieval.step(context, out) {}
        }
        Request::MetaGet(get) if get.promise.is_some() => promise::execute(get, context, out.buf()),
        // A retrieval of nothing: `gat 0`.
        Request::Get(_) | Request::MetaGet(_) => encode::end(out.buf()),
        Request::Set(set) => set::execute(set, context, out.buf()),
        Request::Arithmetic(arithmetic) => arithmetic::execute(arithmetic, context, out.buf()),
        Request::Touch(touch) => touch::execute(touch, context, out.buf()),
        Request::Delete(delete) => delete::execute(delete, context, out.buf()),
        Request::FlushAll(flush) => flush_all::execute(*flush, context, out.buf()),
        Request::Version => encode::version(out.buf()),
        Request::Verbosity(verbosity) => word(out.buf(), Status::Ok, verbosity.noreply),
        Request::Stats(argument) => stats::execute(argument, context, out.buf()),
        Request::Quit => return Flow::Close,
        Request::LruCrawler(_) => listing::execute(request, context, out.buf()),
        // The service answers it: it takes the connection.
        Request::Watch(_) => encode::error_line(out.buf(), UNKNOWN_COMMAND),
        Request::ConfigGetCluster => configuration::get_cluster(context, out.buf()),
        Request::Shutdown(shutdown) => return configuration::shut_down(*shutdown, context, out.buf()),
        Request::MetaSet(set) => meta_set::execute(set, context, out.buf()),
        Request::MetaDelete(delete) => meta_delete::execute(delete, context, out.buf()),
        Request::MetaArithmetic(arithmetic) => meta_arithmetic::execute(arithmetic, context, out.buf()),
        Request::MetaNoop => encode::meta_noop(out.buf()),
        Request::MetaNoopVersions => {
            let settling_ms = context.shared.settles_for_ms(context.now);
            encode::meta_noop_versions(out.buf(), context.now.0, settling_ms);
        }
        Request::MetaDebug(debug) => meta_debug::execute(debug, context, out.buf()),
        Request::TooLarge(refused) => too_large::execute(refused, context, out.buf()),
        Request::Binary(request) => return binary::execute(request, context, out.buf()),
    }
    Flow::Continue
}

/// Answers with a word, unless nobody wants to hear it.
fn word(out: &mut Vec<u8>, status: Status, noreply: bool) {
    if !noreply {
        encode::status(out, status);
    }
}

/// Answers with an error line, unless nobody wants to hear it.
fn error(out: &mut Vec<u8>, line: &str, noreply: bool) {
    if !noreply {
        encode::error_line(out, line);
    }
}
