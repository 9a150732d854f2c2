//! The numbers of the commands. Those with a `Q` are quiet: what their callers expect is not answered, errors are.

/// `get`.
pub const GET: u8 = 0x00;
/// `set`.
pub const SET: u8 = 0x01;
/// `add`.
pub const ADD: u8 = 0x02;
/// `replace`.
pub const REPLACE: u8 = 0x03;
/// `delete`.
pub const DELETE: u8 = 0x04;
/// `incr`.
pub const INCREMENT: u8 = 0x05;
/// `decr`.
pub const DECREMENT: u8 = 0x06;
/// `quit`.
pub const QUIT: u8 = 0x07;
/// `flush_all`.
pub const FLUSH: u8 = 0x08;
/// `get`, silent on a miss.
pub const GETQ: u8 = 0x09;
/// Nothing; its answer tells that all before it are done.
pub const NOOP: u8 = 0x0a;
/// `version`.
pub const VERSION: u8 = 0x0b;
/// `get`, answered with the key.
pub const GETK: u8 = 0x0c;
/// [`GETK`], silent on a miss.
pub const GETKQ: u8 = 0x0d;
/// `append`.
pub const APPEND: u8 = 0x0e;
/// `prepend`.
pub const PREPEND: u8 = 0x0f;
/// `stats`.
pub const STAT: u8 = 0x10;
/// [`SET`], silent when stored.
pub const SETQ: u8 = 0x11;
/// [`ADD`], silent when stored.
pub const ADDQ: u8 = 0x12;
/// [`REPLACE`], silent when stored.
pub const REPLACEQ: u8 = 0x13;
/// [`DELETE`], silent when deleted.
pub const DELETEQ: u8 = 0x14;
/// [`INCREMENT`], silent when done.
pub const INCREMENTQ: u8 = 0x15;
/// [`DECREMENT`], silent when done.
pub const DECREMENTQ: u8 = 0x16;
/// [`QUIT`], silent.
pub const QUITQ: u8 = 0x17;
/// [`FLUSH`], silent.
pub const FLUSHQ: u8 = 0x18;
/// [`APPEND`], silent when stored.
pub const APPENDQ: u8 = 0x19;
/// [`PREPEND`], silent when stored.
pub const PREPENDQ: u8 = 0x1a;
/// `touch`.
pub const TOUCH: u8 = 0x1c;
/// `gat`.
pub const GAT: u8 = 0x1d;
/// [`GAT`], silent on a miss.
pub const GATQ: u8 = 0x1e;
/// Which ways of authentication there are.
pub const SASL_LIST: u8 = 0x20;
/// Begins authentication.
pub const SASL_AUTH: u8 = 0x21;
/// Goes on with it.
pub const SASL_STEP: u8 = 0x22;
/// `gat`, answered with the key.
pub const GATK: u8 = 0x23;
/// [`GATK`], silent on a miss.
pub const GATKQ: u8 = 0x24;

/// Extras of `set`, `add`, `replace`: flags and expiry.
pub(crate) const SET_EXTRAS: usize = 8;
/// Extras of `incr` and `decr`: delta, initial number, expiry.
pub(crate) const ARITHMETIC_EXTRAS: usize = 20;
/// Extras of `touch`, the `gat` family and a `flush` with a delay.
pub(crate) const EXPIRY_EXTRAS: usize = 4;

/// Whether a command is quiet.
#[inline]
pub(crate) const fn is_quiet(opcode: u8) -> bool {
    matches!(opcode, GETQ | GETKQ | SETQ..=PREPENDQ | GATQ | GATKQ)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_with_a_q_are_quiet_and_no_others() {
        let quiet: Vec<u8> = (0..=255).filter(|opcode| is_quiet(*opcode)).collect();
        let expected = [
            GETQ, GETKQ, SETQ, ADDQ, REPLACEQ, DELETEQ, INCREMENTQ, DECREMENTQ, QUITQ, FLUSHQ, APPENDQ,
            PREPENDQ, GATQ, GATKQ,
        ];
        assert_eq!(quiet, expected);
    }
}
