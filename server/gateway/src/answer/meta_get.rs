//! `mg`.

use evanesce_client::Item;
use evanesce_wire::encode::{self, ItemFacts};
use evanesce_wire::request::MetaGet;

use super::{Answer, refusal};
use crate::service::Context;

pub(super) async fn answer(context: Context<'_>, get: &MetaGet<'_>) -> Answer {
    if needs_one_node(get) {
        return refusal::unsupported_flag(context);
    }
    let read =
        super::get::read(context, &get.key.bytes, get.touch, get.flags.has(b'c') || get.compare.is_some())
            .await;
    let mut answer = Answer::default();
    match read {
        Ok(Some(item)) => {
            context.counts.get_hits.add(1);
            if encode::meta_hit_header(answer.buf(), get, &facts(&item)) {
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

/// Whether the request asks for what only one node knows (`h`, `l`, `V`), or for a win (`N`, `R`), which one place must
/// give.
fn needs_one_node(get: &MetaGet<'_>) -> bool {
    get.vivify.is_some()
        || get.recache_below.is_some()
        || get.cas_override.is_some()
        || get.flags.iter().any(|flag| matches!(flag.letter, b'h' | b'l' | b'V'))
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
