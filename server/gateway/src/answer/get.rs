//! `get`, `gets`, `gat`, `gats`.

use std::ops::Deref;
use std::slice;

use bytes::Bytes;
use evanesce_client::{Item, Namespace, ReadError};
use evanesce_front::Output;
use evanesce_persister::TierError;
use evanesce_wire::encode;
use evanesce_wire::request::{Exptime, Get, Keys, Request};
use futures_util::future::join_all;

use super::{Answer, refusal, through, ttl};
use crate::service::{Context, Place, RUN_KEYS_MAX};

/// A value with its flags, if there is one.
type Found = Result<Option<(Bytes, u32)>, ReadError>;

/// The keys of a run of retrievals of values alone.
pub(crate) enum PlainKeys<'r> {
    One(&'r [u8]),
    Many(Vec<&'r [u8]>),
}

impl<'r> Deref for PlainKeys<'r> {
    type Target = [&'r [u8]];

    fn deref(&self) -> &[&'r [u8]] {
        match self {
            Self::One(key) => slice::from_ref(key),
            Self::Many(keys) => keys,
        }
    }
}

/// The length of the run that `batch` begins with, and its keys, if all of it are retrievals of values alone.
pub(crate) fn plain_run<'r>(batch: &'r [Request<'_>]) -> Option<(usize, PlainKeys<'r>)> {
    if let [only] = batch {
        let mut keys = plain_keys(only)?.iter();
        if let (Some(key), true) = (keys.next(), keys.is_empty()) {
            return Some((1, PlainKeys::One(key)));
        }
    }
    let mut run = Vec::with_capacity(batch.len());
    for (position, request) in batch.iter().enumerate() {
        let before = run.len();
        let mut keys = plain_keys(request)?.iter();
        if let Some(key) = keys.next() {
            run.push(key);
        }
        // Mostly there is one: looking whether there are more costs less than going on.
        if !keys.is_empty() {
            run.extend(keys);
        }
        if position > 0 && run.len() > RUN_KEYS_MAX {
            run.truncate(before);
            return Some((position, PlainKeys::Many(run)));
        }
    }
    Some((batch.len(), PlainKeys::Many(run)))
}

fn plain_keys<'r>(request: &'r Request<'_>) -> Option<&'r Keys<'r>> {
    match request {
        Request::Get(Get { keys, with_cas: false, touch: None }) => Some(keys),
        _ => None,
    }
}

/// Answers a run of those, which has these keys: all keys of a node travel together.
pub(crate) async fn plain(
    context: Context<'_>,
    own: &Namespace,
    (run, mut keys): (&[Request<'_>], &[&[u8]]),
    out: &mut Output<'_>,
) {
    context.counts.cmd_get.add(keys.len());
    // Boxed here and below, because each connection has room for what calls this, idle or not.
    if let [key] = keys {
        return match Box::pin(own.get_flagged(key).run()).await {
            Ok(found) => write(context, [(key, found)], out),
            Err(error) => fail(context, error, out),
        };
    }
    let found = Box::pin(find(own, keys)).await;
    let are_whole = found.iter().all(Result::is_ok);
    let one_each = keys.len() == run.len();
    let mut found = found.into_iter();
    for request in run {
        let Request::Get(get) = request else { continue };
        let mine;
        (mine, keys) = keys.split_at(if one_each { 1 } else { get.keys.iter().count() });
        if are_whole {
            write(context, mine.iter().zip(found.by_ref().map_while(Result::ok)), out);
            continue;
        }
        // All of its keys' outcomes, before any is looked at: those behind an error are nobody else's.
        let found: Vec<Found> = found.by_ref().take(mine.len()).collect();
        match found.into_iter().collect::<Result<Vec<_>, _>>() {
            Ok(found) => write(context, mine.iter().zip(found), out),
            Err(error) => fail(context, error, out),
        }
    }
}

/// Looks several keys up, in their order.
async fn find(own: &Namespace, keys: &[&[u8]]) -> Vec<Found> {
    match own.get_many_flagged(keys).hedged().run_each().await {
        Ok(found) => found,
        // A key that cannot be used is nobody else's fault.
        Err(_) => join_all(keys.iter().map(|key| own.get_flagged(key).run())).await,
    }
}

/// Writes the answer to one retrieval: what was found of each of its keys.
fn write<'k>(
    context: Context<'_>,
    found: impl IntoIterator<Item = (&'k &'k [u8], Option<(Bytes, u32)>)>,
    out: &mut Output<'_>,
) {
    let (mut hits, mut misses) = (0, 0);
    for (key, found) in found {
        let Some((value, flags)) = found else {
            misses += 1;
            continue;
        };
        hits += 1;
        encode::value_header(out.buf(), key, flags, value.len(), None);
        out.push(value);
        out.buf().extend_from_slice(b"\r\n");
    }
    encode::end(out.buf());
    context.counts.get_hits.add(hits);
    context.counts.get_misses.add(misses);
}

/// A retrieval that no zone could answer.
fn fail(context: Context<'_>, error: ReadError, out: &mut Output<'_>) {
    Answer::error(&refusal::read_line(context, &TierError::from(error)), false).write(out);
}

/// Answers a retrieval of at most [`crate::service::RUN_KEYS_MAX`] keys.
pub(crate) async fn answer(context: Context<'_>, get: &Get<'_>) -> Answer {
    let keys: Vec<&[u8]> = get.keys.iter().collect();
    let (mut answer, failed) = part(context, get, &keys).await;
    if !failed {
        encode::end(answer.buf());
    }
    answer
}

/// Answers some of a retrieval's keys, in order, without `END`. A key that no zone could answer for makes it one
/// error line instead, and true: a client must not take it for a miss.
pub(crate) async fn part(context: Context<'_>, get: &Get<'_>, keys: &[&[u8]]) -> (Answer, bool) {
    let items = match get.touch.is_none() && !get.with_cas && keys.len() > 1 {
        true => through::read_many(context, keys).await,
        false => join_all(keys.iter().map(|key| read(context, key, get.touch, get.with_cas))).await,
    };
    let mut answer = Answer::default();
    for (key, item) in keys.iter().zip(items) {
        match item {
            Ok(Some(item)) => append(&mut answer, get, key, item, context),
            Ok(None) => context.counts.get_misses.add(1),
            Err(error) => return (Answer::error(&refusal::read_line(context, &error), false), true),
        }
    }
    (answer, false)
}

/// Reads one key, with a new expiry where one is given; from the home zone where the token is wanted, which only that
/// zone compares.
pub(super) async fn read(
    context: Context<'_>,
    key: &[u8],
    touch: Option<Exptime>,
    with_cas: bool,
) -> Result<Option<Item>, TierError> {
    context.counts.cmd_get.add(1);
    context.counts.cmd_touch.add(usize::from(touch.is_some()));
    let keys = match context.place(key)? {
        Place::Cluster(keys) => keys,
        Place::Tier(tier) => {
            // Boxed, so that namespaces without a store carry no room for it.
            let read = Box::pin(through::read(&tier, key, touch, with_cas));
            return context.beside_others(&tier, read).await;
        }
    };
    let touched = match touch {
        Some(exptime) => Some(keys.get_item_and_touch(key, ttl::ttl(exptime)).run().await?),
        None => None,
    };
    match touched {
        Some(touched) if !with_cas || touched.is_none() => Ok(touched),
        _ if with_cas => Ok(keys.get_for_cas(key).run().await?),
        _ => Ok(keys.get_item(key).run().await?),
    }
}

fn append(answer: &mut Answer, get: &Get<'_>, key: &[u8], item: Item, context: Context<'_>) {
    context.counts.get_hits.add(1);
    let cas = get.with_cas.then_some(item.cas);
    encode::value_header(answer.buf(), key, item.flags, item.value.len(), cas);
    answer.value(item.value);
}
