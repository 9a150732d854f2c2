//! `mg`.

use std::time::Duration;

use evanesce_front::ReplyBuffer;
use evanesce_store::{Hit, Lookup, Read};
use evanesce_wire::encode::{self, ItemFacts};
use evanesce_wire::request::MetaGet;

use super::retrieval::append_value;
use super::{Context, expiry};

pub(super) fn read<'b>(get: &MetaGet<'_>, key: &'b [u8], context: &Context<'_>) -> Read<'b> {
    let resolve = |exptime| expiry::resolve(exptime, context.now);
    Read {
        key,
        touch: get.touch.map(resolve),
        vivify: get.vivify.map(resolve),
        cas_override: get.cas_override,
        recache_below: get.recache_below.map(|secs| Duration::from_secs(secs.try_into().unwrap_or(0))),
        may_win: true,
        counts_as_access: get.counts_as_access,
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
        last_access_secs: expiry::elapsed_secs(hit.last_access, context.now),
        hit_before: hit.hit_before,
        value_bytes: hit.value.len(),
        win: hit.win,
        stale: hit.stale,
        win_sent: hit.win_sent,
        version: hit.version.0,
    }
}
