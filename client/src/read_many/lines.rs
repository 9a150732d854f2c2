//! Many keys in few requests: a line of `get` for some dozens of keys, where nothing but values and flags is wanted.
//!
//! A server answers such a line in one go, and stock memcached, which takes twenty requests of a connection and then
//! serves others, as one request. The reply has no opaque: what it says is held to the keys that were asked for.

use std::ops::Range;

use evanesce_transport::{Connection, TransportError, Violation};
use evanesce_wire::limits::COMMAND_LINE_BYTES_MAX;
use evanesce_wire::reply::{Reply, Value};
use evanesce_wire::request::{Get, Keys, Request};
use tokio::time::Instant;

use super::{Outcome, Search, overloaded};
use crate::error::NodeError;
use crate::item::Item;
use crate::member::Member;
use crate::read::ReadPlan;
use crate::request::Want;

/// Keys of a line: so many that more would save nothing, so few that a line which is late takes few others with it.
pub(super) const LINE_KEYS_MAX: usize = 64;

/// Bytes of a line's keys: with its command it is no longer than any other.
const LINE_KEYS_BYTES_MAX: usize = COMMAND_LINE_BYTES_MAX - b"get \r\n".len();

/// Whether lines can ask for these. What is hedged is waited for: keys that a late line did not bring are asked for one by one,
/// so that each counts.
pub(super) fn are_plain(searches: &[Search<'_>], plan: &ReadPlan) -> bool {
    let is_first = |search: &Search<'_>| !plan.hedges || search.attempts.is_empty();
    let plain = |search: &Search<'_>| search.missed.is_none() && search.key.is_plain() && is_first(search);
    plan.want == Want::Flags && plan.touch.is_none() && searches.iter().all(plain)
}

/// Asks `member` for many keys, in lines.
pub(super) async fn get_lines(
    member: &Member,
    searches: &[Search<'_>],
    plan: &ReadPlan,
    due: Instant,
) -> Vec<Outcome> {
    let mut texts = Vec::new();
    let lines: Vec<Range<usize>> = lines(searches, &mut texts);
    let requests: Vec<Request<'_>> = texts.iter().map(|text| get(text)).collect();
    let connection = member.link.way(plan.lane);
    let outcomes = member.call_batch(connection, &requests, plan, due).await;
    let Some(outcomes) = outcomes else { return overloaded(searches) };
    let mut found = Vec::with_capacity(searches.len());
    for (line, outcome) in lines.into_iter().zip(outcomes) {
        take((member, connection), &searches[line], outcome, &mut found);
    }
    found
}

/// Which searches go in which line. Puts each line's keys into `texts`.
fn lines(searches: &[Search<'_>], texts: &mut Vec<Vec<u8>>) -> Vec<Range<usize>> {
    let mut lines: Vec<Range<usize>> = Vec::new();
    let mut left: usize = searches.iter().map(|search| search.key.as_bytes().len() + 1).sum();
    for (at, search) in searches.iter().enumerate() {
        let key = search.key.as_bytes();
        match (lines.last_mut(), texts.last_mut()) {
            (Some(line), Some(text))
                if line.len() < LINE_KEYS_MAX && text.len() + 1 + key.len() <= LINE_KEYS_BYTES_MAX =>
            {
                text.push(b' ');
                text.extend_from_slice(key);
                line.end = at + 1;
            }
            _ => {
                let mut text = Vec::with_capacity(left.min(LINE_KEYS_BYTES_MAX));
                text.extend_from_slice(key);
                texts.push(text);
                lines.push(at..at + 1);
            }
        }
        left -= key.len() + 1;
    }
    lines
}

fn get(text: &[u8]) -> Request<'_> {
    let keys = Keys::new(text).expect("keys of the right length, with spaces between them");
    Request::Get(Get { keys, with_cas: false, touch: None })
}

/// Deals out what came of a line.
fn take(
    (member, connection): (&Member, &Connection),
    searches: &[Search<'_>],
    outcome: Result<Reply, TransportError>,
    found: &mut Vec<Outcome>,
) {
    let values = match member.link.judge_any(outcome) {
        Ok(Reply::Values(values)) => values,
        Ok(_) => return fail(searches, &NodeError::Unexpected, found),
        Err(cause) => return fail(searches, &cause, found),
    };
    member.link.note_values(values.iter().map(|value| value.data().len()).sum());
    let begun = found.len();
    let mut values = values.into_iter();
    for search in searches {
        let is_next = values.as_slice().first().is_some_and(|value| value.key() == search.key.as_bytes());
        let value = if is_next { values.next() } else { None };
        found.push(Ok(value.map(item)));
    }
    // All values are told in the order of their keys, or this reply is another request's.
    if values.next().is_some() {
        found.truncate(begun);
        connection.distrust(Violation::WrongKey);
        fail(searches, &NodeError::Unexpected, found);
    }
}

fn item(value: Value) -> Item {
    let flags = value.flags;
    Item { value: value.into_data(), flags, cas: 0, ttl: None, version: None, until_secs: None }
}

fn fail(searches: &[Search<'_>], cause: &NodeError, found: &mut Vec<Outcome>) {
    found.extend(searches.iter().map(|_| Err(cause.clone())));
}
