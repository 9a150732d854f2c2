//! Commands of the binary protocol, drawn from a seed: usual ones, edges, faults.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::numbers;
use crate::stream::{Command, TokenSlot};

/// Keys of a stream: few, so that commands meet the items of others.
const KEYS: usize = 16;
/// Those with numbers on them, and letters. What memcached takes for a number among other bytes is a stated difference.
const COUNTED_KEYS: usize = 8;
/// Where the CAS token is.
const TOKEN_AT: usize = 16;
/// Expiries that both clocks judge alike; the last says that `incr` and `decr` make nothing.
const EXPIRIES: [u32; 7] = [0, 0, 0, 1000, 2_592_000, 2_592_001, 2_147_483_647];
const CREATE_NOTHING: u32 = u32::MAX;
/// Client flags.
const FLAGS: [u32; 5] = [0, 1, 32, 0xdead_beef, u32::MAX];
/// Deltas and initial values.
const NUMBERS: [u64; 8] = [0, 1, 2, 10, 999, 1 << 63, u64::MAX - 1, u64::MAX];

const GETS: [u8; 4] = [0x00, 0x09, 0x0c, 0x0d];
const GET_AND_TOUCHES: [u8; 4] = [0x1d, 0x1e, 0x23, 0x24];
const STORES: [u8; 6] = [0x01, 0x02, 0x03, 0x11, 0x12, 0x13];
const APPENDS: [u8; 4] = [0x0e, 0x0f, 0x19, 0x1a];
const DELETES: [u8; 2] = [0x04, 0x14];
const COUNTS: [u8; 4] = [0x05, 0x06, 0x15, 0x16];
const TOUCH: u8 = 0x1c;
const QUITS: [u8; 2] = [0x07, 0x17];
const FLUSHES: [u8; 2] = [0x08, 0x18];
const NOOP: u8 = 0x0a;
const VERSION: u8 = 0x0b;
const STAT: u8 = 0x10;
/// The first opcode that nobody knows, and those between that memcached leaves out.
const UNKNOWN: [u8; 8] = [0x1b, 0x25, 0x30, 0x3e, 0x47, 0x7f, 0x80, 0xff];

/// A request, before it is bytes.
struct Frame<'a> {
    opcode: u8,
    opaque: u32,
    extras: &'a [u8],
    key: &'a [u8],
    value: &'a [u8],
}

impl Frame<'_> {
    /// The bytes with this token; `None` leaves its place out.
    fn bytes(&self, token: Option<u64>) -> Vec<u8> {
        let body =
            u32::try_from(self.extras.len() + self.key.len() + self.value.len()).expect("frames are small");
        let key = u16::try_from(self.key.len()).expect("keys are short");
        let mut bytes = vec![0x80, self.opcode];
        bytes.extend(key.to_be_bytes());
        bytes.extend([u8::try_from(self.extras.len()).expect("extras are few"), 0, 0, 0]);
        bytes.extend(body.to_be_bytes());
        bytes.extend(self.opaque.to_be_bytes());
        bytes.extend(token.iter().flat_map(|token| token.to_be_bytes()));
        bytes.extend([self.extras, self.key, self.value].concat());
        bytes
    }
}

/// The stream with a number in the run of a seed: the same whatever came before.
pub(crate) fn stream(seed: u64, number: u64, commands: usize) -> Vec<Command> {
    let random = SmallRng::seed_from_u64(seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let mut draw = Draw { random };
    let last = commands.saturating_sub(1);
    (0..commands).map(|at| if at == last { draw.ending() } else { draw.command() }).collect()
}

struct Draw {
    random: SmallRng,
}

impl Draw {
    fn command(&mut self) -> Command {
        match self.random.random_range(0..1000) {
            0..250 => self.retrieval(),
            250..320 => self.get_and_touch(),
            320..600 => self.store(),
            600..680 => self.append(),
            680..800 => self.count(),
            800..860 => self.touch(),
            860..930 => self.delete(),
            _ => self.other(),
        }
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.random.random_range(0..of.len())]
    }

    /// A command on a key of the stream. Replies name the key by the opaque, so that tokens find it.
    fn on_key(&mut self, opcode: u8, extras: &[u8]) -> Command {
        let counts = COUNTS.contains(&opcode);
        let number = self.random.random_range(0..if counts { COUNTED_KEYS } else { KEYS });
        let has_value = STORES.contains(&opcode) || APPENDS.contains(&opcode);
        let value = if has_value { self.value(number >= COUNTED_KEYS) } else { Vec::new() };
        let key = key(number);
        let opaque = self.random.random::<u32>() << 8 | u32::try_from(number).expect("keys are few");
        let frame = Frame { opcode, opaque, extras, key: &key, value: &value };
        let name = vec![u8::try_from(number).expect("keys are few")];
        let mut command = match self.random.random_range(0..12) {
            0 => Command {
                token: Some(TokenSlot { at: TOKEN_AT, key: name.clone() }),
                ..Command::of(frame.bytes(None))
            },
            1 => Command::of(frame.bytes(Some(u64::MAX - 5))),
            _ => Command::of(frame.bytes(Some(0))),
        };
        if counts {
            command.counts = Some(name);
        } else if !has_value {
            // The reply to touch holds the item, too.
            command.reads = vec![name];
        }
        command
    }

    fn retrieval(&mut self) -> Command {
        let opcode = self.one(&GETS);
        self.on_key(opcode, &[])
    }

    fn get_and_touch(&mut self) -> Command {
        let (opcode, expiry) = (self.one(&GET_AND_TOUCHES), self.one(&EXPIRIES));
        self.on_key(opcode, &expiry.to_be_bytes())
    }

    fn touch(&mut self) -> Command {
        let expiry = self.one(&EXPIRIES);
        self.on_key(TOUCH, &expiry.to_be_bytes())
    }

    fn store(&mut self) -> Command {
        let (opcode, flags, expiry) = (self.one(&STORES), self.one(&FLAGS), self.one(&EXPIRIES));
        self.on_key(opcode, &[flags.to_be_bytes(), expiry.to_be_bytes()].concat())
    }

    fn append(&mut self) -> Command {
        let opcode = self.one(&APPENDS);
        self.on_key(opcode, &[])
    }

    fn delete(&mut self) -> Command {
        let opcode = self.one(&DELETES);
        self.on_key(opcode, &[])
    }

    fn count(&mut self) -> Command {
        let (opcode, delta, initial) = (self.one(&COUNTS), self.one(&NUMBERS), self.one(&NUMBERS));
        let expiry = if self.random.random() { CREATE_NOTHING } else { self.one(&EXPIRIES) };
        let extras = [&delta.to_be_bytes()[..], &initial.to_be_bytes(), &expiry.to_be_bytes()].concat();
        self.on_key(opcode, &extras)
    }

    /// Commands without a key, and those that nobody knows.
    fn other(&mut self) -> Command {
        let zero = [0; 4];
        let opaque = self.random.random();
        let (opcode, extras, key, value): (u8, &[u8], &[u8], &[u8]) = match self.random.random_range(0..10) {
            0..3 => (NOOP, &[], &[], &[]),
            3 => (VERSION, &[], &[], &[]),
            4 => (self.one(&FLUSHES), if self.random.random() { &zero } else { &[] }, &[], &[]),
            5 => (STAT, &[], b"reset", &[]),
            6 => (self.one(&UNKNOWN), &[], &[], &[]),
            // With extras or a key, memcached loses its place: a stated difference.
            7 => (self.one(&UNKNOWN), &[], &[], b"value"),
            _ => (self.one(&GETS), &[], b"absent", &[]),
        };
        Command::of(Frame { opcode, opaque, extras, key, value }.bytes(Some(0)))
    }

    /// What ends a connection: `quit`, or a frame whose parts do not fit.
    fn ending(&mut self) -> Command {
        let opaque = self.random.random();
        let long = [b'k'; 251];
        let (opcode, extras, key, value): (u8, &[u8], &[u8], &[u8]) = match self.random.random_range(0..9) {
            0 => (self.one(&QUITS), &[], &[], &[]),
            1 => (self.one(&QUITS), &[], b"key", &[]),
            2 => (self.one(&GETS), &[], &[], &[]),
            3 => (self.one(&GETS), &[0; 4], b"key", &[]),
            4 => (self.one(&STORES), &[0; 4], b"key", b"value"),
            5 => (self.one(&COUNTS), &[0; 8], b"key", &[]),
            6 => (self.one(&DELETES), &[], b"key", b"value"),
            7 => (self.one(&STORES), &[0; 8], &long, b"value"),
            _ => (VERSION, &[], b"key", &[]),
        };
        let command = Command::of(Frame { opcode, opaque, extras, key, value }.bytes(Some(0)));
        Command { alone: true, closes: true, ..command }
    }

    /// A value, of any bytes or of letters.
    fn value(&mut self, any: bool) -> Vec<u8> {
        let length = match self.random.random_range(0..100) {
            0..8 => 0,
            8..40 => return numbers::stored(&mut self.random).into(),
            40..95 => self.random.random_range(1..40),
            95..99 => self.random.random_range(40..2000),
            _ => self.random.random_range(2000..20_000),
        };
        // No minus, as in numbers.
        let byte = |random: &mut SmallRng| match random.random() {
            byte if any && byte != b'-' => byte,
            byte => b'a' + byte % 16,
        };
        (0..length).map(|_| byte(&mut self.random)).collect()
    }
}

/// The keys of a stream; any byte may stand in one.
fn key(number: usize) -> Vec<u8> {
    match number {
        0 => b"0".to_vec(),
        1 => vec![b'x'; 250],
        2 => vec![b'y'; 249],
        3 => b" \r\n\x00\xff".to_vec(),
        _ => format!("b{number}").into_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Frame, TOKEN_AT, stream};

    #[test]
    fn a_seed_and_a_number_always_give_the_same_stream() {
        assert_eq!(stream(7, 3, 500), stream(7, 3, 500));
        assert_ne!(stream(7, 3, 500), stream(7, 4, 500));
    }

    #[test]
    fn frame_has_every_part_in_its_place() {
        let frame = Frame { opcode: 1, opaque: 9, extras: &[7; 8], key: b"key", value: b"value" };
        let bytes = frame.bytes(Some(5));
        assert_eq!(bytes[..TOKEN_AT], [0x80, 1, 0, 3, 8, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 9]);
        assert_eq!(bytes[TOKEN_AT..24], 5_u64.to_be_bytes());
        assert_eq!(&bytes[24..], b"\x07\x07\x07\x07\x07\x07\x07\x07keyvalue");
        assert_eq!(frame.bytes(None).len() + 8, bytes.len());
    }

    #[test]
    fn stream_ends_with_what_ends_a_connection_and_nothing_else_does() {
        let commands = stream(1, 1, 300);
        let closing: Vec<usize> = (0..300).filter(|&at| commands[at].closes).collect();
        assert_eq!(closing, [299]);
    }
}
