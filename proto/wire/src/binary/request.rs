//! Requests, and how a client writes them.

use bytes::BytesMut;

use crate::exptime::Exptime;
use crate::request::{Direction, SetMode};

use super::{CREATE_NOTHING, HEADER_BYTES, REQUEST_MAGIC, opcode};

/// What every reply repeats of its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BinaryHead {
    /// The command, one of [`opcode`].
    pub opcode: u8,
    /// The caller's, never looked at.
    pub opaque: u32,
}

/// One request of the binary protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BinaryRequest<'a> {
    /// What replies repeat of it.
    pub head: BinaryHead,
    /// The CAS token that must be there; `None` where the request has 0.
    pub compare: Option<u64>,
    /// What to do.
    pub command: BinaryCommand<'a>,
}

/// What a request of the binary protocol asks for. A key is 1 to 250 bytes, any bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BinaryCommand<'a> {
    /// `get`, `getk`, `gat`, `gatk`, and quiet.
    Get {
        /// The key.
        key: &'a [u8],
        /// Answer with the key.
        with_key: bool,
        /// The new expiry of `gat` and `gatk`.
        touch: Option<Exptime>,
    },
    /// `touch`.
    Touch {
        /// The key.
        key: &'a [u8],
        /// The new expiry.
        exptime: Exptime,
    },
    /// `set`, `add`, `replace`, `append`, `prepend`, and quiet.
    Set(BinarySet<'a>),
    /// `delete`, and quiet.
    Delete {
        /// The key.
        key: &'a [u8],
    },
    /// `incr`, `decr`, and quiet.
    Arithmetic {
        /// The key.
        key: &'a [u8],
        /// Which way.
        direction: Direction,
        /// By how much.
        delta: u64,
        /// On a miss make the item, with this number and expiry.
        initial: Option<(u64, Exptime)>,
    },
    /// `flush_all`, and quiet.
    Flush {
        /// When, by the rules of an expiry; `None` for now, which 0 means too.
        delay: Option<Exptime>,
    },
    /// `noop`.
    Noop,
    /// `version`.
    Version,
    /// `stats`, with its argument: empty, `settings`, `items`...
    Stat {
        /// The argument.
        argument: &'a [u8],
    },
    /// `quit`, and quiet.
    Quit,
    /// Which ways of authentication there are.
    SaslList,
    /// Begins authentication.
    SaslAuth {
        /// The way, such as `PLAIN`; not checked.
        mechanism: &'a [u8],
        /// What the way says.
        data: &'a [u8],
    },
    /// Goes on with authentication.
    SaslStep {
        /// The way, such as `PLAIN`; not checked.
        mechanism: &'a [u8],
        /// What the way says.
        data: &'a [u8],
    },
}

/// A store command of the binary protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BinarySet<'a> {
    /// The key.
    pub key: &'a [u8],
    /// What must be there.
    pub mode: SetMode,
    /// The caller's flags; 0 for append and prepend, which keep the item's.
    pub flags: u32,
    /// When it expires; never for append and prepend, which keep the item's.
    pub exptime: Exptime,
    /// The value.
    pub value: &'a [u8],
}

impl BinaryHead {
    /// The command is quiet: a miss of a retrieval and the success of anything else are not answered, errors are.
    #[inline]
    #[must_use]
    pub const fn is_quiet(self) -> bool {
        opcode::is_quiet(self.opcode)
    }
}

impl BinaryRequest<'_> {
    /// The key, if the request has one.
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        self.command.key()
    }

    /// Appends the request as a client sends it.
    pub fn encode(&self, out: &mut BytesMut) {
        let mut extras = [0; opcode::ARITHMETIC_EXTRAS];
        let (extras_bytes, key, value) = self.command.parts(&mut extras);
        let body_bytes = extras_bytes + key.len() + value.len();
        out.reserve(HEADER_BYTES + body_bytes);
        out.extend_from_slice(&[REQUEST_MAGIC, self.head.opcode]);
        out.extend_from_slice(&(key.len() as u16).to_be_bytes());
        out.extend_from_slice(&[extras_bytes as u8, 0, 0, 0]);
        out.extend_from_slice(&(body_bytes as u32).to_be_bytes());
        out.extend_from_slice(&self.head.opaque.to_be_bytes());
        out.extend_from_slice(&self.compare.unwrap_or(0).to_be_bytes());
        out.extend_from_slice(&extras[..extras_bytes]);
        out.extend_from_slice(key);
        out.extend_from_slice(value);
    }
}

impl<'a> BinaryCommand<'a> {
    /// The key, if the command has one.
    #[must_use]
    pub fn key(&self) -> Option<&'a [u8]> {
        match *self {
            BinaryCommand::Get { key, .. }
            | BinaryCommand::Touch { key, .. }
            | BinaryCommand::Set(BinarySet { key, .. })
            | BinaryCommand::Delete { key }
            | BinaryCommand::Arithmetic { key, .. } => Some(key),
            _ => None,
        }
    }

    /// Fills in the extras; their length, what goes where the key does, and the value.
    fn parts(&self, extras: &mut [u8; opcode::ARITHMETIC_EXTRAS]) -> (usize, &'a [u8], &'a [u8]) {
        let mut fill = |numbers: &[&[u8]]| {
            let mut end = 0;
            for number in numbers {
                extras[end..end + number.len()].copy_from_slice(number);
                end += number.len();
            }
            end
        };
        match *self {
            BinaryCommand::Get { key, touch, .. } => {
                (touch.map_or(0, |exptime| fill(&[&seconds(exptime)])), key, &[])
            }
            BinaryCommand::Touch { key, exptime } => (fill(&[&seconds(exptime)]), key, &[]),
            BinaryCommand::Set(BinarySet {
                key, mode: SetMode::Append | SetMode::Prepend, value, ..
            }) => (0, key, value),
            BinaryCommand::Set(BinarySet { key, flags, exptime, value, .. }) => {
                (fill(&[&flags.to_be_bytes(), &seconds(exptime)]), key, value)
            }
            BinaryCommand::Delete { key } => (0, key, &[]),
            BinaryCommand::Arithmetic { key, delta, initial, .. } => {
                let (initial, expiry) = initial
                    .map_or((0, CREATE_NOTHING.to_be_bytes()), |(number, exptime)| {
                        (number, seconds(exptime))
                    });
                (fill(&[&delta.to_be_bytes(), &initial.to_be_bytes(), &expiry]), key, &[])
            }
            BinaryCommand::Flush { delay } => {
                (delay.map_or(0, |exptime| fill(&[&seconds(exptime)])), &[], &[])
            }
            BinaryCommand::Stat { argument } => (0, argument, &[]),
            BinaryCommand::SaslAuth { mechanism, data } | BinaryCommand::SaslStep { mechanism, data } => {
                (0, mechanism, data)
            }
            BinaryCommand::Noop | BinaryCommand::Version | BinaryCommand::Quit | BinaryCommand::SaslList => {
                (0, &[], &[])
            }
        }
    }
}

/// An expiry as this protocol has it: 32 bits, none below 0.
fn seconds(exptime: Exptime) -> [u8; 4] {
    u32::try_from(exptime.0.max(0)).unwrap_or(u32::MAX).to_be_bytes()
}
