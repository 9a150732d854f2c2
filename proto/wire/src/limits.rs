//! The limits of the codec, each with its reason.

// What memcached allows; clients cut or hash longer keys themselves.
/// Longest key, in bytes as sent: a base64 key is measured before decoding.
pub const KEY_BYTES_MAX: usize = 250;

// 250 characters of base64 are 62 whole groups of three bytes.
/// Longest key that fits into [`KEY_BYTES_MAX`] once written as base64.
pub const KEY_BYTES_MAX_BASE64: usize = KEY_BYTES_MAX / 4 * 3;

// What memcached calls an item of 1 MiB; larger values want another store or chunking by the client.
/// Longest value by default, in bytes.
pub const VALUE_BYTES_MAX_DEFAULT: usize = 1 << 20;

// memcached's own bound: it counts the value's line end into a signed 32-bit number.
/// Longest value length a request may announce at all; a longer one is a format error.
pub const VALUE_BYTES_ANNOUNCED_MAX: i64 = i32::MAX as i64 - 2;

// memcached closes a connection that sent more than this without a line end, retrievals excepted.
/// Longest command line other than a retrieval's, in bytes before the `\n`.
pub const COMMAND_LINE_BYTES_MAX: usize = 2048;

// Over four thousand keys of the longest kind in one line; memcached knows no bound, we must hold the line.
/// Longest line of `get`, `gets`, `gat`, `gats` by default, in bytes before the `\n`.
pub const LINE_BYTES_MAX_DEFAULT: usize = 1 << 20;

// memcached's rule: a long line with more spaces in front is taken for garbage.
/// Most spaces in front of a retrieval longer than [`COMMAND_LINE_BYTES_MAX`].
pub const LEADING_SPACES_MAX: usize = 100;

// memcached's MFLAG_MAX_OPT_LENGTH: no command has more flags that make sense together.
/// Most words of a meta request's line, command and key included.
pub const META_WORDS_MAX: usize = 20;

// memcached's MFLAG_MAX_OPAQUE_LENGTH, less the letter `O`.
/// Longest opaque token of a meta request, in bytes.
pub const OPAQUE_BYTES_MAX: usize = 31;

// Longer than any line memcached writes (its write buffer is 1 KiB), and than ours.
/// Longest line of a reply, in bytes before the `\n`.
pub const REPLY_LINE_BYTES_MAX: usize = 8192;

// memcached's largest item size setting (`-I 1024m`); more is a desynchronised stream, not a value.
/// Longest value a reply may announce.
pub const REPLY_VALUE_BYTES_MAX: usize = 1 << 30;

// More than the keys of the longest line we would send: a peer that sends more is broken.
/// Most values, or statistics, in one classic reply.
pub const REPLY_VALUES_MAX: usize = 1 << 20;

// memcached's bound of its newest releases (ITEM_SIZE_MAX_UPPER_LIMIT); more is a desynchronised stream, not a value.
/// Longest body that a request of the binary protocol may announce; a longer one closes the connection.
pub const BINARY_BODY_BYTES_MAX: usize = 1 << 30;

// Three strings of at most 255 bytes each is what PLAIN sends.
/// Most bytes that a step of authentication may carry.
pub const SASL_DATA_BYTES_MAX: usize = 1 << 10;

/// What a [`RequestDecoder`](crate::RequestDecoder) accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest value, in bytes; default [`VALUE_BYTES_MAX_DEFAULT`]. A longer one is swallowed and answered
    /// `SERVER_ERROR object too large for cache`.
    pub value_bytes_max: usize,
    /// Longest line of a retrieval, in bytes; default [`LINE_BYTES_MAX_DEFAULT`]. A longer one closes the connection.
    /// Other lines end at [`COMMAND_LINE_BYTES_MAX`].
    pub line_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { value_bytes_max: VALUE_BYTES_MAX_DEFAULT, line_bytes_max: LINE_BYTES_MAX_DEFAULT }
    }
}
