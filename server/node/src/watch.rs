//! `watch`: events of this node, told to whoever watches, and dropped rather than waited for.
//!
//! ```text
//!   workers ── tell ──▶ Watchers ── a line ──▶ queue of each watcher ──▶ its connection
//!               │ no
//!               └── nobody watches that kind: one load of an atomic a batch
//! ```

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};

use evanesce_store::{Evicted, Expiry, Time};
use evanesce_wire::dump::uri;
use evanesce_wire::request::WatchKinds;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::execute::CLASS;

/// Watchers at once: memcached's limit. Each makes every event dearer.
pub(crate) const WATCHERS_MAX: usize = 20;

/// Bytes of lines that wait for one watcher: memcached's default, some thousand lines. More are dropped.
pub(crate) const QUEUE_BYTES_MAX: usize = 256 << 10;

/// All who watch.
#[derive(Debug, Default)]
pub(crate) struct Watchers {
    /// What anybody watches: all that workers look at while nobody does.
    kinds: AtomicU16,
    queues: Mutex<Vec<Arc<Queue>>>,
    /// Events are numbered, so that watchers can put them in order and see gaps.
    events: AtomicU64,
    sent: AtomicU64,
    skipped: AtomicU64,
}

/// What `stats` tells.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WatchCounts {
    pub(crate) watchers: u64,
    pub(crate) sent: u64,
    pub(crate) skipped: u64,
}

/// The lines that wait for one watcher.
#[derive(Debug)]
struct Queue {
    kinds: WatchKinds,
    lines: Mutex<Lines>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Lines {
    text: Vec<u8>,
    /// Lines dropped since the last that was not.
    skipped: u64,
}

/// Somebody who watches, until dropped.
pub(crate) struct Watcher<'a> {
    watchers: &'a Watchers,
    queue: Arc<Queue>,
}

/// What is watched while a batch is executed, and the connection it came from.
#[derive(Clone, Copy)]
pub(crate) struct Watch<'a> {
    watchers: &'a Watchers,
    kinds: WatchKinds,
    now: Time,
    connection: u64,
}

impl Watchers {
    /// What anybody watches.
    #[inline]
    pub(crate) fn kinds(&self) -> WatchKinds {
        WatchKinds::from_bits(self.kinds.load(Ordering::Relaxed))
    }

    /// What to tell of a connection's requests; `None`, as a rule, while nobody watches.
    #[inline]
    pub(crate) fn watch(&self, now: Time, connection: impl FnOnce() -> u64) -> Option<Watch<'_>> {
        let kinds = self.kinds();
        if kinds == WatchKinds::none() {
            return None;
        }
        Some(Watch { watchers: self, kinds, now, connection: connection() })
    }

    /// Begins to watch; `None` while [`WATCHERS_MAX`] do.
    pub(crate) fn add(&self, kinds: WatchKinds) -> Option<Watcher<'_>> {
        let mut queues = self.queues.lock();
        if queues.len() == WATCHERS_MAX {
            return None;
        }
        let queue = Arc::new(Queue { kinds, lines: Mutex::default(), arrived: Notify::new() });
        queues.push(Arc::clone(&queue));
        self.publish(&queues);
        Some(Watcher { watchers: self, queue })
    }

    pub(crate) fn counts(&self) -> WatchCounts {
        WatchCounts {
            watchers: self.queues.lock().len() as u64,
            sent: self.sent.load(Ordering::Relaxed),
            skipped: self.skipped.load(Ordering::Relaxed),
        }
    }

    /// Tells an event to those who watch its kind.
    pub(crate) fn tell(&self, kind: WatchKinds, now: Time, event: impl FnOnce(&mut Vec<u8>)) {
        let number = self.events.fetch_add(1, Ordering::Relaxed) + 1;
        let mut line = head(now, number).into_bytes();
        event(&mut line);
        line.push(b'\n');
        for queue in self.queues.lock().iter().filter(|queue| queue.kinds.has(kind)) {
            let counter = if queue.offer(&line) { &self.sent } else { &self.skipped };
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Tells of an eviction. Called under a lock of the store: while nobody watches it costs a load.
    pub(crate) fn evicted(&self, evicted: &Evicted<'_>, now: impl FnOnce() -> Time) {
        if !self.kinds().has(WatchKinds::EVICTIONS) {
            return;
        }
        let now = now();
        let fetch = if evicted.hit_before { "yes" } else { "no" };
        let ttl = match evicted.expiry {
            Expiry::Never => -1,
            Expiry::At(at) => (at.0 / 1000).cast_signed() - (now.0 / 1000).cast_signed(),
        };
        let idle = now.0.saturating_sub(evicted.last_access.0) / 1000;
        self.tell(WatchKinds::EVICTIONS, now, |line| {
            line.extend_from_slice(b"eviction key=");
            uri(line, evicted.key);
            let bytes = evicted.value_bytes;
            text(line, format_args!(" fetch={fetch} ttl={ttl} la={idle} clsid={CLASS} size={bytes}"));
        });
    }

    fn publish(&self, queues: &[Arc<Queue>]) {
        let all = queues.iter().fold(WatchKinds::none(), |all, queue| all.and(queue.kinds));
        self.kinds.store(all.bits(), Ordering::Relaxed);
    }
}

/// When it was, to the millisecond, and its number.
fn head(now: Time, number: u64) -> String {
    format!("ts={}.{:06} gid={number} type=", now.0 / 1000, now.0 % 1000 * 1000)
}

impl Queue {
    /// Takes a line, or counts it as dropped when there is no room.
    fn offer(&self, line: &[u8]) -> bool {
        let mut lines = self.lines.lock();
        let note = if lines.skipped > 0 { format!("skipped={}\n", lines.skipped) } else { String::new() };
        let fits = lines.text.len() + note.len() + line.len() <= QUEUE_BYTES_MAX;
        if fits {
            lines.text.extend_from_slice(note.as_bytes());
            lines.text.extend_from_slice(line);
            lines.skipped = 0;
            drop(lines);
            self.arrived.notify_one();
        } else {
            lines.skipped += 1;
        }
        fits
    }
}

impl Watcher<'_> {
    /// Waits for lines and takes them all. Cancel-safe.
    pub(crate) async fn lines(&self) -> Vec<u8> {
        loop {
            let text = std::mem::take(&mut self.queue.lines.lock().text);
            if !text.is_empty() {
                return text;
            }
            self.queue.arrived.notified().await;
        }
    }
}

impl Drop for Watcher<'_> {
    fn drop(&mut self) {
        let mut queues = self.watchers.queues.lock();
        queues.retain(|queue| !Arc::ptr_eq(queue, &self.queue));
        self.watchers.publish(&queues);
    }
}

impl Watch<'_> {
    /// Tells of a lookup; `value_bytes` is `None` for a miss.
    pub(crate) fn fetched(&self, key: &[u8], value_bytes: Option<usize>) {
        if self.kinds.has(WatchKinds::FETCHERS) {
            let status = if value_bytes.is_some() { "found" } else { "not_found" };
            self.tell(WatchKinds::FETCHERS, key, "item_get", |line| {
                text(line, format_args!(" status={status}"));
                self.place(line, value_bytes.is_some());
                text(line, format_args!(" cfd={} size={}", self.connection, value_bytes.unwrap_or(0)));
            });
        }
    }

    /// Tells of a write: how it ended, the command, seconds until it expires (0 is never), and the value's length.
    pub(crate) fn stored(&self, key: &[u8], status: &str, command: &str, ttl_secs: u64, bytes: usize) {
        if self.kinds.has(WatchKinds::MUTATIONS) {
            self.tell(WatchKinds::MUTATIONS, key, "item_store", |line| {
                text(line, format_args!(" status={status} cmd={command} ttl={ttl_secs}"));
                self.place(line, true);
                text(line, format_args!(" cfd={} size={bytes}", self.connection));
            });
        }
    }

    /// Tells of a delete that found something.
    pub(crate) fn deleted(&self, key: &[u8], command: &str) {
        if self.kinds.has(WatchKinds::DELETIONS) {
            self.tell(WatchKinds::DELETIONS, key, "deleted", |line| {
                text(line, format_args!(" cmd={command}"));
                self.place(line, true);
                text(line, format_args!(" size=0"));
            });
        }
    }

    fn place(&self, line: &mut Vec<u8>, is_there: bool) {
        text(line, format_args!(" clsid={}", if is_there { CLASS } else { 0 }));
    }

    fn tell(&self, kind: WatchKinds, key: &[u8], name: &str, rest: impl FnOnce(&mut Vec<u8>)) {
        self.watchers.tell(kind, self.now, |line| {
            line.extend_from_slice(name.as_bytes());
            line.extend_from_slice(b" key=");
            uri(line, key);
            rest(line);
        });
    }
}

fn text(line: &mut Vec<u8>, words: std::fmt::Arguments<'_>) {
    // A vector takes whatever is written.
    let _ = line.write_fmt(words);
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time(1_700_000_000_250);

    fn taken(watcher: &Watcher<'_>) -> String {
        String::from_utf8(std::mem::take(&mut watcher.queue.lines.lock().text)).unwrap()
    }

    #[test]
    fn events_reach_those_who_watch_their_kind() {
        let watchers = Watchers::default();
        assert!(watchers.watch(NOW, || 7).is_none());
        let fetchers = watchers.add(WatchKinds::FETCHERS).unwrap();
        let writes = watchers.add(WatchKinds::MUTATIONS.and(WatchKinds::DELETIONS)).unwrap();
        let watch = watchers.watch(NOW, || 7).unwrap();
        watch.fetched(b"a b", Some(3));
        watch.fetched(b"c", None);
        watch.stored(b"a", "stored", "set", 60, 5);
        watch.deleted(b"a", "md");
        let fetched = "ts=1700000000.250000 gid=1 type=item_get key=a%20b status=found clsid=1 cfd=7 size=3\n\
            ts=1700000000.250000 gid=2 type=item_get key=c status=not_found clsid=0 cfd=7 size=0\n";
        assert_eq!(taken(&fetchers), fetched);
        let written = "ts=1700000000.250000 gid=3 type=item_store key=a status=stored cmd=set ttl=60 clsid=1 cfd=7 size=5\n\
            ts=1700000000.250000 gid=4 type=deleted key=a cmd=md clsid=1 size=0\n";
        assert_eq!(taken(&writes), written);
        drop(writes);
        assert_eq!(watchers.kinds(), WatchKinds::FETCHERS);
        drop(fetchers);
        assert!(watchers.watch(NOW, || 7).is_none());
        assert_eq!(watchers.counts(), WatchCounts { watchers: 0, sent: 4, skipped: 0 });
    }

    #[test]
    fn what_a_slow_watcher_cannot_take_is_dropped_counted_and_told() {
        let watchers = Watchers::default();
        let slow = watchers.add(WatchKinds::FETCHERS).unwrap();
        let watch = watchers.watch(NOW, || 1).unwrap();
        let mut offered = 0_u64;
        while watchers.counts().skipped < 3 {
            watch.fetched(&[b'k'; 200], None);
            offered += 1;
        }
        let first = taken(&slow);
        assert!(first.len() <= QUEUE_BYTES_MAX);
        assert_eq!(first.lines().count() as u64, offered - 3);
        watch.fetched(b"k", None);
        assert!(taken(&slow).starts_with("skipped=3\nts="));
        watch.fetched(b"k", None);
        assert!(taken(&slow).starts_with("ts="));
    }

    #[test]
    fn watchers_beyond_the_limit_are_refused() {
        let watchers = Watchers::default();
        let mut all: Vec<_> =
            (0..WATCHERS_MAX).map(|_| watchers.add(WatchKinds::FETCHERS).unwrap()).collect();
        assert!(watchers.add(WatchKinds::FETCHERS).is_none());
        all.pop();
        assert!(watchers.add(WatchKinds::FETCHERS).is_some());
    }

    #[tokio::test]
    async fn lines_wait_for_the_next_event() {
        let watchers = Watchers::default();
        let watcher = watchers.add(WatchKinds::FETCHERS).unwrap();
        let (lines, ()) = tokio::join!(watcher.lines(), async {
            watchers.watch(NOW, || 1).unwrap().fetched(b"k", None);
        });
        assert!(lines.ends_with(b"size=0\n"));
    }
}
