//! From bytes to a request: one header, one table of what may follow it.

use std::borrow::Cow;

use crate::decoder::Decoded;
use crate::error_lines::Refusal;
use crate::exptime::Exptime;
use crate::limits::{BINARY_BODY_BYTES_MAX, KEY_BYTES_MAX, SASL_DATA_BYTES_MAX};
use crate::request::{Direction, MetaKey, Request, SetMode, TooLarge};

use super::{
    BinaryCommand, BinaryHead, BinaryRequest, BinarySet, BinaryStatus, CREATE_NOTHING, HEADER_BYTES,
    REQUEST_MAGIC, opcode,
};

/// A header, read.
struct Header {
    head: BinaryHead,
    extras_bytes: usize,
    key_bytes: usize,
    body_bytes: usize,
    cas: u64,
}

/// Decodes what is at the front of `input`, and says how many bytes behind it are to be swallowed.
pub(crate) fn decode(input: &[u8], value_bytes_max: usize) -> (Decoded<'_>, usize) {
    if input.first().is_some_and(|magic| *magic != REQUEST_MAGIC) {
        return (Decoded::Fatal { refusal: Refusal::silent() }, 0);
    }
    let Some((header, body)) = input.split_first_chunk() else {
        return (Decoded::Incomplete { missing: HEADER_BYTES - input.len() }, 0);
    };
    let header = Header::read(header);
    if let Some(refused) = header.refusal() {
        return refused;
    }
    // The length of a value is looked at, and its room made, when it is known what the value is for.
    let before_value = header.extras_bytes + header.key_bytes;
    if body.len() < before_value {
        return (Decoded::Incomplete { missing: before_value - body.len() }, 0);
    }
    let (extras, rest) = body.split_at(header.extras_bytes);
    let (key, rest) = rest.split_at(header.key_bytes);
    let value_bytes = header.body_bytes - before_value;
    if value_bytes > value_bytes_max && header.is_store() {
        return (header.too_large(key), value_bytes);
    }
    let Some(value) = rest.get(..value_bytes) else {
        return (Decoded::Incomplete { missing: value_bytes - rest.len() }, 0);
    };
    let request = BinaryRequest {
        head: header.head,
        compare: (header.cas != 0).then_some(header.cas),
        command: command(header.head.opcode, extras, key, value),
    };
    (Decoded::Request { request: Request::Binary(request), consumed: HEADER_BYTES + header.body_bytes }, 0)
}

impl Header {
    #[inline]
    fn read(bytes: &[u8; HEADER_BYTES]) -> Header {
        Header {
            head: BinaryHead { opcode: bytes[1], opaque: u32_at(bytes, 12) },
            extras_bytes: usize::from(bytes[4]),
            key_bytes: usize::from(u16::from_be_bytes([bytes[2], bytes[3]])),
            body_bytes: u32_at(bytes, 8) as usize,
            cas: u64_at(bytes, 16),
        }
    }

    /// What is wrong with the request, as far as its header tells, in memcached's order. Where memcached does not know
    /// where the next request begins, or does not care, the connection ends.
    fn refusal<'a>(&self) -> Option<(Decoded<'a>, usize)> {
        let fatal = |status| Some((Decoded::Fatal { refusal: self.refuse(status) }, 0));
        let skip = |status| {
            let refusal = self.refuse(status);
            Some((Decoded::Refused { refusal, consumed: HEADER_BYTES }, self.body_bytes))
        };
        let Some(value_bytes) = self.body_bytes.checked_sub(self.extras_bytes + self.key_bytes) else {
            return fatal(BinaryStatus::UnknownCommand);
        };
        if self.body_bytes > BINARY_BODY_BYTES_MAX || self.key_bytes > KEY_BYTES_MAX {
            return fatal(BinaryStatus::Invalid);
        }
        match self.is_well_formed(value_bytes) {
            None => skip(BinaryStatus::UnknownCommand),
            Some(false) => fatal(BinaryStatus::Invalid),
            Some(true) if value_bytes > SASL_DATA_BYTES_MAX && self.is_sasl() => {
                skip(BinaryStatus::OutOfMemory)
            }
            Some(true) => None,
        }
    }

    /// Whether the parts have the lengths that the command wants; `None` for a command that is none.
    #[inline]
    fn is_well_formed(&self, value_bytes: usize) -> Option<bool> {
        let (extras, has_key, has_value) = (self.extras_bytes, self.key_bytes > 0, value_bytes > 0);
        Some(match self.head.opcode {
            opcode::GET | opcode::GETQ | opcode::GETK | opcode::GETKQ | opcode::DELETE | opcode::DELETEQ => {
                extras == 0 && has_key && !has_value
            }
            opcode::SET | opcode::ADD | opcode::REPLACE | opcode::SETQ | opcode::ADDQ | opcode::REPLACEQ => {
                extras == opcode::SET_EXTRAS && has_key
            }
            opcode::APPEND | opcode::PREPEND | opcode::APPENDQ | opcode::PREPENDQ => extras == 0 && has_key,
            opcode::INCREMENT | opcode::DECREMENT | opcode::INCREMENTQ | opcode::DECREMENTQ => {
                extras == opcode::ARITHMETIC_EXTRAS && has_key && !has_value
            }
            opcode::TOUCH | opcode::GAT | opcode::GATQ | opcode::GATK | opcode::GATKQ => {
                extras == opcode::EXPIRY_EXTRAS && has_key && !has_value
            }
            opcode::FLUSH | opcode::FLUSHQ => {
                (extras == 0 || extras == opcode::EXPIRY_EXTRAS) && !has_key && !has_value
            }
            opcode::NOOP | opcode::VERSION | opcode::QUIT | opcode::QUITQ | opcode::SASL_LIST => {
                self.body_bytes == 0
            }
            opcode::STAT => extras == 0 && !has_value,
            opcode::SASL_AUTH | opcode::SASL_STEP => extras == 0 && has_key,
            _ => return None,
        })
    }

    fn is_sasl(&self) -> bool {
        matches!(self.head.opcode, opcode::SASL_AUTH | opcode::SASL_STEP)
    }

    /// Only the value of a store command has the limit of values.
    #[inline]
    fn is_store(&self) -> bool {
        !self.is_sasl()
    }

    fn refuse(&self, status: BinaryStatus) -> Refusal {
        Refusal::binary(self.head, status, status.text())
    }

    /// A store command whose value is beyond the limit.
    #[cold]
    fn too_large<'a>(&self, key: &'a [u8]) -> Decoded<'a> {
        // 0x03 would be memcached's status, and Netflix's client drops the connection over it.
        let refusal = Refusal::binary(self.head, BinaryStatus::OutOfMemory, BinaryStatus::TooLarge.text());
        let request = Request::TooLarge(TooLarge {
            key: MetaKey { bytes: Cow::Borrowed(key), base64: false },
            drop_item: matches!(self.head.opcode, opcode::SET | opcode::SETQ),
            version: None,
            refusal,
        });
        Decoded::Request { request, consumed: HEADER_BYTES + self.extras_bytes + self.key_bytes }
    }
}

/// The command of a well-formed request.
#[inline]
fn command<'a>(opcode: u8, extras: &[u8], key: &'a [u8], value: &'a [u8]) -> BinaryCommand<'a> {
    match opcode {
        opcode::GET | opcode::GETQ | opcode::GETK | opcode::GETKQ => {
            let with_key = matches!(opcode, opcode::GETK | opcode::GETKQ);
            BinaryCommand::Get { key, with_key, touch: None }
        }
        opcode::GAT | opcode::GATQ | opcode::GATK | opcode::GATKQ => {
            let with_key = matches!(opcode, opcode::GATK | opcode::GATKQ);
            BinaryCommand::Get { key, with_key, touch: Some(expiry(extras, 0)) }
        }
        opcode::TOUCH => BinaryCommand::Touch { key, exptime: expiry(extras, 0) },
        opcode::DELETE | opcode::DELETEQ => BinaryCommand::Delete { key },
        opcode::INCREMENT | opcode::INCREMENTQ => arithmetic(key, Direction::Increment, extras),
        opcode::DECREMENT | opcode::DECREMENTQ => arithmetic(key, Direction::Decrement, extras),
        opcode::FLUSH | opcode::FLUSHQ => {
            BinaryCommand::Flush { delay: (!extras.is_empty()).then(|| expiry(extras, 0)) }
        }
        opcode::NOOP => BinaryCommand::Noop,
        opcode::VERSION => BinaryCommand::Version,
        opcode::STAT => BinaryCommand::Stat { argument: key },
        opcode::QUIT | opcode::QUITQ => BinaryCommand::Quit,
        opcode::SASL_LIST => BinaryCommand::SaslList,
        opcode::SASL_AUTH => BinaryCommand::SaslAuth { mechanism: key, data: value },
        opcode::SASL_STEP => BinaryCommand::SaslStep { mechanism: key, data: value },
        store => BinaryCommand::Set(set(store, extras, key, value)),
    }
}

#[inline]
fn set<'a>(opcode: u8, extras: &[u8], key: &'a [u8], value: &'a [u8]) -> BinarySet<'a> {
    let mode = match opcode {
        opcode::ADD | opcode::ADDQ => SetMode::Add,
        opcode::REPLACE | opcode::REPLACEQ => SetMode::Replace,
        opcode::APPEND | opcode::APPENDQ => SetMode::Append,
        opcode::PREPEND | opcode::PREPENDQ => SetMode::Prepend,
        _ => SetMode::Set,
    };
    BinarySet { key, mode, flags: u32_at(extras, 0), exptime: expiry(extras, 4), value }
}

fn arithmetic<'a>(key: &'a [u8], direction: Direction, extras: &[u8]) -> BinaryCommand<'a> {
    let creates = u32_at(extras, 16) != CREATE_NOTHING;
    let initial = creates.then(|| (u64_at(extras, 8), expiry(extras, 16)));
    BinaryCommand::Arithmetic { key, direction, delta: u64_at(extras, 0), initial }
}

/// An expiry; this protocol has none below 0.
#[inline]
fn expiry(extras: &[u8], at: usize) -> Exptime {
    Exptime(i64::from(u32_at(extras, at)))
}

/// The number there; 0 where there is none, as in the extras that append and prepend do not have.
#[inline]
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|bytes| bytes.first_chunk()).map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

/// The number there; 0 where there is none.
#[inline]
fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|bytes| bytes.first_chunk()).map_or(0, |bytes| u64::from_be_bytes(*bytes))
}
