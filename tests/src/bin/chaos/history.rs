//! What was written to each key, and what a read may therefore find.

use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use evanesce_tests::clock::now_ns;

/// Key and number are among so many bytes.
const HEAD_BYTES_MAX: usize = 100;

/// What came of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Its latch was met, and nothing newer was known.
    Acked,
    /// Something newer was known.
    Superseded,
    /// It failed, or has not ended.
    Unknown,
}

/// Keys whose writes come one after the other, from whichever client. Values tell key and number of the write.
#[derive(Debug)]
pub(crate) struct History {
    prefix: String,
    /// None for some hundred, which differ with the write.
    value_bytes: Option<usize>,
    keys: Vec<Mutex<Log>>,
}

#[derive(Debug, Default)]
struct Log {
    busy: bool,
    writes: Vec<Write>,
}

#[derive(Debug, Clone, Copy)]
struct Write {
    delete: bool,
    ended: u64,
    fate: Fate,
}

/// What a read found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    /// The newest, or one that is being overwritten.
    Right,
    /// Nothing. A cache may always have nothing.
    Miss,
    /// Something that had been overwritten, or deleted, for so long when the read began.
    Stale { by_ns: u64, deleted: bool },
    /// What nobody wrote.
    Wrong(String),
}

impl History {
    pub(crate) fn new(prefix: &str, keys: usize) -> Self {
        Self {
            prefix: prefix.to_owned(),
            value_bytes: None,
            keys: (0..keys).map(|_| Mutex::default()).collect(),
        }
    }

    /// Values have so many bytes.
    pub(crate) fn with_values_of(self, bytes: usize) -> Self {
        Self { value_bytes: Some(bytes), ..self }
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(crate) fn key(&self, key: usize) -> String {
        format!("{}{key}", self.prefix)
    }

    /// The value of a write, all of which a read checks.
    pub(crate) fn value(&self, key: usize, number: u64) -> Vec<u8> {
        let mut value = format!("{}:{number}:", self.key(key)).into_bytes();
        let some = 50 + usize::try_from(number % 7).unwrap_or(0) * 60;
        let padding = self.value_bytes.unwrap_or(some);
        let letter = b'a' + u8::try_from(number % 26).unwrap_or(0);
        if self.value_bytes.is_some() {
            // Every byte depends on the write, and none of it is to be compressed away.
            let mut random = SmallRng::seed_from_u64(number);
            value.extend((0..padding).map(|_| random.random::<u8>()));
        } else {
            value.resize(value.len() + padding, letter);
        }
        value
    }

    /// A write begins, unless another of the key is under way.
    pub(crate) fn begin(&self, key: usize, delete: bool) -> Option<u64> {
        let mut log = self.keys[key].lock();
        if log.busy {
            return None;
        }
        log.busy = true;
        log.writes.push(Write { delete, ended: u64::MAX, fate: Fate::Unknown });
        Some(log.writes.len() as u64)
    }

    /// It ended.
    pub(crate) fn end(&self, key: usize, fate: Fate) {
        let mut log = self.keys[key].lock();
        log.busy = false;
        if let Some(write) = log.writes.last_mut() {
            *write = Write { ended: now_ns(), fate, ..*write };
        }
    }

    /// Whether what a read that began at `begun` found can be.
    pub(crate) fn judge(&self, key: usize, found: Option<&[u8]>, begun: u64) -> Seen {
        let Some(found) = found else { return Seen::Miss };
        let log = self.keys[key].lock();
        let Some(number) = self.number(key, found).filter(|number| *number <= log.writes.len() as u64) else {
            let shown: String = String::from_utf8_lossy(found).chars().take(40).collect();
            return Seen::Wrong(format!("{} read as {shown:?}", self.key(key)));
        };
        let index = usize::try_from(number).unwrap_or(usize::MAX);
        if log.writes[index - 1].delete {
            return Seen::Wrong(format!("{} read as its delete {number}", self.key(key)));
        }
        let over =
            log.writes[index..].iter().filter(|write| write.fate == Fate::Acked && write.ended < begun);
        match over.clone().map(|write| begun - write.ended).max() {
            Some(by_ns) => Seen::Stale { by_ns, deleted: over.clone().any(|write| write.delete) },
            None => Seen::Right,
        }
    }

    /// Whether the last write of the key is a delete that was acknowledged.
    pub(crate) fn is_deleted(&self, key: usize) -> bool {
        let log = self.keys[key].lock();
        log.writes.last().is_some_and(|write| write.delete && write.fate == Fate::Acked)
    }

    /// Of which write the value is, when it is one of this key.
    fn number(&self, key: usize, found: &[u8]) -> Option<u64> {
        let head = &found[..found.len().min(HEAD_BYTES_MAX)];
        let text = String::from_utf8_lossy(head);
        let number = text.strip_prefix(&self.key(key))?.strip_prefix(':')?.split(':').next()?.parse().ok()?;
        (number > 0 && self.value(key, number) == found).then_some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::{Fate, History, Seen};
    use evanesce_tests::clock::now_ns;

    #[test]
    fn reads_are_judged_by_what_was_written() {
        let history = History::new("k", 1);
        let first = history.begin(0, false).expect("nobody else writes");
        assert_eq!(history.begin(0, false), None);
        let value = history.value(0, first);
        assert_eq!(history.judge(0, Some(&value), now_ns()), Seen::Right);
        history.end(0, Fate::Acked);
        history.begin(0, true).expect("the first has ended");
        assert_eq!(history.judge(0, Some(&value), now_ns()), Seen::Right);
        history.end(0, Fate::Acked);
        let seen = history.judge(0, Some(&value), now_ns() + 1);
        assert!(matches!(seen, Seen::Stale { deleted: true, .. }), "{seen:?}");
        assert_eq!(history.judge(0, None, now_ns()), Seen::Miss);
        let unwritten = history.value(0, 3);
        assert!(matches!(history.judge(0, Some(&unwritten), now_ns()), Seen::Wrong(_)));
        assert!(matches!(history.judge(0, Some(b"k0:1:x"), now_ns()), Seen::Wrong(_)));
    }
}
