//! Registrations and watches against real discoveries on loopback.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod failover;
mod registration;
mod world;
