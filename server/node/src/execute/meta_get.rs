//! `mg`.

use std::time::Duration;

use evanesce_front::ReplyBuffer;
use evanesce_store::{Expiry, Hit, Lookup, Read};
use evanesce_wire::encode::{self, ItemFacts};
use evanesce_wire::request::{Exptime, MetaGet};

use super::retrieval::append_value;
use super::{Context, expiry, hidden};

pub(super) fn read<'b>(get: &MetaGet<'_>, key: &'b [u8], context: &Context<'_>) -> Read<'b> {
    let resolve = |exptime| expiry::resolve(exptime, context.now);
    let made_until = |exptime| expiry::made_until(exptime, get.touch, &get.flags);
    let is_judged_after_touch =
        get.touch.is_some() && get.recache_below.is_some() && get.flags.has_before(b'T', b'R');
    if get.vivify.is_some() {
        hidden::drop_of(key, context);
    }
    Read {
        key,
        touch: get.touch.map(resolve),
        vivify: get.vivify.map(made_until).map(resolve),
        cas_override: get.cas_override,
        recache_below: get.recache_below.map(|secs| recache_below(Exptime(secs), context)),
        recache_after_touch: is_judged_after_touch,
        // Who is told of a miss could not know that he won.
        may_win: !hidden::hides(context) || get.vivify.is_some(),
        counts_as_access: get.counts_as_access,
    }
}

/// Of how much less must remain for the win: by the rules of an expiry, so a date is the time until then.
fn recache_below(exptime: Exptime, context: &Context<'_>) -> Duration {
    match expiry::resolve(exptime, context.now) {
        Expiry::Never => Duration::ZERO,
        Expiry::At(at) => Duration::from_millis(at.0.saturating_sub(context.now.0)),
    }
}

pub(super) fn answer(get: &MetaGet<'_>, lookup: &Lookup<'_>, context: &Context<'_>, out: &mut ReplyBuffer) {
    context.commands.cmd_meta.add(1);
    match lookup {
        Lookup::Miss => encode::meta_miss(out.buf(), get),
        Lookup::Hit(hit) => {
            if encode::meta_hit_header(out.buf(), get, &facts(hit, context)) {
                append_value(&hit.value, out);
            }
        }
    }
}

/// What replies may tell of an item.
pub(super) fn facts(hit: &Hit<'_>, context: &Context<'_>) -> ItemFacts {
    ItemFacts {
        client_flags: hit.flags,
        cas: hit.cas,
        ttl_secs: expiry::remaining_secs(hit.expiry, context.now),
        until_secs: expiry::until_secs(hit.expiry),
        last_access_secs: expiry::elapsed_secs(hit.last_access, context.now),
        hit_before: hit.hit_before,
        value_bytes: hit.value.len(),
        win: hit.win,
        stale: hit.stale,
        win_sent: hit.win_sent,
        version: hit.version.0,
    }
}
