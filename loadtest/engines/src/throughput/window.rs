//! One window: threads that work through their streams for a while.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use evanesce_store::Time;
use rand::RngExt;
use serde::Serialize;

use crate::args::ThroughputArgs;
use crate::clock::thread_time;
use crate::engine::Engine;
use crate::load::{Payload, random, write_key, zipf_ranks};

/// Keys are from 16 to 32 bytes long.
const KEY_BYTES: (usize, usize) = (16, 32);
/// The mean of these.
pub(super) const KEY_BYTES_MEAN: usize = 24;
/// Zipf's exponent over the keys.
const EXPONENT: f64 = 0.99;
/// Operations of a stream: enough that the keys of one pass are not all in the processor's caches.
const STREAM_OPERATIONS: usize = 1 << 20;
/// Operations between two looks at the clock.
pub(crate) const OPERATIONS_A_LOOK: usize = 64;
/// Windows of different rounds begin so many operations apart.
const ROUND_STEP: usize = 77_777 / OPERATIONS_A_LOOK * OPERATIONS_A_LOOK;
/// The first thread does the engine's upkeep so often, as the node does.
const UPKEEP_EVERY: Duration = Duration::from_millis(100);
/// When the first window begins.
const START_MS: u64 = 1_700_000_000_000;

/// Operations made beforehand, laid out in their order so that the next is never a cache miss.
pub(super) struct Stream(Vec<Operation>);

struct Operation {
    key: [u8; KEY_BYTES.1],
    number: u32,
    key_bytes: u8,
    writes: bool,
}

impl Operation {
    fn new(number: u32, writes: bool) -> Operation {
        let mut key = [0; KEY_BYTES.1];
        let (least, most) = KEY_BYTES;
        let key_bytes = least + number as usize % (most - least + 1);
        write_key(u64::from(number), &mut key[..key_bytes]);
        Operation { key, number, key_bytes: key_bytes as u8, writes }
    }

    fn key(&self) -> &[u8] {
        &self.key[..usize::from(self.key_bytes)]
    }
}

impl Stream {
    /// Draws a stream.
    pub(super) fn new(keys: u32, write_share: f64, seed: u64) -> Stream {
        let (mut random, rank) = (random(seed), zipf_ranks(keys, EXPONENT));
        let draw = |_| {
            let number = rank(&mut random);
            Operation::new(number, random.random_bool(write_share))
        };
        Stream((0..STREAM_OPERATIONS).map(draw).collect())
    }
}

/// What a window came to.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub(super) struct Window {
    /// Millions of operations a second, all threads together.
    pub(super) mops: f64,
    /// Processor time over operations, all threads together.
    pub(super) cpu_ns_per_op: f64,
    pub(super) reads: u64,
    /// Reads that missed; each was followed by a set that counts as part of it.
    pub(super) misses: u64,
    /// Reads that gave another key's value.
    pub(super) wrong: u64,
    pub(super) refused: u64,
}

/// Stores every key once.
pub(super) fn fill(engine: &dyn Engine, keys: u32, value_bytes: usize) {
    let mut payload = Payload::new(value_bytes);
    for number in 0..keys {
        let operation = Operation::new(number, true);
        let value = payload.value(u64::from(number), value_bytes);
        engine.set(operation.key(), value, None, Time(START_MS));
    }
    engine.upkeep(Time(START_MS));
}

/// One thread for each stream, all at once, for a while.
pub(super) fn measure(
    engine: &dyn Engine,
    streams: &[Stream],
    round: usize,
    args: &ThroughputArgs,
) -> Window {
    let barrier = Barrier::new(streams.len());
    let for_long = Duration::from_secs_f64(args.seconds);
    let (mut sum, mut operations, mut cpu) = (Window::default(), 0, Duration::ZERO);
    std::thread::scope(|scope| {
        let start = |(index, stream)| {
            let barrier = &barrier;
            scope.spawn(move || {
                barrier.wait();
                let worker = Worker { engine, stream, args, does_upkeep: index == 0 };
                worker.run(round, for_long)
            })
        };
        let threads: Vec<_> = streams.iter().enumerate().map(start).collect();
        for thread in threads {
            let done = thread.join().expect("a worker that panics ends the process");
            sum.mops += done.operations as f64 / done.wall.as_secs_f64() / 1e6;
            sum.reads += done.window.reads;
            sum.misses += done.window.misses;
            sum.wrong += done.window.wrong;
            sum.refused += done.window.refused;
            operations += done.operations;
            cpu += done.cpu;
        }
    });
    sum.cpu_ns_per_op = cpu.as_nanos() as f64 / operations as f64;
    sum
}

struct Worker<'a> {
    engine: &'a dyn Engine,
    stream: &'a Stream,
    args: &'a ThroughputArgs,
    does_upkeep: bool,
}

/// What a worker works with.
struct Hands {
    payload: Payload,
    out: Vec<u8>,
    window: Window,
}

/// What one thread did.
struct Done {
    window: Window,
    operations: usize,
    wall: Duration,
    cpu: Duration,
}

impl Worker<'_> {
    fn run(&self, round: usize, for_long: Duration) -> Done {
        let value_bytes = self.args.value_bytes;
        let mut hands = Hands {
            payload: Payload::new(value_bytes),
            out: Vec::with_capacity(value_bytes),
            window: Window::default(),
        };
        let mut operations = 0;
        let mut at = round * ROUND_STEP % STREAM_OPERATIONS;
        let mut upkeep_at = UPKEEP_EVERY;
        let (started, cpu_started) = (Instant::now(), thread_time());
        loop {
            let wall = started.elapsed();
            if wall >= for_long {
                return Done { window: hands.window, operations, wall, cpu: thread_time() - cpu_started };
            }
            let now = Time(START_MS + (round as u64) * 1000 + wall.as_millis() as u64);
            if self.does_upkeep && wall >= upkeep_at {
                self.engine.upkeep(now);
                upkeep_at += UPKEEP_EVERY;
            }
            let some = &self.stream.0[at..at + OPERATIONS_A_LOOK];
            match self.args.batch {
                1 => some.iter().for_each(|operation| self.perform(operation, now, &mut hands)),
                batch => some.chunks(batch).for_each(|some| self.perform_batch(some, now, &mut hands)),
            }
            operations += OPERATIONS_A_LOOK;
            at = (at + OPERATIONS_A_LOOK) % STREAM_OPERATIONS;
        }
    }

    fn perform(&self, operation: &Operation, now: Time, hands: &mut Hands) {
        let number = u64::from(operation.number);
        if !operation.writes {
            hands.window.reads += 1;
            hands.out.clear();
            if self.engine.get(operation.key(), now, &mut hands.out) {
                hands.window.wrong += u64::from(!Payload::is_right(&hands.out, number));
                return;
            }
            hands.window.misses += 1;
        }
        self.write(operation, now, hands);
    }

    /// The reads at once, then the writes, of what was missed too.
    fn perform_batch(&self, operations: &[Operation], now: Time, hands: &mut Hands) {
        let mut keys: [&[u8]; OPERATIONS_A_LOOK] = [&[]; OPERATIONS_A_LOOK];
        let mut asked = [0; OPERATIONS_A_LOOK];
        let mut reads = 0;
        for (at, operation) in operations.iter().enumerate().filter(|(_, operation)| !operation.writes) {
            (keys[reads], asked[reads]) = (operation.key(), at);
            reads += 1;
        }
        let mut hit = [false; OPERATIONS_A_LOOK];
        let (out, window) = (&mut hands.out, &mut hands.window);
        self.engine.get_batch(&keys[..reads], now, &mut |index, value| {
            let Some(value) = value else { return };
            out.clear();
            out.extend_from_slice(value);
            hit[asked[index]] = true;
            window.wrong += u64::from(!Payload::is_right(out, u64::from(operations[asked[index]].number)));
        });
        window.reads += reads as u64;
        for (operation, _) in operations.iter().zip(hit).filter(|(_, hit)| !hit) {
            hands.window.misses += u64::from(!operation.writes);
            self.write(operation, now, hands);
        }
    }

    fn write(&self, operation: &Operation, now: Time, hands: &mut Hands) {
        let value = hands.payload.value(u64::from(operation.number), self.args.value_bytes);
        hands.window.refused += u64::from(!self.engine.set(operation.key(), value, None, now));
    }
}

#[cfg(test)]
mod tests {
    use super::{KEY_BYTES, Operation, STREAM_OPERATIONS, Stream};

    #[test]
    fn keys_have_every_length_and_a_stream_its_share_of_writes() {
        let lengths: Vec<usize> = (0..17).map(|number| Operation::new(number, false).key().len()).collect();
        assert_eq!(lengths, (KEY_BYTES.0..=KEY_BYTES.1).collect::<Vec<_>>());
        let stream = Stream::new(1000, 0.1, 1);
        let writes = stream.0.iter().filter(|operation| operation.writes).count();
        assert!((0.095..0.105).contains(&(writes as f64 / STREAM_OPERATIONS as f64)));
        assert!(stream.0.iter().all(|operation| operation.number < 1000));
    }
}
