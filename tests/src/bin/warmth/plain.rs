//! Plain memcached clients that change keys while our client reads them, and what it is to find there.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::ensure;
use evanesce_client::Client;
use evanesce_tests::clock::now_ns;
use evanesce_tests::pause;
use parking_lot::Mutex;
use rand::RngExt;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::talk::connect;

/// Keys of one writer: each is changed several times a second.
const KEYS: usize = 200;
/// Between two changes.
const STEP: Duration = Duration::from_millis(2);
/// Every so-many-th change of a key deletes it.
const DELETES: usize = 5;
/// Callers that read.
const READERS: usize = 4;
/// Between two reads of a caller.
const READ_STEP: Duration = Duration::from_millis(4);

/// The keys of one writer, and what it did to each, in its order.
pub(crate) struct Past {
    prefix: &'static str,
    keys: Vec<Mutex<Changes>>,
}

/// The changes of a key; the first has the number 1.
#[derive(Debug, Default)]
struct Changes {
    /// How many were begun.
    begun: usize,
    /// When each was acknowledged.
    acked: Vec<u64>,
}

/// What reads found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) reads: usize,
    pub(crate) failed: Vec<String>,
    /// By how many nanoseconds, and when the read began.
    pub(crate) stale: Vec<(u64, u64)>,
    /// Nothing, though it was not deleted; when the read began and ended.
    pub(crate) misses: Vec<(u64, u64)>,
    pub(crate) wrong: Vec<String>,
}

/// A writer under way. Ends with an error when a change is refused.
pub(crate) struct Writer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<u64>>,
}

/// Readers under way.
pub(crate) struct Readers {
    stop: Arc<AtomicBool>,
    found: Arc<Mutex<Found>>,
    tasks: JoinSet<()>,
}

/// Connections by node.
#[derive(Default)]
struct Connections {
    open: HashMap<SocketAddr, (TcpStream, BufReader<TcpStream>)>,
}

impl Past {
    pub(crate) fn new(prefix: &'static str) -> Arc<Self> {
        Arc::new(Self { prefix, keys: (0..KEYS).map(|_| Mutex::default()).collect() })
    }

    fn key(&self, at: usize) -> String {
        format!("{}-{at:04}", self.prefix)
    }

    fn value(&self, at: usize, change: usize) -> String {
        format!("{}-{at:04}/{change}", self.prefix)
    }

    /// Judges what a read that began and ended then found of a key.
    fn judge(&self, at: usize, value: Option<&[u8]>, (begun, ended): (u64, u64), found: &mut Found) {
        let changes = self.keys[at].lock();
        let known = changes.acked.partition_point(|acked| *acked < begun);
        let stale_by = |change: usize| changes.acked.get(change).map_or(0, |acked| begun - acked);
        match value {
            Some(value) => {
                let text = String::from_utf8_lossy(value).into_owned();
                let own = text.strip_prefix(&format!("{}/", self.key(at)));
                let change = own.and_then(|change| change.parse::<usize>().ok());
                match change {
                    Some(change) if change > changes.begun || is_delete(change) => found.wrong.push(text),
                    Some(change) if change < known => found.stale.push((stale_by(change), begun)),
                    Some(_) => {}
                    None => found.wrong.push(text),
                }
            }
            // Before its first change it is not there.
            None if known == 0 => {}
            None if (known..=changes.begun).any(is_delete) => {}
            // As it was after an earlier delete, if there was one.
            None => match (1..known).rev().find(|change| is_delete(*change)) {
                Some(change) => found.stale.push((stale_by(change), begun)),
                None => found.misses.push((begun, ended)),
            },
        }
    }

    /// What is to be there in the end, of each key; nothing after a delete.
    pub(crate) fn last(&self) -> Vec<(String, Option<String>)> {
        let last = |(at, changes): (usize, &Mutex<Changes>)| {
            let begun = changes.lock().begun;
            let is_there = begun > 0 && !is_delete(begun);
            (self.key(at), is_there.then(|| self.value(at, begun)))
        };
        self.keys.iter().enumerate().map(last).collect()
    }

    /// Starts a client that changes the keys one after the other; `set` gives a key a value, or deletes it, and returns when that
    /// is acknowledged.
    pub(crate) fn write(
        self: &Arc<Self>,
        mut set: impl FnMut(&str, Option<&str>) -> anyhow::Result<()> + Send + 'static,
    ) -> Writer {
        let (past, stop) = (Arc::clone(self), Arc::new(AtomicBool::new(false)));
        let seen = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut count = 0;
            while !seen.load(Ordering::Relaxed) {
                let at = count as usize % KEYS;
                let change = {
                    let mut changes = past.keys[at].lock();
                    changes.begun += 1;
                    changes.begun
                };
                let (key, value) = (past.key(at), past.value(at, change));
                set(&key, Some(value.as_str()).filter(|_| !is_delete(change)))?;
                past.keys[at].lock().acked.push(now_ns());
                count += 1;
                pause(STEP);
            }
            Ok(count)
        });
        Writer { stop, thread }
    }

    /// Starts callers that read the keys through our client.
    pub(crate) fn read(self: &Arc<Self>, runtime: &Runtime, client: &Client) -> Readers {
        let (stop, found) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Found::default())));
        let mut tasks = JoinSet::new();
        for _ in 0..READERS {
            let (past, client) = (Arc::clone(self), client.clone());
            let (stop, found) = (Arc::clone(&stop), Arc::clone(&found));
            let read = async move {
                let mut tick = tokio::time::interval(READ_STEP);
                while !stop.load(Ordering::Relaxed) {
                    tick.tick().await;
                    let at = rand::rng().random_range(0..KEYS);
                    let begun = now_ns();
                    let read = client.get(past.key(at)).await;
                    let (ended, mut found) = (now_ns(), found.lock());
                    found.reads += 1;
                    match read {
                        Ok(value) => past.judge(at, value.as_deref(), (begun, ended), &mut found),
                        Err(error) => found.failed.push(error.to_string()),
                    }
                }
            };
            tasks.spawn_on(read, runtime.handle());
        }
        Readers { stop, found, tasks }
    }
}

fn is_delete(change: usize) -> bool {
    change.is_multiple_of(DELETES)
}

/// Changes keys as any memcached client does; `route` says to which servers each change is sent.
pub(crate) fn plainly(
    mut route: impl FnMut(&str) -> anyhow::Result<Vec<SocketAddr>> + Send + 'static,
) -> impl FnMut(&str, Option<&str>) -> anyhow::Result<()> + Send + 'static {
    let mut connections = Connections::default();
    move |key, value| route(key)?.into_iter().try_for_each(|server| connections.change(server, key, value))
}

impl Connections {
    fn change(&mut self, to: SocketAddr, key: &str, value: Option<&str>) -> anyhow::Result<()> {
        let (stream, answers) = match self.open.entry(to) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(place) => {
                let stream = connect(to)?;
                place.insert((stream.try_clone()?, BufReader::new(stream)))
            }
        };
        let request = match value {
            None => format!("delete {key}\r\n"),
            Some(value) => format!("set {key} 0 0 {}\r\n{value}\r\n", value.len()),
        };
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        answers.read_line(&mut answer)?;
        let wanted: &[&str] =
            if value.is_none() { &["DELETED\r\n", "NOT_FOUND\r\n"] } else { &["STORED\r\n"] };
        ensure!(wanted.contains(&answer.as_str()), "{} was answered {answer:?}", request.trim_end());
        Ok(())
    }
}

impl Writer {
    /// Ends it; how many changes it made.
    ///
    /// # Errors
    /// When one was refused.
    pub(crate) fn finish(self) -> anyhow::Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow::anyhow!("a plain client broke down"))?
    }
}

impl Readers {
    /// Ends them.
    pub(crate) fn finish(self, runtime: &Runtime) -> Found {
        self.stop.store(true, Ordering::Relaxed);
        runtime.block_on(self.tasks.join_all());
        std::mem::take(&mut *self.found.lock())
    }
}

#[cfg(test)]
mod tests {
    use super::{DELETES, Found, Past};

    /// What a read of a key found that was changed so often, once each millisecond.
    fn judged(changes: usize, value: Option<usize>, begun_ms: u64) -> Found {
        let past = Past::new("plain");
        {
            let mut known = past.keys[0].lock();
            known.begun = changes;
            known.acked = (1..=changes as u64).map(|ms| ms * 1_000_000).collect();
        }
        let (mut found, begun) = (Found::default(), begun_ms * 1_000_000);
        let value = value.map(|change| past.value(0, change));
        past.judge(0, value.as_deref().map(str::as_bytes), (begun, begun), &mut found);
        found
    }

    #[test]
    fn read_of_what_was_overwritten_before_it_began_is_stale() {
        assert_eq!(judged(4, Some(2), 10).stale, [(7_000_000, 10_000_000)]);
        assert!(judged(4, Some(4), 10).stale.is_empty());
        assert!(judged(4, Some(2), 3).stale.is_empty(), "the third was acknowledged as it began");
    }

    #[test]
    fn nothing_is_a_miss_unless_a_delete_may_have_been_the_last_change() {
        assert_eq!(judged(4, None, 10).misses.len(), 1);
        assert_eq!(judged(DELETES + 1, None, 10).stale, [(4_000_000, 10_000_000)]);
        assert!(judged(DELETES, None, 10).misses.is_empty());
        assert!(judged(0, None, 10).misses.is_empty());
    }

    #[test]
    fn value_that_nobody_wrote_is_wrong() {
        assert_eq!(judged(4, Some(6), 10).wrong.len(), 1);
        assert_eq!(judged(9, Some(DELETES), 10).wrong.len(), 1, "that change deleted it");
    }
}
