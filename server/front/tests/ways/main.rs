//! Every way in, on real sockets, with certificates made on the spot: who comes in, who does not, and what that leaves.

#![expect(clippy::unwrap_used, reason = "a test panics on failure")]

mod kit;
mod passwords;
mod tls;
mod unix;
