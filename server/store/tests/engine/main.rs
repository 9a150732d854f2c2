//! The storage engine from outside: every promise of its interface, against twins, budgets and threads.
//!
//! A failure prints the seed it ran with; `PROPTEST_RNG_SEED` gives it, or another one, back, and `PROPTEST_CASES`
//! the number of cases. Without them every run is the same.

mod batch;
mod budget;
mod convergence;
mod expiry;
mod kit;
mod large;
mod model;
mod namespaces;
mod regressions;
mod rules;
mod stress;
mod sums;
mod versions;
mod walk;
mod warm;
