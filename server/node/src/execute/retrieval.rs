//! Runs of retrievals, looked up in batches whatever requests the keys came in.

use std::iter::Peekable;

use arrayvec::ArrayVec;
use evanesce_front::ReplyBuffer;
use evanesce_store::{Lookup, Read, Value};
use evanesce_wire::encode;
use evanesce_wire::request::Request;

use super::{Context, get, meta_get};

/// Keys of one batch of lookups: enough to hide the latency of memory, and a bound on what one step adds to the
/// output.
const READS_MAX: usize = 32;

/// Keys of a run's first batch: their values might be large, and each is pinned until its reader takes it.
const READS_FIRST: usize = 8;

/// A run of consecutive retrievals being answered. A step looks up a batch of keys; between steps the caller may
/// flush.
pub(crate) struct Retrieval<'b, 'a, K: Iterator<Item = (usize, &'b [u8])>> {
    requests: &'b [Request<'a>],
    keys: Peekable<K>,
    /// Keys of the next batch: doubles while values are small, falls to one when they fill the output.
    width: usize,
}

/// Which request a lookup belongs to, and whether it is the request's last.
struct Origin {
    request: usize,
    is_last: bool,
}

/// Whether a request can be part of a run. A retrieval without keys (`gat 0`) cannot.
pub(crate) fn is_retrieval(request: &Request<'_>) -> bool {
    match request {
        Request::Get(get) => get.keys.iter().next().is_some(),
        Request::MetaGet(_) => true,
        _ => false,
    }
}

/// The keys of a run, each with the number of its request.
fn keys<'b, 'a>(requests: &'b [Request<'a>]) -> impl Iterator<Item = (usize, &'b [u8])> + use<'b, 'a> {
    requests.iter().enumerate().flat_map(|(index, request)| {
        let (classic, meta) = match request {
            Request::Get(get) => (Some(get.keys.iter()), None),
            Request::MetaGet(get) => (None, Some(&*get.key.bytes)),
            _ => (None, None),
        };
        classic.into_iter().flatten().chain(meta).map(move |key| (index, key))
    })
}

/// A run over `requests`, all of which must be retrievals.
pub(crate) fn retrieval<'b, 'a>(
    requests: &'b [Request<'a>],
) -> Retrieval<'b, 'a, impl Iterator<Item = (usize, &'b [u8])> + use<'b, 'a>> {
    Retrieval { requests, keys: keys(requests).peekable(), width: READS_FIRST }
}

impl<'b, K: Iterator<Item = (usize, &'b [u8])>> Retrieval<'b, '_, K> {
    /// Answers the next batch of keys; false when none remains.
    pub(crate) fn step(&mut self, context: &Context<'_>, out: &mut ReplyBuffer) -> bool {
        let mut reads: ArrayVec<Read<'b>, READS_MAX> = ArrayVec::new();
        let mut origins: ArrayVec<Origin, READS_MAX> = ArrayVec::new();
        while reads.len() < self.width
            && let Some((request, key)) = self.keys.next()
        {
            let is_last = self.keys.peek().is_none_or(|(next, _)| *next != request);
            reads.push(read(&self.requests[request], key, context));
            origins.push(Origin { request, is_last });
        }
        context.store.read_batch(&reads, context.now, |index, lookup| {
            let origin = &origins[index];
            match &self.requests[origin.request] {
                Request::Get(get) => get::answer(get, reads[index].key, &lookup, context, out),
                Request::MetaGet(get) => return meta_get::answer(get, &lookup, context, out),
                _ => {}
            }
            if origin.is_last {
                encode::end(out.buf());
            }
        });
        self.width = if out.is_full() { 1 } else { (self.width * 2).min(READS_MAX) };
        self.keys.peek().is_some()
    }
}

fn read<'b>(request: &Request<'_>, key: &'b [u8], context: &Context<'_>) -> Read<'b> {
    match request {
        Request::Get(get) => get::read(get, key, context),
        Request::MetaGet(get) => meta_get::read(get, key, context),
        _ => Read::key(key),
    }
}

/// Length of a value.
pub(super) fn value_bytes(value: &Value<'_>) -> usize {
    match value {
        Value::Inline(bytes) => bytes.len(),
        Value::Pinned(pieces) => pieces.iter().map(|piece| piece.len()).sum(),
    }
}

/// Appends a value and its line end.
pub(super) fn append_value(value: &Value<'_>, out: &mut ReplyBuffer) {
    match value {
        Value::Inline(bytes) => out.buf().extend_from_slice(bytes),
        Value::Pinned(pieces) => pieces.iter().for_each(|piece| out.push_stored(piece.clone())),
    }
    out.buf().extend_from_slice(b"\r\n");
}

/// Counts a lookup, as a touch where it touches.
pub(super) fn count(lookup: &Lookup<'_>, touches: bool, context: &Context<'_>) {
    let commands = context.commands;
    let (asked, outcome) = match (touches, lookup) {
        (false, Lookup::Hit(_)) => (&commands.cmd_get, &commands.get_hits),
        (false, Lookup::Miss) => (&commands.cmd_get, &commands.get_misses),
        (true, Lookup::Hit(_)) => (&commands.cmd_touch, &commands.touch_hits),
        (true, Lookup::Miss) => (&commands.cmd_touch, &commands.touch_misses),
    };
    asked.add(1);
    outcome.add(1);
}
