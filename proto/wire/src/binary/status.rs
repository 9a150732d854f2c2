//! How a request went.

/// The status of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BinaryStatus {
    /// Done.
    Ok,
    /// There is no item.
    NotFound,
    /// There is an item where none may be, or it has another CAS token.
    Exists,
    /// The value is beyond the limit. Clients that take this for a broken server drop the connection, so we answer
    /// [`BinaryStatus::OutOfMemory`] with the same text.
    TooLarge,
    /// The request is malformed.
    Invalid,
    /// The item to append to is not there.
    NotStored,
    /// Arithmetic on a value that is no number.
    NotANumber,
    /// Not authenticated, or not allowed.
    AuthError,
    /// Authentication needs another step.
    AuthContinue,
    /// No such command.
    UnknownCommand,
    /// No memory, nothing left to evict; or the value is beyond the limit.
    OutOfMemory,
    /// This server does not offer the command.
    NotSupported,
    /// The server could not; it may be able to later.
    TemporaryFailure,
}

impl BinaryStatus {
    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            BinaryStatus::Ok => 0x00,
            BinaryStatus::NotFound => 0x01,
            BinaryStatus::Exists => 0x02,
            BinaryStatus::TooLarge => 0x03,
            BinaryStatus::Invalid => 0x04,
            BinaryStatus::NotStored => 0x05,
            BinaryStatus::NotANumber => 0x06,
            BinaryStatus::AuthError => 0x20,
            BinaryStatus::AuthContinue => 0x21,
            BinaryStatus::UnknownCommand => 0x81,
            BinaryStatus::OutOfMemory => 0x82,
            BinaryStatus::NotSupported => 0x83,
            BinaryStatus::TemporaryFailure => 0x86,
        }
    }

    /// The text that goes with it, in memcached's words; empty where a reply carries none.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            BinaryStatus::Ok | BinaryStatus::AuthContinue => "",
            BinaryStatus::NotFound => "Not found",
            BinaryStatus::Exists => "Data exists for key.",
            BinaryStatus::TooLarge => "Too large.",
            BinaryStatus::Invalid => "Invalid arguments",
            BinaryStatus::NotStored => "Not stored.",
            BinaryStatus::NotANumber => "Non-numeric server-side value for incr or decr",
            BinaryStatus::AuthError => "Auth failure.",
            BinaryStatus::UnknownCommand => "Unknown command",
            BinaryStatus::OutOfMemory => "Out of memory",
            BinaryStatus::NotSupported => "Not supported",
            BinaryStatus::TemporaryFailure => "Temporary failure",
        }
    }
}
