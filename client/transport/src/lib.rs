//! One pipelined memcached connection to one node, shared by any number of callers.
//!
//! # Goals
//!
//! - Many requests in flight: callers never wait for each other, and what they send together goes out in one write.
//! - Never a wrong value: replies are matched in order, and the opaque of meta requests is compared. A mismatch ends
//!   the connection. Dropping a call's future disturbs nobody.
//! - Fail fast and bounded: no reply later than the deadline, no request to a node known to be away, no queue
//!   without a limit.
//!
//! # Non-goals
//!
//! - Choosing nodes, retrying, health: the client's policies do that, from the errors of this crate.
//! - Requests without replies (`noreply`, `q`): nothing would say when they are done.
//!
//! ```text
//!  call, call_batch, submit          driver task                      node
//!  ------------------------          -----------                      ----
//!  encode --> out buffer  ---------> take all, write  ------------->
//!             queue of pending ----> in flight (FIFO)
//!  wake  <--- completion  <--------- decode, match    <-------------
//! ```
//!
//! On an idle connection the caller writes to the socket itself, a whole batch at once, which saves one task switch; but not
//! when the last replies came several at once, since those whom they woke are about to ask, too, and one write takes them
//! all. In TLS the driver writes everything.
//!
//! # Before the first request
//!
//! All of it happens within [`ConnectionOptions::connect_timeout`], and again for each connection. Meanwhile requests wait
//! for the first connection; for a later one they do not, but fail at once.
//!
//! | step | when | what fails it, beside the time |
//! |---|---|---|
//! | TCP | always | [`Cause::Io`] |
//! | TLS 1.2 or 1.3 | `ConnectionOptions::tls`, of the feature `tls` | [`Cause::CertificateNotAccepted`]: theirs; [`Cause::CertificateRefused`]: ours, seen at the next step; [`Cause::Tls`] |
//! | `set` with user and password, as memcached's `-Y` | [`ConnectionOptions::credentials`] | [`Cause::PasswordRefused`] |
//! | `mn V`: who is there | always | [`Cause::PasswordMissing`], [`Cause::TlsMissing`], [`Cause::Refused`], [`Cause::Violation`] |
//!
//! | answer to `mn V` | what it is | [`Greeting::versions`] |
//! |---|---|---|
//! | `MN V K<milliseconds>` | a node of ours, with its clock | true |
//! | `MN` | memcached | false |
//! | `ERROR`, `CLIENT_ERROR ...` | a server that does not know the question | false |
//! | `CLIENT_ERROR this port speaks TLS only` | a node of ours, spoken to in plain text | the connection fails |
//! | `CLIENT_ERROR unauthenticated` | one that wants a password | the connection fails |
//! | `SERVER_ERROR ...`, `ERROR Too many open connections` | one that will not serve | the connection fails |
//! | anything else | no memcached | the connection fails |
//!
//! What only a changed configuration mends is logged once as a warning, and after that only for debugging.
//! [`Connection::failure`] tells it at any time.
//!
//! # Example
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use evanesce_transport::{Connection, ConnectionOptions};
//! use evanesce_wire::reply::Reply;
//! use evanesce_wire::request::Request;
//! use tokio::time::Instant;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let node = Connection::spawn("127.0.0.1:11211".parse()?, ConnectionOptions::default());
//! let deadline = Instant::now() + Duration::from_millis(20);
//! if let Reply::Version(version) = node.call(&Request::Version, deadline).await? {
//!     println!("{}", String::from_utf8_lossy(&version));
//! }
//! # Ok(())
//! # }
//! ```

mod arrival;
mod cause;
mod completion;
mod connection;
mod credentials;
mod driver;
mod error;
mod greeting;
mod opaque;
mod options;
mod pulse;
mod queue;
mod session;
#[cfg(feature = "simulation")]
mod simulation;
mod stall;
mod stream;
#[cfg(feature = "tls")]
mod tls;

pub use cause::{Cause, Failure, Stage};
pub use completion::Completion;
pub use connection::{Call, Connection};
pub use credentials::{Credentials, InvalidCredentials};
pub use error::{Fault, TransportError, Unsupported, Violation};
pub use greeting::Greeting;
pub use options::{ConnectionOptions, Traffic};
pub use queue::ConnectionState;
#[cfg(feature = "tls")]
pub use rustls::RootCertStore;
#[cfg(feature = "simulation")]
pub use simulation::{Connector, Duplex, Opening};
#[cfg(feature = "tls")]
pub use tls::{InvalidTls, TlsOptions};
