//! The harness that the suites of `tests/` stand on: start a real process, wait for it, speak to it, end it.
