//! The binary protocol: requests, and the [replies](encode) as a server writes them.
//!
//! Every number is big-endian. A reply has the form of a request, with a status where a request has two bytes that
//! nobody reads:
//!
//! ```text
//!   byte  0        1        2        3        4        5        6        7
//!     0  | magic  | opcode | key length      | extras | type 0 | status          |
//!     8  | length of extras, key and value   | opaque, echoed                    |
//!    16  | CAS token                                                             |
//!    24  | extras | key | value
//! ```
//!
//! The magic is 0x80 in requests and 0x81 in replies. A connection whose first byte is 0x80 speaks this protocol to its
//! end.

mod decode;
pub mod encode;
pub mod opcode;
mod request;
mod status;

pub use request::{BinaryCommand, BinaryHead, BinaryRequest, BinarySet};
pub use status::BinaryStatus;

pub(crate) use decode::decode;

/// First byte of every request.
pub const REQUEST_MAGIC: u8 = 0x80;

/// First byte of every reply.
pub const REPLY_MAGIC: u8 = 0x81;

/// Length of what comes before the body.
pub const HEADER_BYTES: usize = 24;

/// The expiry by which `incr` and `decr` say that they make no item.
const CREATE_NOTHING: u32 = u32::MAX;
