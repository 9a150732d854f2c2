//! The memcached wire codec, both directions: classic text, meta and, for servers, binary.
//!
//! # Goals
//!
//! - Requests borrow from the bytes they came in; values of replies are split off the input, never copied.
//! - As strict as memcached 1.6.18 in classic text, as rich as its newest release in meta, error lines included.
//! - Any split of the input gives the same sequence of results.
//!
//! # Non-goals
//!
//! - No sockets, no async, no clock: the caller feeds bytes and, where expiry matters, the time.
//! - No decision about items: whether a key is there is the business of whoever executes the request.
//! - Replies of the binary protocol are written and not read: our own client speaks meta. There is no UDP.
//!
//! ```text
//!            bytes in                                  bytes out
//!               |                                          ^
//!   server  RequestDecoder --> Decoded::Request --> ... encode::{value_header, status, meta_hit_header, ...}
//!   client  ReplyDecoder   --> Reply            <-- ... Request::encode
//! ```
//!
//! The contract in words is `proto/PROTOCOL.md`.
//!
//! # Example
//!
//! ```
//! use evanesce_wire::{Decoded, Request, RequestDecoder};
//!
//! let mut decoder = RequestDecoder::default();
//! let input = b"get user:42\r\nset user:42 0 60";
//! let Decoded::Request { request: Request::Get(get), consumed } = decoder.decode(input) else { panic!() };
//! assert_eq!(get.keys.iter().collect::<Vec<_>>(), [b"user:42"]);
//! assert_eq!(decoder.decode(&input[consumed..]), Decoded::Incomplete { missing: 1 });
//! ```

mod append;
pub mod binary;
mod decoder;
pub mod dump;
pub mod encode;
pub mod error_lines;
mod exptime;
mod flags;
mod keys;
pub mod limits;
mod meta;
mod operator;
pub mod reply;
mod reply_decoder;
pub mod request;
mod retrieval;
mod simple;
mod storage;
mod token;

pub use crate::append::Append;
pub use crate::binary::{BinaryCommand, BinaryHead, BinaryRequest, BinarySet, BinaryStatus};
pub use crate::decoder::{Decoded, RequestDecoder};
pub use crate::error_lines::Refusal;
pub use crate::exptime::{Expiry, Exptime};
pub use crate::flags::MetaFlagsBuf;
pub use crate::keys::{KeysIter, is_plain_key};
pub use crate::limits::Limits;
pub use crate::reply::{ErrorReply, MetaReply, MetaStatus, Reply, Status, Value};
pub use crate::reply_decoder::{Expect, ReplyDecoder, ReplyError};
pub use crate::request::{MetaFlag, MetaFlags, MetaKey, Request};

/// The capability of a server that keeps versions, as `stats` and a node's registration name it.
pub const CAPABILITY_VERSIONS: &str = "versions";

/// The capability of a node whose registered address speaks TLS.
pub const CAPABILITY_TLS: &str = "tls";

/// The capability of a node that asks for a user and a password at its registered address.
pub const CAPABILITY_AUTH: &str = "auth";

/// The memcached release whose behaviour we match; what `version` answers.
pub const MEMCACHED_VERSION: &str = "1.6.18";
