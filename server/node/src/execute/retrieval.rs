//! Runs of retrievals, looked up in batches whatever requests the keys came in.

use arrayvec::ArrayVec;
use evanesce_front::ReplyBuffer;
use evanesce_store::{Lookup, Read, Value};
use evanesce_wire::request::Request;
use evanesce_wire::{KeysIter, encode};

use super::in_turn::InTurn;
use super::{Context, binary, get, hidden, meta_get, tell};

/// Keys of one batch of lookups: enough to hide the latency of memory, and a bound on what one step adds to the
/// output.
pub(crate) const READS_MAX: usize = 32;

/// A run of consecutive retrievals being answered. A step looks up a batch of keys; between steps the caller may
/// flush.
pub(crate) struct Retrieval<'b, 'a> {
    requests: &'b [Request<'a>],
    /// The request whose keys come next.
    at: usize,
    /// What is left of its keys; `None` before the first.
    keys: Option<KeysIter<'b>>,
}

/// Which request a lookup belongs to, and whether it is the request's last.
struct Origin<'b, 'a> {
    request: &'b Request<'a>,
    is_last: bool,
}

/// Counts of one step, added to the worker's at its end.
#[derive(Default)]
struct Tally {
    gets: usize,
    get_hits: usize,
    touches: usize,
    touch_hits: usize,
}

/// Whether a request can be part of a run. A retrieval without keys (`gat 0`) cannot.
#[inline]
pub(crate) fn is_retrieval(request: &Request<'_>) -> bool {
    match request {
        Request::Get(get) => !get.keys.as_bytes().is_empty(),
        Request::MetaGet(get) => get.promise.is_none(),
        Request::Binary(request) => binary::is_retrieval(request),
        _ => false,
    }
}

/// A run over `requests`, all of which must be retrievals.
pub(crate) fn retrieval<'b, 'a>(requests: &'b [Request<'a>]) -> Retrieval<'b, 'a> {
    Retrieval { requests, at: 0, keys: None }
}

impl<'b, 'a> Retrieval<'b, 'a> {
    /// Answers the next batch of keys; false when none remains.
    pub(crate) fn step(&mut self, context: &Context<'_>, out: &mut ReplyBuffer) -> bool {
        let mut reads: ArrayVec<Read<'b>, READS_MAX> = ArrayVec::new();
        let mut origins: ArrayVec<Origin<'b, 'a>, READS_MAX> = ArrayVec::new();
        // Values might be large, and each is pinned until its reader takes it: fewer at a time while they are.
        let width = context.reads.get().min(READS_MAX);
        while reads.len() < width
            && let Some((key, origin)) = self.next_key()
        {
            reads.push(read(origin.request, key, context));
            origins.push(origin);
        }
        let mut in_turn = InTurn::new(reads.len());
        let mut tally = Tally::default();
        context.store.read_batch(&reads, context.now, |index, lookup| {
            let (read, origin) = (&reads[index], &origins[index]);
            let lookup = hidden::shown(lookup, context);
            tally.count(&lookup, read.touch.is_some());
            tell::fetched(read.key, &lookup, context);
            if read.touch.is_some() || read.vivify.is_some() {
                tell::touched(read.key, context);
            }
            in_turn.append(index, out, |out| answer(origin, read.key, &lookup, context, out));
        });
        in_turn.finish(out);
        tally.add_to(context);
        context.reads.set(if out.is_full() { 1 } else { (width * 2).min(READS_MAX) });
        self.at < self.requests.len()
    }

    /// The next key of the run. Every request has one at least.
    #[inline]
    fn next_key(&mut self) -> Option<(&'b [u8], Origin<'b, 'a>)> {
        let request = self.requests.get(self.at)?;
        let (key, is_last) = match request {
            Request::Get(get) => {
                let keys = self.keys.get_or_insert_with(|| get.keys.iter());
                let key = keys.next().unwrap_or_default();
                (key, keys.is_empty())
            }
            Request::MetaGet(get) => (&*get.key.bytes, true),
            Request::Binary(request) => (request.key().unwrap_or_default(), true),
            _ => (&[][..], true),
        };
        if is_last {
            self.keys = None;
            self.at += 1;
        }
        Some((key, Origin { request, is_last }))
    }
}

impl Tally {
    #[inline]
    fn count(&mut self, lookup: &Lookup<'_>, touches: bool) {
        let hits = usize::from(matches!(lookup, Lookup::Hit(_)));
        if touches {
            self.touches += 1;
            self.touch_hits += hits;
        } else {
            self.gets += 1;
            self.get_hits += hits;
        }
    }

    fn add_to(&self, context: &Context<'_>) {
        let commands = context.commands;
        commands.cmd_get.add(self.gets);
        commands.get_hits.add(self.get_hits);
        commands.get_misses.add(self.gets - self.get_hits);
        if self.touches > 0 {
            commands.cmd_touch.add(self.touches);
            commands.touch_hits.add(self.touch_hits);
            commands.touch_misses.add(self.touches - self.touch_hits);
        }
    }
}

/// Counts a lookup that is not part of a run, as a touch where it touches.
pub(super) fn count(lookup: &Lookup<'_>, touches: bool, context: &Context<'_>) {
    let mut tally = Tally::default();
    tally.count(lookup, touches);
    tally.add_to(context);
}

#[inline]
fn read<'b>(request: &Request<'_>, key: &'b [u8], context: &Context<'_>) -> Read<'b> {
    match request {
        Request::Get(get) => get::read(get, key, context),
        Request::MetaGet(get) => meta_get::read(get, key, context),
        Request::Binary(request) => binary::read(request, key, context),
        _ => Read::key(key),
    }
}

/// Appends what a lookup adds to its request's reply.
#[inline]
fn answer(
    origin: &Origin<'_, '_>,
    key: &[u8],
    lookup: &Lookup<'_>,
    context: &Context<'_>,
    out: &mut ReplyBuffer,
) {
    match origin.request {
        Request::Get(get) => {
            get::answer(get, key, lookup, out);
            if origin.is_last {
                encode::end(out.buf());
            }
        }
        Request::MetaGet(get) => meta_get::answer(get, lookup, context, out),
        Request::Binary(request) => binary::answer(request, key, lookup, out),
        _ => {}
    }
}

/// Appends a value and its line end.
#[inline]
pub(super) fn append_value(value: &Value<'_>, out: &mut ReplyBuffer) {
    append_bytes(value, out);
    out.buf().extend_from_slice(b"\r\n");
}

/// Appends a value alone.
#[inline]
pub(super) fn append_bytes(value: &Value<'_>, out: &mut ReplyBuffer) {
    match value {
        Value::Inline(bytes) => out.buf().extend_from_slice(bytes),
        Value::Pinned(pieces) => pieces.iter().for_each(|piece| out.push_stored(piece.clone())),
    }
}
