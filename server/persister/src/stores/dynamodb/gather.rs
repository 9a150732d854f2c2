//! A load that takes several requests: an answer ends at 16 MB, or where the table has no more throughput.

use std::collections::HashMap;

use bytes::Bytes;

use crate::store::{Loaded, StoreError};

/// Requests of one load: three answers have room for 100 of the largest items. What is then still left out, the table has no
/// throughput for.
const ROUNDS_MAX: usize = 4;

/// What was found, and what is to be asked.
///
/// ```text
///  keys ──> asked ──answer──> found
///             ^                 │
///             └── left out <────┘   until nothing is, an answer has nothing, or ROUNDS_MAX
/// ```
#[derive(Debug)]
pub(super) struct Gather {
    found: HashMap<Bytes, Loaded>,
    asked: Vec<Bytes>,
    rounds: usize,
}

impl Gather {
    pub(super) fn new(keys: &[Bytes]) -> Self {
        Self { found: HashMap::with_capacity(keys.len()), asked: keys.to_vec(), rounds: ROUNDS_MAX }
    }

    /// The keys of the next request; `None` when there is none.
    pub(super) fn next(&self) -> Option<&[Bytes]> {
        (self.rounds > 0 && !self.asked.is_empty()).then_some(&self.asked)
    }

    /// A request was answered with items, and with the keys that it leaves out.
    pub(super) fn on_answer(&mut self, items: Vec<(Bytes, Loaded)>, left_out: Vec<Bytes>) {
        // Who got nothing would get nothing again, and asks for what others could have.
        let went_on = left_out.len() < self.asked.len();
        self.rounds = if went_on { self.rounds - 1 } else { 0 };
        self.found.extend(items);
        self.asked = left_out;
    }

    /// A request failed, and with it all keys that it was for.
    pub(super) fn on_error(&mut self, error: &StoreError) {
        self.found.extend(self.asked.drain(..).map(|key| (key, Err(error.clone()))));
    }

    /// What became of each key; of those that were left out to the end, that the table is `busy`.
    pub(super) fn loaded(mut self, keys: &[Bytes], busy: &StoreError) -> Vec<Loaded> {
        self.on_error(busy);
        keys.iter().map(|key| self.found.remove(key).unwrap_or(Ok(None))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{ErrorKind, StoreItem};

    fn keys(names: &str) -> Vec<Bytes> {
        names.bytes().map(|name| Bytes::from(vec![name])).collect()
    }

    fn items(names: &str) -> Vec<(Bytes, Loaded)> {
        let item = |key: Bytes| {
            let found = StoreItem { value: key.clone(), flags: 0, expires_at: None, version: None };
            (key, Ok(Some(found)))
        };
        keys(names).into_iter().map(item).collect()
    }

    /// Found, missing, or the kind of error, a letter for each key.
    fn told(gather: Gather, names: &str) -> String {
        let busy = StoreError::new(ErrorKind::Overload, "busy");
        let letter = |loaded: Loaded| match loaded {
            Ok(Some(item)) => char::from(item.value[0]),
            Ok(None) => '-',
            Err(error) if error.kind == ErrorKind::Overload => '!',
            Err(_) => '?',
        };
        gather.loaded(&keys(names), &busy).into_iter().map(letter).collect()
    }

    #[test]
    fn what_an_answer_leaves_out_is_asked_again() {
        let mut gather = Gather::new(&keys("abcd"));
        gather.on_answer(items("b"), keys("dc"));
        assert_eq!(gather.next(), Some(&keys("dc")[..]));
        gather.on_answer(items("d"), Vec::new());
        assert_eq!(gather.next(), None);
        assert_eq!(told(gather, "abcd"), "-b-d");
    }

    #[test]
    fn answer_that_leaves_out_all_ends_the_load_as_busy() {
        let mut gather = Gather::new(&keys("abc"));
        gather.on_answer(items("a"), keys("bc"));
        gather.on_answer(Vec::new(), keys("bc"));
        assert_eq!(gather.next(), None);
        assert_eq!(told(gather, "abc"), "a!!");
    }

    #[test]
    fn load_ends_after_some_rounds_whatever_is_left_out() {
        let mut gather = Gather::new(&keys("abcdefgh"));
        let mut rounds = 0;
        while let Some(asked) = gather.next() {
            let (first, rest) = (asked[0].clone(), asked[1..].to_vec());
            gather.on_answer(vec![(first, Ok(None))], rest);
            rounds += 1;
        }
        assert_eq!((rounds, told(gather, "abcdefgh").as_str()), (ROUNDS_MAX, "----!!!!"));
    }

    #[test]
    fn request_that_fails_takes_nothing_that_was_found_along() {
        let mut gather = Gather::new(&keys("ab"));
        gather.on_answer(items("a"), keys("b"));
        gather.on_error(&StoreError::transient("gone"));
        assert_eq!(gather.next(), None);
        assert_eq!(told(gather, "ab"), "a?");
    }
}
