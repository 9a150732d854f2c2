//! The error lines of memcached, word for word, so that every part that answers uses the same ones.
//!
//! Without the line end; [`encode::error_line`] adds it.

use crate::append::Append;
use crate::binary::{self, BinaryHead, BinaryStatus};
use crate::encode;

/// No such command, or the wrong number of words.
pub const UNKNOWN_COMMAND: &str = "ERROR";
/// A key too long, a number that is none, a length below zero.
pub const BAD_FORMAT: &str = "CLIENT_ERROR bad command line format";
/// `delete` with an argument it does not know.
pub const BAD_DELETE: &str = "CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]";
/// A value that does not end in `\r\n` where its length says.
pub const BAD_DATA_CHUNK: &str = "CLIENT_ERROR bad data chunk";
/// An expiry that is no number, of `touch`, `gat`, `gats`, `flush_all`.
pub const INVALID_EXPTIME: &str = "CLIENT_ERROR invalid exptime argument";
/// A delta of `incr` or `decr` that is no number of 64 bits.
pub const INVALID_DELTA: &str = "CLIENT_ERROR invalid numeric delta argument";
/// Arithmetic on an item whose value is no number.
pub const NON_NUMERIC: &str = "CLIENT_ERROR cannot increment or decrement non-numeric value";
/// A statistic's name is missing or wrong.
pub const BAD_COMMAND_LINE: &str = "CLIENT_ERROR bad command line";
/// `stats detail` without one of its words.
pub const STATS_DETAIL_USAGE: &str = "CLIENT_ERROR usage: stats detail on|off|dump";
/// `flush_all` where the operator forbids it.
pub const FLUSH_NOT_ALLOWED: &str = "CLIENT_ERROR flush_all not allowed";
/// `shutdown` where it is not enabled.
pub const SHUTDOWN_NOT_ENABLED: &str = "ERROR: shutdown not enabled";
/// `shutdown` with a word it does not know.
pub const INVALID_SHUTDOWN: &str = "CLIENT_ERROR invalid shutdown mode";
/// `lru_crawler` for a size class that cannot be.
pub const BAD_CLASS: &str = "BADCLASS invalid class id";
/// `lru_crawler sleep` beyond a second.
pub const SLEEP_TOO_LONG: &str = "CLIENT_ERROR sleep must be one second or less";
/// `watch` while as many watch as may.
pub const TOO_MANY_WATCHERS: &str = "WATCHER_TOO_MANY log watcher limit reached";
/// Not memcached's: a retrieval's line beyond our limit. The connection closes.
pub const LINE_TOO_LONG: &str = "CLIENT_ERROR line too long";

/// A meta flag given twice, or one that is no letter of ASCII.
pub const DUPLICATE_FLAG: &str = "CLIENT_ERROR duplicate flag";
/// A meta flag that does not exist.
pub const INVALID_FLAG: &str = "CLIENT_ERROR invalid flag";
/// Any fault in the flags of `ma`.
pub const INVALID_OR_DUPLICATE_FLAG: &str = "CLIENT_ERROR invalid or duplicate flag";
/// More words than a meta line may have.
pub const TOO_MANY_FLAGS: &str = "CLIENT_ERROR options flags are too long";
/// A meta flag whose number is none.
pub const BAD_TOKEN: &str = "CLIENT_ERROR bad token in command line format";
/// A mode that `ms` does not know.
pub const INVALID_MS_MODE: &str = "CLIENT_ERROR invalid mode for ms M token";
/// A mode that `ma` does not know.
pub const INVALID_MA_MODE: &str = "CLIENT_ERROR invalid mode for ma M token";
/// The `J` of `ma` is no number of 64 bits.
pub const INVALID_INITIAL: &str = "CLIENT_ERROR invalid numeric initial value";
/// The `D` of `ma` is no number of 64 bits.
pub const INVALID_META_DELTA: &str = "CLIENT_ERROR invalid numeric delta value";
/// A key that is no base64 though `b` says so.
pub const ERROR_DECODING_KEY: &str = "CLIENT_ERROR error decoding key";
/// An opaque beyond [`OPAQUE_BYTES_MAX`](crate::limits::OPAQUE_BYTES_MAX).
pub const OPAQUE_TOO_LONG: &str = "CLIENT_ERROR opaque token too long";

/// A value beyond the limit.
pub const TOO_LARGE: &str = "SERVER_ERROR object too large for cache";
/// No memory for a value, nothing left to evict.
pub const OUT_OF_MEMORY_STORING: &str = "SERVER_ERROR out of memory storing object";
/// No memory for the result of arithmetic.
pub const OUT_OF_MEMORY: &str = "SERVER_ERROR out of memory";
/// No memory while a value was being read.
pub const OUT_OF_MEMORY_READING: &str = "SERVER_ERROR Out of memory during read";
/// No memory for the replies of a retrieval.
pub const OUT_OF_MEMORY_WRITING: &str = "SERVER_ERROR out of memory writing get response";
/// No memory for statistics.
pub const OUT_OF_MEMORY_STATS: &str = "SERVER_ERROR out of memory writing stats";
/// More connections than allowed; the connection closes.
pub const TOO_MANY_CONNECTIONS: &str = "ERROR Too many open connections";

/// Why a request was not accepted: what to answer, and whether to answer at all.
///
/// The client is at fault; the same request will fail again. Whether the connection survives is said by the
/// [`Decoded`](crate::Decoded) variant that carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// The answer, without its line end. In the binary protocol the text that goes with the status.
    pub line: &'static str,
    /// Send nothing: the request said `noreply`, or memcached says nothing here either.
    pub silent: bool,
    /// In the binary protocol: what the answer repeats of the request, and its status.
    pub binary: Option<(BinaryHead, BinaryStatus)>,
}

impl Refusal {
    /// A line of the text protocols.
    #[must_use]
    pub const fn loud(line: &'static str) -> Refusal {
        Refusal::text(line, false)
    }

    /// The same, not sent when `silent`.
    #[must_use]
    pub const fn text(line: &'static str, silent: bool) -> Refusal {
        Refusal { line, silent, binary: None }
    }

    /// A status of the binary protocol.
    #[must_use]
    pub const fn binary(head: BinaryHead, status: BinaryStatus, text: &'static str) -> Refusal {
        Refusal { line: text, silent: false, binary: Some((head, status)) }
    }

    /// Nothing is sent, in no protocol.
    pub(crate) const fn silent() -> Refusal {
        Refusal::text("", true)
    }

    /// The same request refused for want of memory, with `line` of the text protocols.
    #[must_use]
    pub fn for_want_of_memory(self, line: &'static str) -> Refusal {
        match self.binary {
            None => Refusal { line, ..self },
            Some((head, _)) => {
                // memcached leaves the first word out here, for the status says it.
                let text = line.strip_prefix("SERVER_ERROR ").unwrap_or(line);
                Refusal::binary(head, BinaryStatus::OutOfMemory, text)
            }
        }
    }

    /// The answer, without its line end.
    pub fn line(&self) -> &'static str {
        self.line
    }

    /// Appends the answer, whole; nothing when silent.
    pub fn encode(&self, out: &mut impl Append) {
        match self.binary {
            _ if self.silent => {}
            None => encode::error_line(out, self.line),
            Some((head, status)) => binary::encode::with_text(out, head, status, self.line),
        }
    }
}
