//! `touch`.

use evanesce_store::{Lookup, Read};
use evanesce_wire::reply::Status;
use evanesce_wire::request::Touch;

use super::{Context, expiry, hidden, retrieval, tell, word};

pub(super) fn execute(request: &Touch<'_>, context: &Context<'_>, out: &mut Vec<u8>) {
    let touch = Some(expiry::resolve(request.exptime, context.now));
    let read = Read { touch, ..Read::key(request.key) };
    let status = context.store.read(&read, context.now, |lookup| {
        let lookup = hidden::shown(lookup, context);
        retrieval::count(&lookup, true, context);
        tell::fetched(request.key, &lookup, context);
        tell::touched(request.key, context);
        match lookup {
            Lookup::Hit(_) => Status::Touched,
            Lookup::Miss => Status::NotFound,
        }
    });
    word(out, status, request.noreply);
}
