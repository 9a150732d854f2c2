//! A discovery as its peers see it: over real sockets, with real files and short leases.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod admin;
mod calls;
mod state;
mod world;
