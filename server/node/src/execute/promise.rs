//! `mg` with `H`: a promise to whoever is to decide.

use evanesce_wire::encode;
use evanesce_wire::reply::MetaStatus;
use evanesce_wire::request::MetaGet;

use super::{Context, version};

pub(super) fn execute(get: &MetaGet<'_>, context: &Context<'_>, out: &mut Vec<u8>) {
    context.commands.cmd_meta.add(1);
    let asked = match version::believed(get.promise, context) {
        Ok(asked) => asked.unwrap_or_default(),
        Err(told) => {
            return encode::meta_versioned(out, MetaStatus::NotStored, &get.key, &get.flags, None, told);
        }
    };
    let key = &*get.key.bytes;
    let mut promise = context.shared.promises.of(key);
    let there = version::there(key, context);
    let known = promise.floor().max(there).unwrap_or_default();
    let floor = if version::may_promise(asked, known) {
        promise.raise(asked);
        asked
    } else {
        known
    };
    drop(promise);
    encode::meta_promised(out, get, there.map(|there| there.0), floor.0);
}
