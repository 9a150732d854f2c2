//! Listeners and sessions for whatever speaks memcached: sockets in, batches of requests out, replies back.
//!
//! # Goals
//!
//! - One event loop per thread, connections dealt out evenly, nothing shared on the way of a request.
//! - Batches: what one read brought is answered in one call and, as a rule, one write.
//! - An idle connection owns no buffer. Buffers belong to the thread and are lent while there is something to do.
//! - Every resource a peer can hold has a limit: connections, half-sent requests, unread replies, time.
//! - Plain TCP, TLS and Unix sockets side by side, each asking for a password or not; plain TCP pays for none of it.
//!
//! # Non-goals
//!
//! - It does not know what the requests mean: a [`Service`] answers them.
//! - No UDP.
//!
//! ```text
//!            accept thread                 worker threads, each with its own event loop
//!   peers ──▶ accept, count, deal ──▶ TLS handshake, authentication, where asked for
//!                                     session: read ─▶ decode a batch ─▶ Service::call ─▶ write
//!                                        │                 ▲                    │
//!                                        └─ lent buffer ───┘    Output: ReplyBuffer, back-pressure
//! ```
//!
//! # Example
//!
//! ```
//! use std::io::{self, Read, Write};
//! use std::net::TcpStream;
//! use std::num::NonZeroUsize;
//! use std::time::Duration;
//!
//! use evanesce_front::{Flow, Front, FrontConfig, Output, Service};
//! use evanesce_wire::request::Request;
//!
//! struct AlwaysMisses;
//!
//! impl Service for AlwaysMisses {
//!     async fn call(&self, batch: &[Request<'_>], out: &mut Output<'_>) -> io::Result<Flow> {
//!         for _ in batch {
//!             out.buf().extend_from_slice(b"END\r\n");
//!         }
//!         Ok(Flow::Continue)
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let config = FrontConfig::new(vec!["127.0.0.1:0".parse()?], NonZeroUsize::MIN);
//! let running = Front::bind(config)?.start(|_worker| AlwaysMisses)?;
//!
//! let mut peer = TcpStream::connect(running.local_addrs()[0])?;
//! peer.write_all(b"get nothing\r\nquit\r\n")?;
//! let mut reply = String::new();
//! peer.read_to_string(&mut reply)?;
//! assert_eq!(reply, "END\r\n");
//!
//! running.drain(Duration::from_secs(1)).await;
//! # Ok(()) })
//! # }
//! ```

mod accept;
mod budget;
mod config;
mod connection;
mod front;
mod gate;
mod hold;
mod hush;
mod input;
mod intake;
mod listen;
mod output;
mod peer;
mod pool;
mod records;
mod refusal;
mod relief;
mod reply_buffer;
mod secrets;
mod serve;
mod service;
mod session;
mod slot;
mod stats;
mod tls;
mod unix;
mod users;
mod worker;

pub use config::{
    CONNECTIONS_MAX_DEFAULT, FrontConfig, INPUT_BYTES_MAX_DEFAULT, OUTPUT_BYTES_MAX_DEFAULT,
    READ_STALL_DEFAULT, WRITE_STALL_DEFAULT,
};
pub use connection::{Connection, ConnectionState, Ended, Endpoints};
pub use front::{BindError, Bound, Drained, Front, Running};
pub use listen::{Listen, ListenError, Place, UNIX_MODE_DEFAULT, listen_to_tell};
pub use output::{Duplex, Output};
pub use reply_buffer::{Mark, OUTPUT_FULL_BYTES, PINNED_BYTES_MIN, ReplyBuffer};
pub use secrets::{SecretsError, read_secret, secrets_faults, warn_of_readers};
pub use service::{Flow, Service};
pub use stats::{Counter, FrontStats, StatsHandle};
pub use tls::TlsFiles;
pub use users::{USERS_MAX, UsersError};

/// Requests of one batch: enough to hide memory latency by prefetching, few enough to be fair to other connections.
pub const BATCH_REQUESTS_MAX: usize = 64;
