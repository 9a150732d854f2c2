//! What callers do all the time: a few keys, written and read from all zones.
//!
//! | keys | what is done |
//! |---|---|
//! | `k` | set, delete, get |
//! | `l` | `get_or_load`, delete |
//! | `n` | `incr`, get |
//! | `s` | `append`, or `add` where nothing is there, get |
//! | `t` | set for 1 to 3 s, get |
//! | `u` | the same, touch, `get_and_touch` |
//! | `k` | `set_many`, `get_many`, too |

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use evanesce_client::{
    ArithmeticOutcome, Client, LatchPolicy, Namespace, ReadError, StoreOutcome, WriteError, Written,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::spawn_local;
use tokio::time::sleep;

use crate::check::LATE_MS_MAX;
use crate::history::{Outcome, What};
use crate::plan::{Host, WORK_FROM_MS};
use crate::world::{LastReads, World};

/// Callers of each client that work at once.
const CALLERS: usize = 2;

/// Longest pause of a caller between two operations, in milliseconds and callers.
const PAUSE_MAX: u64 = 50;

/// Between two looks of who waits.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Latches, the default first and most often.
const LATCHES: [LatchPolicy; 6] = [
    LatchPolicy::Local,
    LatchPolicy::Local,
    LatchPolicy::Local,
    LatchPolicy::One,
    LatchPolicy::Quorum,
    LatchPolicy::All,
];

/// So long after its life a value may be found: a clock that is two seconds behind, and a read's whole time.
const EXPIRED_MS_MAX: u64 = LATE_MS_MAX + 2_000 + 100;

/// How long a load takes.
const LOAD: Duration = Duration::from_millis(30);

/// How long it may take. Whoever waits for one whose caller never heard of its lease waits two seconds longer.
const LOAD_TIMEOUT: Duration = Duration::from_secs(1);

/// After a fault a client may take so long to find a zone again: an attempt to connect, a stall and a pause between
/// attempts, and then a probe.
const FOUND_AGAIN_MS: u64 = 6_000;

/// Works until work is over.
pub(crate) async fn work(world: &Rc<World>, number: usize, client: &Client) {
    sleep(Duration::from_millis(WORK_FROM_MS.saturating_sub(sim_ms()))).await;
    let callers = (0..CALLERS).map(|caller| {
        let seed = world.plan.seed ^ ((number as u64 + 1) << 32 | (caller as u64 + 1) << 48);
        let mut caller = Caller {
            world: Rc::clone(world),
            number,
            caller,
            who: format!("{}.{caller}", Host::Client(number).name()),
            items: client.namespace("sim"),
            random: StdRng::seed_from_u64(seed),
        };
        spawn_local(async move { caller.work().await })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.expect("a caller does not panic");
    }
    world.at_work.set(world.at_work.get() - 1);
}

/// Reads every key once all is quiet.
pub(crate) async fn read_all(world: &World, number: usize, client: &Client) {
    while !world.is_quiet.get() {
        sleep(LOOK_EVERY).await;
    }
    let items = client.namespace("sim");
    let keys: Vec<String> = world.history.lock().writes().keys().cloned().collect();
    let mut read = LastReads::new();
    for key in keys {
        let found = items.get(&key).await;
        let text = |value: Bytes| String::from_utf8_lossy(&value).trim_end().to_owned();
        read.insert(key, found.map(|found| found.map(text)).map_err(|error| error.to_string()));
    }
    world.last_reads.borrow_mut().insert(Host::Client(number), read);
}

struct Caller {
    world: Rc<World>,
    number: usize,
    caller: usize,
    who: String,
    items: Namespace,
    random: StdRng,
}

impl Caller {
    async fn work(&mut self) {
        while self.world.is_working.get() {
            self.pause().await;
            self.once().await;
        }
    }

    /// Callers of a client never begin in one millisecond: who goes first would be left to chance.
    async fn pause(&mut self) {
        let now_ms = sim_ms();
        let later = now_ms / CALLERS as u64 + self.random.random_range(1..=PAUSE_MAX);
        let then_ms = later * CALLERS as u64 + self.caller as u64;
        sleep(Duration::from_millis(then_ms - now_ms)).await;
    }

    async fn once(&mut self) {
        let which = self.random.random_range(0..4);
        match self.random.random_range(0..135) {
            0..25 => self.set(format!("k{which}")).await,
            25..35 => self.delete(format!("k{which}")).await,
            35..55 => self.get(format!("k{which}")).await,
            55..68 => self.incr(format!("n{}", which % 2)).await,
            68..74 => self.get(format!("n{}", which % 2)).await,
            74..84 => self.append(format!("s{}", which % 2)).await,
            84..88 => self.get(format!("s{}", which % 2)).await,
            88..97 => self.load(format!("l{}", which % 2)).await,
            97..107 => self.set_for_seconds(format!("t{}", which % 2)).await,
            107..113 => self.get(format!("t{}", which % 2)).await,
            113..117 => self.set_for_seconds(format!("u{}", which % 2)).await,
            117..121 => self.touch(format!("u{}", which % 2)).await,
            121..124 => self.get_and_touch(format!("u{}", which % 2)).await,
            124..126 => self.get(format!("u{}", which % 2)).await,
            126..129 => self.set_many(which).await,
            129..132 => self.get_many().await,
            _ => self.delete(format!("l{}", which % 2)).await,
        }
    }

    fn number(&self, letter: char) -> String {
        format!("{letter}{}", self.world.history.lock().number())
    }

    async fn set(&mut self, key: String) {
        let value = self.number('v');
        let id = self.world.history.lock().begin(&self.who, &key, What::Set(value.clone()));
        let latch = LATCHES[self.random.random_range(0..LATCHES.len())];
        let outcome = self.items.set(&key, value).latch(latch).await;
        self.see_latch(latch, &outcome);
        let (outcome, told) = read_written(outcome);
        self.world.history.lock().end(&self.who, &id, outcome, &told);
    }

    async fn delete(&mut self, key: String) {
        let id = self.world.history.lock().begin(&self.who, &key, What::Delete);
        let latch = LATCHES[self.random.random_range(0..LATCHES.len())];
        let outcome = self.items.delete(&key).latch(latch).await.map(|deleted| deleted.written);
        self.see_latch(latch, &outcome);
        let (outcome, told) = read_written(outcome);
        self.world.history.lock().end(&self.who, &id, outcome, &told);
    }

    async fn set_for_seconds(&mut self, key: String) {
        let (value, secs) = (self.number('v'), self.random.random_range(1..=3));
        let id = self.world.history.lock().begin(&self.who, &key, What::Set(value.clone()));
        self.lives(&[&key, &value], secs);
        let outcome = self.items.set(&key, value).ttl(Duration::from_secs(secs)).await;
        let (outcome, told) = read_written(outcome);
        self.world.history.lock().end(&self.who, &id, outcome, &told);
    }

    async fn touch(&mut self, key: String) {
        let secs = self.random.random_range(1..=3);
        self.lives(&[&key], secs);
        let touched = self.items.touch(&key, Duration::from_secs(secs)).await;
        let told = touched.map(|touched| (touched.found, touched.written.acked));
        self.world.history.lock().note(format!("{} {key} touched for {secs} s: {told:?}", self.who));
    }

    async fn get_and_touch(&mut self, key: String) {
        let (begun_ms, secs) = (self.world.history.lock().now_ms(), self.random.random_range(1..=3));
        self.lives(&[&key], secs);
        match self.items.get_and_touch(&key, Duration::from_secs(secs)).await {
            Ok(found) => self.found(&key, found.as_deref()),
            Err(error) => self.failed(&key, begun_ms, &error),
        }
    }

    /// These are given so long a life.
    fn lives(&self, of: &[&str], secs: u64) {
        let mut history = self.world.history.lock();
        of.iter().for_each(|of| history.lives(of, secs));
    }

    /// All `k` keys but one.
    async fn set_many(&mut self, but: u64) {
        let entries: Vec<(String, String)> = (0..4)
            .filter(|which| *which != but)
            .map(|which| (format!("k{which}"), self.number('v')))
            .collect();
        let latch = LATCHES[self.random.random_range(0..LATCHES.len())];
        let begin = |(key, value): &(String, String)| {
            let id = self.world.history.lock().begin(&self.who, key, What::Set(value.clone()));
            (Bytes::from(key.clone()), id)
        };
        let ids: BTreeMap<Bytes, _> = entries.iter().map(begin).collect();
        let many = self.items.set_many(entries).latch(latch).await;
        let (written, failed) = match many {
            Ok(many) => (many.written, many.failed),
            Err(error) => (Vec::new(), ids.keys().map(|key| (key.clone(), error.clone())).collect()),
        };
        let failed = failed.into_iter().map(|(key, error)| (key, Err(error)));
        for (key, outcome) in written.into_iter().map(|(key, written)| (key, Ok(written))).chain(failed) {
            self.see_latch(latch, &outcome);
            let (outcome, told) = read_written(outcome);
            self.world.history.lock().end(&self.who, &ids[&key], outcome, &told);
        }
    }

    async fn get_many(&mut self) {
        let begun_ms = self.world.history.lock().now_ms();
        let keys: Vec<String> = (0..4).map(|which| format!("k{which}")).collect();
        let text = |key: &Bytes| String::from_utf8_lossy(key).into_owned();
        match self.items.get_many(&keys).await {
            Ok(many) => {
                many.hits.iter().for_each(|(key, value)| self.found(&text(key), Some(value)));
                many.misses.iter().for_each(|key| self.found(&text(key), None));
                many.failed.iter().for_each(|(key, error)| self.failed(&text(key), begun_ms, error));
            }
            Err(error) => self.failed("k0", begun_ms, &error),
        }
    }

    /// What is acknowledged is in as many zones as the latch says.
    fn see_latch(&self, latch: LatchPolicy, outcome: &Result<Written, WriteError>) {
        let least = match latch {
            LatchPolicy::Quorum => 2,
            LatchPolicy::All => 3,
            _ => 1,
        };
        if let Ok(written) = outcome
            && written.acked < least
        {
            let told = format!("{} was told that {latch} is met by {}", self.who, written.acked);
            self.world.history.lock().violated(told);
        }
    }

    async fn incr(&mut self, key: String) {
        let number = self.random.random_range(1..=3);
        let id = self.world.history.lock().begin(&self.who, &key, What::Add(number));
        let outcome = self.items.incr(&key, number).initial(number).await;
        let (outcome, told) = match outcome {
            Ok(ArithmeticOutcome::Counted { number, written }) => {
                let (outcome, told) = read_written(Ok(written));
                (outcome, format!("{number}, {told}"))
            }
            Ok(other) => (Outcome::NotDone, format!("{other:?}")),
            Err(error) => read_written(Err(error)),
        };
        self.world.history.lock().end(&self.who, &id, outcome, &told);
    }

    async fn append(&mut self, key: String) {
        let token = self.number('t') + ",";
        let id = self.world.history.lock().begin(&self.who, &key, What::Append(token.clone()));
        let mut outcome = self.items.append(&key, token.clone()).await;
        if matches!(outcome, Ok(StoreOutcome::NotStored)) {
            outcome = self.items.add(&key, token).await;
        }
        let (outcome, told) = match outcome {
            Ok(StoreOutcome::Stored(written)) => read_written(Ok(written)),
            Ok(StoreOutcome::NotStored) => (Outcome::NotDone, "not stored".to_owned()),
            Err(error) => read_written(Err(error)),
        };
        self.world.history.lock().end(&self.who, &id, outcome, &told);
    }

    async fn get(&mut self, key: String) {
        let begun_ms = self.world.history.lock().now_ms();
        match self.items.get(&key).await {
            Ok(found) => self.found(&key, found.as_deref()),
            Err(error) => self.failed(&key, begun_ms, &error),
        }
    }

    async fn load(&mut self, key: String) {
        let (history, who, of) = (self.world.history.clone(), self.who.clone(), key.clone());
        let loader = move |_| async move {
            let value = format!("v{}", history.lock().number());
            // What comes of the fill is not told.
            history.lock().begin(&who, &of, What::Set(value.clone()));
            sleep(LOAD).await;
            Ok::<_, Infallible>(Some(Bytes::from(value)))
        };
        match self.items.get_or_load(&key, loader).load_timeout(LOAD_TIMEOUT).await {
            Ok(found) => self.found(&key, found.as_deref()),
            Err(error) => self.world.history.lock().note(format!("{} {key} load: {error}", self.who)),
        }
    }

    fn found(&self, key: &str, found: Option<&[u8]>) {
        let found = found.map(String::from_utf8_lossy);
        self.see_expiry(key, found.as_deref());
        self.world.history.lock().read(&self.who, key, found.as_deref());
    }

    /// What lives for seconds and is not touched is not found when they are over, by any node's clock.
    fn see_expiry(&self, key: &str, found: Option<&str>) {
        let mut history = self.world.history.lock();
        if let Some(value) = found.filter(|_| key.starts_with('t'))
            && let Some(end_ms) = history.ends_ms(value)
            && self.world.plan.promises_order()
            && history.now_ms() > end_ms + EXPIRED_MS_MAX
        {
            let now_ms = history.now_ms();
            history.violated(format!("{} found {key} = {value} at {now_ms}, given {end_ms}", self.who));
        }
    }

    fn failed(&self, key: &str, begun_ms: u64, error: &ReadError) {
        let clear =
            self.world.reach.borrow().clear_since(self.number, begun_ms.saturating_sub(FOUND_AGAIN_MS));
        let mut history = self.world.history.lock();
        let failed =
            format!("{} {key} read failed after {} ms: {error}", self.who, history.now_ms() - begun_ms);
        if clear.is_empty() {
            history.note(failed);
        } else {
            history.violated(format!("{failed}; zones {clear:?} were in reach"));
        }
    }
}

/// Milliseconds of the run.
fn sim_ms() -> u64 {
    turmoil::sim_elapsed().map_or(0, |elapsed| elapsed.as_millis() as u64)
}

fn read_written(outcome: Result<Written, WriteError>) -> (Outcome, String) {
    match outcome {
        Ok(written) => {
            let told = format!(
                "{} acked, {} failed, {} pending, version {:?}, superseded by {:?}",
                written.acked,
                written.failed,
                written.pending,
                written.version.map(|version| version.as_u64()),
                written.superseded_by.map(|version| version.as_u64()),
            );
            let done = Outcome::Done(written.version.map(|version| version.as_u64()));
            (if written.is_superseded() { Outcome::Superseded } else { done }, told)
        }
        Err(error) if error.maybe_applied() => (Outcome::Unknown, error.to_string()),
        Err(error) => (Outcome::NotDone, error.to_string()),
    }
}
