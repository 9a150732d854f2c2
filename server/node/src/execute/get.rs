//! `get`, `gets`, `gat`, `gats`.

use evanesce_front::ReplyBuffer;
use evanesce_store::{Lookup, Read};
use evanesce_wire::encode;
use evanesce_wire::request::Get;

use super::retrieval::append_value;
use super::{Context, expiry};

#[inline]
pub(super) fn read<'b>(get: &Get<'_>, key: &'b [u8], context: &Context<'_>) -> Read<'b> {
    Read { touch: get.touch.map(|exptime| expiry::resolve(exptime, context.now)), ..Read::key(key) }
}

/// Answers one key; `END` follows the last.
#[inline]
pub(super) fn answer(get: &Get<'_>, key: &[u8], lookup: &Lookup<'_>, out: &mut ReplyBuffer) {
    if let Lookup::Hit(hit) = lookup {
        let cas = get.with_cas.then_some(hit.cas);
        encode::value_header(out.buf(), key, hit.flags, hit.value.len(), cas);
        append_value(&hit.value, out);
    }
}
