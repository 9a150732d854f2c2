//! Fixed seeds and drawn ones.

use evanesce_simulation::run;

/// Seeds that were chosen for what they do: crashes, one-way loss, held messages, wrong clocks.
const FIXED: [u64; 3] = [3, 7, 12];

#[test]
fn one_seed_twice_is_one_trace() {
    let (first, second) = (run(9), run(9));
    let differs = first.trace.iter().zip(&second.trace).position(|(one, other)| one != other);
    assert_eq!(differs.map(|at| (&first.trace[at], &second.trace[at])), None);
    assert_eq!((first.hash, first.trace.len()), (second.hash, second.trace.len()));
}

#[test]
fn fixed_seeds_hold() {
    for seed in FIXED {
        let run = run(seed);
        assert!(run.violations.is_empty(), "{run}");
    }
}
