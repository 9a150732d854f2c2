//! Replies, as a client decodes them. A server writes them straight from its store: see [`crate::encode`].

use bytes::Bytes;

/// One reply to one request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reply {
    /// The hits of a classic retrieval, up to its `END`.
    Values(Vec<Value>),
    /// The statistics of `stats`, up to its `END`: name and value.
    Stats(Vec<(Bytes, Bytes)>),
    /// A classic line that is a word: `STORED`, `DELETED`...
    Status(Status),
    /// The number that `incr` and `decr` answer.
    Number(u64),
    /// What follows `VERSION`.
    Version(Bytes),
    /// Any meta reply.
    Meta(MetaReply),
    /// `ERROR`, `CLIENT_ERROR`, `SERVER_ERROR`.
    Error(ErrorReply),
}

/// One hit of a classic retrieval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// The key as sent.
    pub key: Bytes,
    /// The caller's flags.
    pub flags: u32,
    /// The CAS token, for `gets` and `gats`.
    pub cas: Option<u64>,
    /// The value.
    pub data: Bytes,
}

/// The words of classic replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// `STORED`.
    Stored,
    /// `NOT_STORED`.
    NotStored,
    /// `EXISTS`.
    Exists,
    /// `NOT_FOUND`.
    NotFound,
    /// `DELETED`.
    Deleted,
    /// `TOUCHED`.
    Touched,
    /// `OK`.
    Ok,
    /// `RESET`, of `stats reset`.
    Reset,
}

/// The two letters of a meta reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MetaStatus {
    /// `HD`: done, no value.
    Done,
    /// `VA`: done, with a value.
    Value,
    /// `EN`: `mg` missed.
    Miss,
    /// `NF`: not found.
    NotFound,
    /// `NS`: not stored.
    NotStored,
    /// `EX`: another CAS token is there.
    Exists,
    /// `MN`: the answer to `mn`.
    Noop,
    /// `ME`: the answer to `me`.
    Debug,
}

/// A meta reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaReply {
    /// What happened.
    pub status: MetaStatus,
    /// The value, of `VA` only.
    pub value: Option<Bytes>,
    /// Flags as received, or the text of `ME`. Without the leading space.
    pub flags: Bytes,
}

/// An error line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErrorReply {
    /// `ERROR`: the server does not know the command.
    Unknown,
    /// `CLIENT_ERROR` and its text: the request was wrong.
    Client(Bytes),
    /// `SERVER_ERROR` and its text: the server could not.
    Server(Bytes),
}
