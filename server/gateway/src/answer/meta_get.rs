//! `mg`.

use std::time::Duration;

use evanesce_client::op::HomeItem;
use evanesce_client::{ABSENT_FLAGS, Item};
use evanesce_persister::TierError;
use evanesce_wire::encode::{self, ItemFacts};
use evanesce_wire::request::MetaGet;

use super::{Answer, refusal, ttl};
use crate::service::{Context, Place};

pub(super) async fn answer(context: Context<'_>, get: &MetaGet<'_>) -> Answer {
    if needs_one_node(get) {
        return refusal::unsupported_flag(context);
    }
    let read = if needs_home(get) {
        match context.place(&get.key.bytes) {
            // Who has a store needs no wins: the tier has one of all who miss load.
            Ok(Place::Tier(_)) if get.vivify.is_some() || get.recache_below.is_some() => {
                return refusal::unsupported_flag(context);
            }
            Ok(place) => read_at_home(context, get, place).await,
            Err(error) => Err(error),
        }
    } else {
        read(context, get).await
    };
    let mut answer = Answer::default();
    match read {
        Ok(Some((item, facts))) => {
            context.counts.get_hits.add(1);
            if encode::meta_hit_header(answer.buf(), get, &facts) {
                answer.value(item.value);
            }
        }
        Ok(None) => {
            context.counts.get_misses.add(1);
            encode::meta_miss(answer.buf(), get);
        }
        Err(error) => return Answer::error(&refusal::read_line(context, &error), false),
    }
    answer
}

/// Whether the request asks for what only one node knows, or demands it: a version, a token of the caller's.
fn needs_one_node(get: &MetaGet<'_>) -> bool {
    get.cas_override.is_some() || get.promise.is_some() || get.flags.has(b'V')
}

/// Whether it asks for what the home zone alone tells: tokens where nodes keep no versions (`c`, `C`), accesses (`h`,
/// `l`), and wins (`N`, `R`).
fn needs_home(get: &MetaGet<'_>) -> bool {
    get.vivify.is_some()
        || get.recache_below.is_some()
        || get.compare.is_some()
        || get.flags.iter().any(|flag| matches!(flag.letter, b'c' | b'h' | b'l'))
}

type Found = Result<Option<(Item, ItemFacts)>, TierError>;

async fn read(context: Context<'_>, get: &MetaGet<'_>) -> Found {
    let found = super::get::read(context, &get.key.bytes, get.touch, false).await?;
    Ok(found.map(|item| {
        let facts = facts(&item);
        (item, facts)
    }))
}

/// Every zone gets the expiry; the home zone tells the rest.
async fn read_at_home(context: Context<'_>, get: &MetaGet<'_>, place: Place<'_>) -> Found {
    let keys = place.keys();
    let mut loaded = None;
    if matches!(place, Place::Tier(_)) {
        // What is not there is loaded before the home zone is asked.
        loaded = super::get::read(context, &get.key.bytes, get.touch, true).await?;
        if loaded.is_none() {
            return Ok(None);
        }
    } else if let Some(exptime) = get.touch {
        context.counts.cmd_touch.add(1);
        keys.get_item_and_touch(&*get.key.bytes, ttl::ttl(exptime)).run().await?;
    }
    let mut read = keys.get_at_home(&*get.key.bytes).counts_as_access(get.counts_as_access);
    if let Some(exptime) = get.vivify {
        read = read.vivify(ttl::ttl(exptime));
    }
    if let Some(secs) = get.recache_below.and_then(|secs| u64::try_from(secs).ok()) {
        read = read.recache_below(Duration::from_secs(secs));
    }
    context.counts.cmd_get.add(1);
    let found = read.run().await?.filter(|found| loaded.is_none() || found.item.flags != ABSENT_FLAGS);
    Ok(match found {
        Some(found) => {
            let facts = home_facts(&found);
            Some((found.item, facts))
        }
        // The home zone did not keep what the tier has, for something was newer there, or it is not there yet.
        None => loaded.map(|item| {
            let facts = ItemFacts { cas: 0, ..facts(&item) };
            (item, facts)
        }),
    })
}

fn home_facts(found: &HomeItem) -> ItemFacts {
    ItemFacts {
        hit_before: found.hit_before,
        last_access_secs: found.last_access.as_secs(),
        win: found.won,
        win_sent: found.won_by_other,
        stale: found.stale,
        ..facts(&found.item)
    }
}

fn facts(item: &Item) -> ItemFacts {
    ItemFacts {
        client_flags: item.flags,
        cas: item.cas,
        ttl_secs: item.ttl.map(|ttl| ttl.as_secs()),
        value_bytes: item.value.len(),
        ..ItemFacts::default()
    }
}
