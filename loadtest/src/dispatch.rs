//! Hands the trace's requests to workers, when they are due.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::Sender;
use xxhash_rust::xxh3::xxh3_64;

use crate::args::Rate;
use crate::pacing::Schedule;
use crate::trace::{Trace, TraceError};

/// Longest nap before looking at the stop flag again.
const NAP_MAX: Duration = Duration::from_millis(50);

/// One request, on its way to the worker of its key.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) key: Box<[u8]>,
    /// When it was due; `None` when there is no schedule.
    pub(crate) due: Option<Instant>,
}

/// How far and how fast.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) limit: Option<u64>,
    pub(crate) rate: Option<Rate>,
}

/// Deals out the whole trace, blocking while a worker's queue is full. Returns at the trace's end, at the
/// limit, when told to stop, or when workers are gone.
///
/// # Errors
/// [`TraceError`] when the trace is damaged; what came before was dealt out.
pub(crate) fn dispatch(
    mut trace: Trace,
    plan: Plan,
    workers: &[Sender<Job>],
    stop: &AtomicBool,
) -> Result<(), TraceError> {
    let schedule = plan.rate.map(|rate| Schedule::new(Instant::now(), rate));
    let mut key = Vec::new();
    for number in 0..plan.limit.unwrap_or(u64::MAX) {
        if stop.load(Ordering::Relaxed) || !trace.next_key(&mut key)? {
            break;
        }
        let due = schedule.map(|schedule| schedule.due(number));
        if let Some(due) = due {
            wait_until(due, stop);
        }
        let job = Job { key: key.as_slice().into(), due };
        if workers[worker_of(&job.key, workers.len())].blocking_send(job).is_err() {
            break;
        }
    }
    Ok(())
}

/// The worker that serves all requests for a key.
fn worker_of(key: &[u8], workers: usize) -> usize {
    // A u64 times a count, its upper half: even for any count.
    ((u128::from(xxh3_64(key)) * workers as u128) >> 64) as usize
}

fn wait_until(due: Instant, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        // Parking is finer than the runtime's timer, which counts milliseconds.
        std::thread::park_timeout(left.min(NAP_MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::worker_of;

    #[test]
    fn keys_spread_evenly_and_stay_with_their_worker() {
        let mut counts = [0_u32; 7];
        for number in 0..7000_u32 {
            let key = number.to_string();
            let worker = worker_of(key.as_bytes(), counts.len());
            assert_eq!(worker, worker_of(key.as_bytes(), counts.len()));
            counts[worker] += 1;
        }
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
    }
}
