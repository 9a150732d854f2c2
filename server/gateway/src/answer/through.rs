//! What the protocol's commands do to a key whose namespace has a backing store.

use bytes::{Bytes, BytesMut};
use evanesce_client::{ArithmeticOutcome, Item, Version, Written};
use evanesce_persister::{Decided, Step, Tier, TierError};
use evanesce_wire::reply::Status;
use evanesce_wire::request::{Direction, Exptime, SetMode};
use futures_util::future::{join, join_all};
use std::sync::Arc;

use super::store::{Store, Stored};
use super::ttl;
use crate::service::{Context, Place};

/// Reads a key, with a new expiry where one is given, and with its token where that is wanted.
pub(super) async fn read(
    tier: &Arc<Tier>,
    key: &[u8],
    touch: Option<Exptime>,
    with_cas: bool,
) -> Result<Option<Item>, TierError> {
    match touch {
        Some(exptime) => {
            let touched = self::touch(tier, key, exptime).await?;
            if with_cas && touched.is_some() { tier.get_for_cas(key).await } else { Ok(touched) }
        }
        None if with_cas => tier.get_for_cas(key).await,
        None => tier.get(key).await,
    }
}

/// Reads many keys: those of one store together, the others each by itself. The answers are in the order of the keys.
pub(super) async fn read_many(context: Context<'_>, keys: &[&[u8]]) -> Vec<Result<Option<Item>, TierError>> {
    let mut groups: Vec<(Arc<Tier>, Vec<usize>)> = Vec::new();
    let mut alone = Vec::new();
    for (at, key) in keys.iter().enumerate() {
        match context.place(key) {
            Ok(Place::Tier(tier)) => match groups.iter_mut().find(|(known, _)| Arc::ptr_eq(known, &tier)) {
                Some((_, group)) => group.push(at),
                None => groups.push((tier, vec![at])),
            },
            _ => alone.push(at),
        }
    }
    let group = async |(tier, places): (Arc<Tier>, Vec<usize>)| {
        context.counts.cmd_get.add(places.len());
        let of_tier: Vec<&[u8]> = places.iter().map(|at| keys[*at]).collect();
        let read = Box::pin(tier.get_many(&of_tier));
        let read = context.many_beside_others(&tier, places.len(), read).await;
        let failed = |error: TierError| places.iter().map(|_| Err(error.clone())).collect();
        places.iter().copied().zip(read.unwrap_or_else(failed)).collect::<Vec<_>>()
    };
    let single = async |at: usize| (at, super::get::read(context, keys[at], None, false).await);
    let groups = join_all(groups.into_iter().map(group));
    let (groups, singles) = join(groups, join_all(alone.into_iter().map(single))).await;
    let mut answers: Vec<_> = groups.into_iter().flatten().chain(singles).collect();
    answers.sort_by_key(|(at, _)| *at);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

/// Gives a key another expiry; the item, if there is one.
pub(super) async fn touch(tier: &Arc<Tier>, key: &[u8], exptime: Exptime) -> Result<Option<Item>, TierError> {
    let (ttl, mut touched) = (ttl::ttl(exptime), None);
    let decided = tier.decide(key, |item| {
        touched = item.cloned();
        match item {
            None => Step::Leave(()),
            Some(_) => Step::Expire(ttl),
        }
    });
    match decided.await? {
        Decided::Left(()) => Ok(None),
        Decided::Stored(_) => Ok(touched),
    }
}

/// Stores a key, as its mode and token want.
pub(super) async fn store(tier: &Arc<Tier>, store: Store<'_>) -> Result<Stored, TierError> {
    let Store { key, mode, compare, value, flags, exptime } = store;
    let (value, ttl) = (Bytes::copy_from_slice(value), ttl::ttl(exptime));
    if compare.is_none() && matches!(mode, SetMode::Set) {
        return Ok(stored(tier.set(key, value, flags, ttl).await?));
    }
    let all = || Step::Store { value: value.clone(), flags, ttl };
    let decided = tier.decide(key, |item| match (item, compare, mode) {
        (None, Some(_), _) => Step::Leave(Status::NotFound),
        (Some(item), Some(token), _) if item.cas != token => Step::Leave(Status::Exists),
        (_, Some(_), _) => all(),
        (None, None, SetMode::Add) | (Some(_), None, SetMode::Replace) => all(),
        (Some(item), None, SetMode::Append) => joined(item, &item.value, &value),
        (Some(item), None, SetMode::Prepend) => joined(item, &value, &item.value),
        (_, None, _) => Step::Leave(Status::NotStored),
    });
    Ok(match decided.await? {
        Decided::Stored(done) => stored(done),
        Decided::Left(status) => Stored::refused(status),
    })
}

fn stored(done: evanesce_persister::Stored) -> Stored {
    Stored { status: Status::Stored, token: done.version.map_or(0, Version::as_u64) }
}

/// The item with another value of two parts.
fn joined<R>(item: &Item, first: &[u8], second: &[u8]) -> Step<R> {
    let mut value = BytesMut::with_capacity(first.len() + second.len());
    value.extend_from_slice(first);
    value.extend_from_slice(second);
    Step::Change { value: value.freeze(), flags: item.flags }
}

/// Counts up or down; makes the number where there is none, if told how.
pub(super) async fn count(
    tier: &Arc<Tier>,
    key: &[u8],
    direction: Direction,
    delta: u64,
    initial: Option<(u64, Exptime)>,
) -> Result<ArithmeticOutcome, TierError> {
    let mut number = 0;
    let decided = tier.decide(key, |item| {
        let Some(item) = item else {
            let Some((initial, exptime)) = initial else { return Step::Leave(ArithmeticOutcome::NotFound) };
            number = initial;
            return Step::Store { value: initial.to_string().into(), flags: 0, ttl: ttl::ttl(exptime) };
        };
        number = match (parse(&item.value), direction) {
            (None, _) => return Step::Leave(ArithmeticOutcome::NotANumber),
            (Some(there), Direction::Increment) => there.wrapping_add(delta),
            (Some(there), Direction::Decrement) => there.saturating_sub(delta),
        };
        Step::Change { value: number.to_string().into(), flags: item.flags }
    });
    Ok(match decided.await? {
        Decided::Left(why) => why,
        Decided::Stored(done) => {
            let mut written = Written::default();
            written.version = done.version;
            ArithmeticOutcome::Counted { number, written }
        }
    })
}

/// Decimal digits, behind which memcached leaves spaces where a number has lost a digit.
fn parse(value: &[u8]) -> Option<u64> {
    let digits = value.trim_ascii_end();
    let all = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    str::from_utf8(digits).ok().filter(|_| all)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_is_digits_of_64_bits_and_spaces_behind() {
        assert_eq!(parse(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(parse(b"9 "), Some(9));
        for odd in ["", "+1", "-1", " 1", "1x", "18446744073709551616"] {
            assert_eq!(parse(odd.as_bytes()), None, "{odd}");
        }
    }
}
