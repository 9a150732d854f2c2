//! Reading ahead: the memory that a pipeline of requests will need, before the first of them is executed.

use evanesce_store::Store;
use evanesce_wire::request::Request;

use crate::execute::is_retrieval;

/// Fewer requests than this are not worth the second hash of each key.
const REQUESTS_MIN: usize = 4;

/// Reads ahead for a batch that has a key besides those of retrievals: runs of those read ahead by themselves.
pub(crate) fn read_ahead(batch: &[Request<'_>], store: &Store) {
    let is_other = |request: &Request<'_>| !is_retrieval(request) && key(request).is_some();
    if batch.len() >= REQUESTS_MIN && batch.iter().any(is_other) {
        store.read_ahead(batch.iter().filter_map(key));
    }
}

/// The key that a request will look up, if it is one alone.
fn key<'a>(request: &'a Request<'_>) -> Option<&'a [u8]> {
    match request {
        Request::Get(get) => get.keys.iter().next(),
        Request::Set(set) => Some(set.key),
        Request::Arithmetic(arithmetic) => Some(arithmetic.key),
        Request::Touch(touch) => Some(touch.key),
        Request::Delete(delete) => Some(delete.key),
        Request::MetaGet(get) => Some(&get.key.bytes),
        Request::MetaSet(set) => Some(&set.key.bytes),
        Request::MetaDelete(delete) => Some(&delete.key.bytes),
        Request::MetaArithmetic(arithmetic) => Some(&arithmetic.key.bytes),
        Request::Binary(request) => request.key(),
        _ => None,
    }
}
