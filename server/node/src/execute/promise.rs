//! `mg` with `H`: a promise to whoever is to decide.

use evanesce_store::Version;
use evanesce_wire::encode::{self, KeyTold};
use evanesce_wire::reply::MetaStatus;
use evanesce_wire::request::MetaGet;

use super::{Context, hidden, version};

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
    let (there, latest) = version::known(key, context);
    let known = promise.floor().unwrap_or_default().max(latest);
    let floor = if version::may_promise(asked, known, get.insists) {
        promise.raise(asked);
        asked
    } else {
        known
    };
    drop(promise);
    let told = match there {
        Some(there) if hidden::is_hidden(there, context) => KeyTold::Nothing,
        Some(there) => KeyTold::Item(there.0),
        None if latest > Version::default() => KeyTold::Deleted(latest.0),
        None => KeyTold::Nothing,
    };
    encode::meta_promised(out, get, told, floor.0);
}
