//! Which requests of a batch may run at the same time.

use std::collections::HashMap;

use evanesce_wire::BinaryCommand;
use evanesce_wire::request::{Get, Request};

use crate::answer;
use crate::service::RUN_KEYS_MAX;

/// What a request does to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Reads,
    Writes,
}

/// The length of the longest head of `batch` whose requests may run at the same time: no key is written by one and
/// touched by another, and they ask for [`RUN_KEYS_MAX`] keys at most. At least 1 for a batch that is not empty.
///
/// A memcached client may pipeline `set k` and `get k` and rely on their order. Requests on different keys have no
/// order that anybody could observe, so they go out together.
pub(crate) fn run_length(batch: &[Request<'_>]) -> usize {
    if batch.len() <= 1 {
        return batch.len();
    }
    retrievals_length(batch).unwrap_or_else(|| mixed_length(batch))
}

/// The same for a batch that begins with nothing but retrievals, as most do: none is in another's way. `None` for any other.
fn retrievals_length(batch: &[Request<'_>]) -> Option<usize> {
    let mut asked = 0;
    for (position, request) in batch.iter().enumerate() {
        let Request::Get(Get { keys, touch: None, .. }) = request else { return None };
        asked += keys.iter().count();
        if position > 0 && asked > RUN_KEYS_MAX {
            return Some(position);
        }
    }
    Some(batch.len())
}

fn mixed_length(batch: &[Request<'_>]) -> usize {
    let mut seen: HashMap<&[u8], Access> = HashMap::new();
    let mut keys = 0;
    for (position, request) in batch.iter().enumerate() {
        if is_of_all_keys(request) {
            return position.max(1);
        }
        keys += answer::keys(request);
        if position > 0 && (keys > RUN_KEYS_MAX || conflicts(request, &seen)) {
            return position;
        }
        each_key(request, |key, access| {
            seen.entry(key).and_modify(|before| *before = stronger(*before, access)).or_insert(access);
        });
    }
    batch.len()
}

/// Whether it must run alone: what came before it has had its effect, and what comes behind it has had none.
fn is_of_all_keys(request: &Request<'_>) -> bool {
    match request {
        Request::FlushAll(_) => true,
        Request::Binary(request) => matches!(request.command, BinaryCommand::Flush { .. }),
        _ => false,
    }
}

fn conflicts(request: &Request<'_>, seen: &HashMap<&[u8], Access>) -> bool {
    let mut conflict = false;
    each_key(request, |key, access| {
        conflict |= seen.get(key).is_some_and(|before| stronger(*before, access) == Access::Writes);
    });
    conflict
}

fn stronger(a: Access, b: Access) -> Access {
    if a == Access::Writes || b == Access::Writes { Access::Writes } else { Access::Reads }
}

/// The keys of a request.
pub(crate) fn keys_of<'r>(request: &'r Request<'_>) -> Vec<&'r [u8]> {
    let mut keys = Vec::new();
    each_key(request, |key, _| keys.push(key));
    keys
}

/// Calls `visit` with each key of `request`. A touch counts as a write: it changes what a later read answers.
fn each_key<'r>(request: &'r Request<'_>, mut visit: impl FnMut(&'r [u8], Access)) {
    match request {
        Request::Get(get) => {
            let access = if get.touch.is_some() { Access::Writes } else { Access::Reads };
            get.keys.iter().for_each(|key| visit(key, access));
        }
        Request::Set(set) => visit(set.key, Access::Writes),
        Request::Arithmetic(arithmetic) => visit(arithmetic.key, Access::Writes),
        Request::Touch(touch) => visit(touch.key, Access::Writes),
        Request::Delete(delete) => visit(delete.key, Access::Writes),
        Request::MetaGet(get) => {
            let writes = get.touch.is_some() || get.vivify.is_some() || get.recache_below.is_some();
            visit(&get.key.bytes, if writes { Access::Writes } else { Access::Reads });
        }
        Request::MetaSet(set) => visit(&set.key.bytes, Access::Writes),
        Request::MetaDelete(delete) => visit(&delete.key.bytes, Access::Writes),
        Request::MetaArithmetic(arithmetic) => visit(&arithmetic.key.bytes, Access::Writes),
        Request::MetaDebug(debug) => visit(&debug.key.bytes, Access::Reads),
        Request::TooLarge(refused) => visit(&refused.key.bytes, Access::Writes),
        Request::Binary(request) => {
            let reads = matches!(request.command, BinaryCommand::Get { touch: None, .. });
            if let Some(key) = request.key() {
                visit(key, if reads { Access::Reads } else { Access::Writes });
            }
        }
        Request::FlushAll(_)
        | Request::Version
        | Request::Verbosity(_)
        | Request::Stats(_)
        | Request::Quit
        | Request::LruCrawler(_)
        | Request::Watch(_)
        | Request::Shutdown(_)
        | Request::ConfigGetCluster
        | Request::MetaNoop
        | Request::MetaNoopVersions => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::get::plain_run;
    use evanesce_wire::{Decoded, Limits, RequestDecoder};

    fn run_of(input: &[u8]) -> usize {
        with_batch(input, run_length)
    }

    fn plain_run_of(input: &[u8]) -> Option<(usize, usize)> {
        with_batch(input, |batch| plain_run(batch).map(|(length, keys)| (length, keys.len())))
    }

    fn with_batch<T>(mut input: &[u8], look: impl FnOnce(&[Request<'_>]) -> T) -> T {
        let mut decoder = RequestDecoder::new(Limits::default());
        let mut batch = Vec::new();
        while !input.is_empty() {
            let Decoded::Request { request, consumed } = decoder.decode(input) else {
                panic!("a whole request")
            };
            batch.push(request);
            input = &input[consumed..];
        }
        look(&batch)
    }

    #[test]
    fn requests_on_different_keys_run_together() {
        assert_eq!(run_of(b"get a\r\nset b 0 0 1\r\nx\r\nget c d\r\ndelete e\r\n"), 4);
    }

    #[test]
    fn reads_of_one_key_run_together() {
        assert_eq!(run_of(b"get a\r\nget a\r\nmg a v\r\n"), 3);
    }

    #[test]
    fn read_behind_a_write_of_its_key_waits() {
        assert_eq!(run_of(b"get b\r\nset a 0 0 1\r\nx\r\nget a\r\n"), 2);
        assert_eq!(run_of(b"set a 0 0 1\r\nx\r\nmg a v\r\n"), 1);
    }

    #[test]
    fn write_behind_a_read_of_its_key_waits() {
        assert_eq!(run_of(b"get b a\r\nset a 0 0 1\r\nx\r\n"), 1);
        assert_eq!(run_of(b"gat 10 a\r\nget a\r\n"), 1);
    }

    /// What was seen in review: a `get` of any length ran at once with the request before it, and so did many of some
    /// dozens of keys: their answers were all in memory together.
    #[test]
    fn run_ends_where_its_keys_are_too_many() {
        let get = |first: usize, keys: usize| {
            let keys: String = (first..first + keys).map(|key| format!(" k{key}")).collect();
            format!("get{keys}\r\n")
        };
        let fits = get(0, RUN_KEYS_MAX - 1) + &get(1000, 1) + &get(2000, 1);
        assert_eq!(run_of(fits.as_bytes()), 2);
        let long_behind_short = get(0, 1) + "version\r\n" + &get(1000, RUN_KEYS_MAX);
        assert_eq!(run_of(long_behind_short.as_bytes()), 2);
        let long = get(0, RUN_KEYS_MAX + 1) + &get(1000, 1);
        assert_eq!(run_of(long.as_bytes()), 1);
        assert_eq!(plain_run_of(fits.as_bytes()), Some((2, RUN_KEYS_MAX)));
        assert_eq!(plain_run_of(long.as_bytes()), Some((1, RUN_KEYS_MAX + 1)));
    }

    #[test]
    fn run_is_plain_where_nothing_but_values_is_asked_for() {
        assert_eq!(plain_run_of(b"get a\r\n"), Some((1, 1)));
        assert_eq!(plain_run_of(b"get  a \r\nget b c\r\nget a\r\n"), Some((3, 4)));
        for other in ["gets a\r\n", "gat 10 a\r\n", "mg a v\r\n", "set a 0 0 1\r\nx\r\n"] {
            assert_eq!(plain_run_of(other.as_bytes()), None);
            assert_eq!(plain_run_of(format!("get b\r\n{other}").as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn flush_runs_alone() {
        assert_eq!(run_of(b"set a 0 0 1\r\nx\r\nflush_all\r\nget a\r\n"), 1);
        assert_eq!(run_of(b"flush_all\r\nget a\r\nget b\r\n"), 1);
        assert_eq!(run_of(b"get a\r\nget b\r\nflush_all 10 noreply\r\n"), 2);
    }

    #[test]
    fn multi_get_that_repeats_a_key_is_no_conflict_with_itself() {
        assert_eq!(run_of(b"gat 10 a a\r\nget b\r\n"), 2);
    }
}
