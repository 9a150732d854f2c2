//! The `evanesce` binary from outside: started as an operator starts it, looked at over its sockets and its output.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod away;
mod ctl;
mod deploy;
mod drain;
mod grow;
mod nodes;
mod persister;
mod roles;
mod rolling;
mod support;
mod up;
mod warm;
mod ways;
