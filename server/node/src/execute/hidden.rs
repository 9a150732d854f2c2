//! What a node does not show that was away for long: what it had before, until it has compared or nobody is there who knows
//! more. It may have been deleted meanwhile, and forgotten.
//!
//! A reader misses it. A change that goes by what is there finds nothing there: the item is dropped first, or it would be
//! counted on, appended to or kept from being added, and be there again in a newer version. Changes that carry a version win
//! or lose by that alone.

use evanesce_store::{Lookup, Version};
use evanesce_wire::request::{Request, SetMode};
use evanesce_wire::{BinaryCommand, BinaryRequest};

use super::Context;

/// What a reader is shown of a lookup.
#[inline]
pub(super) fn shown<'l>(lookup: Lookup<'l>, context: &Context<'_>) -> Lookup<'l> {
    match lookup {
        Lookup::Hit(hit) if is_hidden(hit.version, context) => Lookup::Miss,
        shown => shown,
    }
}

/// Whether an item of this version is not shown.
#[inline]
pub(super) fn is_hidden(version: Version, context: &Context<'_>) -> bool {
    version < context.hides_before
}

/// Drops what is hidden of the key of a request that goes by what is there.
#[inline]
pub(super) fn drop_before(request: &Request<'_>, context: &Context<'_>) {
    if context.hides_before > Version::default()
        && let Some(key) = key_gone_by(request)
    {
        drop_hidden(key, context);
    }
}

/// The key of which this request asks what is there before it changes it.
fn key_gone_by<'a>(request: &'a Request<'_>) -> Option<&'a [u8]> {
    let goes_by = |mode: SetMode, compares: bool| mode != SetMode::Set || compares;
    match request {
        Request::Set(set) => goes_by(set.mode, set.compare.is_some()).then_some(set.key),
        Request::Arithmetic(arithmetic) => Some(arithmetic.key),
        Request::Touch(touch) => Some(touch.key),
        Request::MetaSet(set) => goes_by(set.mode, set.compare.is_some()).then_some(&set.key.bytes),
        Request::MetaArithmetic(arithmetic) => Some(&arithmetic.key.bytes),
        Request::Binary(request) => key_of_binary(request),
        _ => None,
    }
}

fn key_of_binary<'a>(request: &BinaryRequest<'a>) -> Option<&'a [u8]> {
    match &request.command {
        BinaryCommand::Set(set) => (set.mode != SetMode::Set || request.compare.is_some()).then_some(set.key),
        BinaryCommand::Arithmetic { key, .. } | BinaryCommand::Touch { key, .. } => Some(key),
        _ => None,
    }
}

/// Drops the item of a key if it is hidden.
#[cold]
pub(super) fn drop_hidden(key: &[u8], context: &Context<'_>) {
    let there = context.store.examine(key, context.now, |known| known.hit.map(|hit| hit.version));
    if let Some(version) = there.filter(|version| is_hidden(*version, context)) {
        context.store.drop_version(key, version, context.now);
    }
}
