//! `me`.

use evanesce_store::{Lookup, Read};
use evanesce_wire::encode;
use evanesce_wire::request::MetaDebug;

use super::{CLASS, Context, hidden, meta_get};

pub(super) fn execute(request: &MetaDebug<'_>, context: &Context<'_>, out: &mut Vec<u8>) {
    context.commands.cmd_meta.add(1);
    let read = Read { counts_as_access: false, ..Read::key(&request.key.bytes) };
    context.store.read(&read, context.now, |lookup| match hidden::shown(lookup, context) {
        Lookup::Miss => encode::meta_debug_miss(out),
        Lookup::Hit(hit) => {
            let facts = meta_get::facts(&hit, context);
            let size_bytes = request.key.bytes.len() + facts.value_bytes;
            encode::meta_debug(out, request, &facts, CLASS, size_bytes);
        }
    });
}
