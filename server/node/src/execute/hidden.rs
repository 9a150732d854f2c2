//! What a node does not show that was away for long: what it had before, until it has compared or nobody is there who knows
//! more. It may have been deleted meanwhile, and forgotten.
//!
//! A reader misses it, and a change that goes by what is there finds nothing. A change that makes an item where there is none
//! drops it first, and only then: it may be the last copy. Changes that carry a version win or lose by that alone. Who is asked to
//! decide for all says that others are to; if all the same, most zones were asked already, and what is newest was brought here: then
//! nothing is hidden from it.

use evanesce_store::{
    Arithmetic, ArithmeticOutcome, Delete, DeleteMode, DeleteOutcome, Lookup, Version, Write, WriteMode,
    WriteOutcome,
};

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

/// Whether anything may be hidden.
#[inline]
pub(super) fn hides(context: &Context<'_>) -> bool {
    context.hides_before > Version::default()
}

/// Writes, as if what is hidden were not there.
#[inline]
pub(super) fn write(write: &Write<'_>, context: &Context<'_>) -> WriteOutcome {
    let goes_by_it = write.mode != WriteMode::Set || write.compare.is_some();
    if goes_by_it
        && write.decides.is_none()
        && let Some(version) = of_key(write.key, context)
    {
        match write.mode {
            _ if write.compare.is_some() => return WriteOutcome::NotFound,
            WriteMode::Replace | WriteMode::Append { vivify: None } | WriteMode::Prepend { vivify: None } => {
                return WriteOutcome::NotStored;
            }
            _ => drop_item(write.key, version, context),
        }
    }
    context.store.write(write, context.now)
}

/// Calculates, as if what is hidden were not there.
#[inline]
pub(super) fn arithmetic(operation: &Arithmetic<'_>, context: &Context<'_>) -> ArithmeticOutcome {
    if operation.decides.is_none()
        && let Some(version) = of_key(operation.key, context)
    {
        if operation.initial.is_none() {
            return ArithmeticOutcome::NotFound;
        }
        drop_item(operation.key, version, context);
    }
    context.store.arithmetic(operation, context.now)
}

/// Deletes. What is hidden is removed for good by what would make it stale or empty, and was not there.
#[inline]
pub(super) fn delete(operation: &Delete<'_>, context: &Context<'_>) -> DeleteOutcome {
    let goes_by_it = operation.mode != DeleteMode::Remove || operation.compare.is_some();
    if goes_by_it && operation.version.is_none() && of_key(operation.key, context).is_some() {
        let removal = Delete { mode: DeleteMode::Remove, ..*operation };
        context.store.delete(&removal, context.now);
        return DeleteOutcome::NotFound;
    }
    context.store.delete(operation, context.now)
}

/// Drops the item of a key if it is hidden: another is to be made in its place.
pub(super) fn drop_of(key: &[u8], context: &Context<'_>) {
    if let Some(version) = of_key(key, context) {
        drop_item(key, version, context);
    }
}

/// The version of the hidden item of a key.
#[inline]
fn of_key(key: &[u8], context: &Context<'_>) -> Option<Version> {
    hides(context).then(|| known(key, context)).flatten()
}

#[cold]
fn known(key: &[u8], context: &Context<'_>) -> Option<Version> {
    let there = context.store.examine(key, context.now, |known| known.hit.map(|hit| hit.version));
    there.filter(|version| is_hidden(*version, context))
}

fn drop_item(key: &[u8], version: Version, context: &Context<'_>) {
    context.store.drop_version(key, version, context.now);
}
