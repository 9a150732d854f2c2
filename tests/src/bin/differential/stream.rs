//! Streams of commands, and how they are cut into bursts.
//!
//! A stream is a list of commands for one connection. Its commands are sent in bursts: all commands of a burst
//! are sent before any reply is awaited, and every reply of a burst is awaited before the next.

use std::collections::HashSet;

/// Commands sent at once at most: their replies must be held somewhere, and a burst is what a mismatch prints.
const BURST_COMMANDS_MAX: usize = 120;
/// Bytes sent at once at most, for the same reason.
const BURST_BYTES_MAX: usize = 256 << 10;

/// One command: its bytes, and what the player must know of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Command {
    /// What is sent, value included.
    pub(crate) bytes: Vec<u8>,
    /// Where a CAS token of the server's own goes in.
    pub(crate) token: Option<TokenSlot>,
    /// Keys that it retrieves.
    pub(crate) reads: Vec<Vec<u8>>,
    /// The key whose number it changes in place.
    pub(crate) counts: Option<Vec<u8>>,
    /// Nothing unanswered may stand before it.
    pub(crate) alone: bool,
    /// The server closes the connection on it.
    pub(crate) closes: bool,
}

/// A CAS token that each server must be told in its own number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TokenSlot {
    /// Where in the bytes.
    pub(crate) at: usize,
    /// The key whose last token it is.
    pub(crate) key: Vec<u8>,
}

impl Command {
    /// A command of nothing but bytes.
    pub(crate) fn of(bytes: impl Into<Vec<u8>>) -> Command {
        Command { bytes: bytes.into(), ..Command::default() }
    }
}

/// Cuts a stream into bursts.
pub(crate) fn bursts(commands: &[Command]) -> Vec<&[Command]> {
    let mut bursts = Vec::new();
    let mut rest = commands;
    while !rest.is_empty() {
        let (burst, after) = rest.split_at(burst_len(rest));
        bursts.push(burst);
        rest = after;
    }
    bursts
}

/// How many commands the first burst has.
fn burst_len(commands: &[Command]) -> usize {
    let (mut read, mut bytes) = (HashSet::new(), 0);
    for (at, command) in commands.iter().enumerate() {
        bytes += command.bytes.len();
        let full = at >= BURST_COMMANDS_MAX || bytes > BURST_BYTES_MAX;
        // While a reply that holds an item is unsent, memcached changes its number in a copy, not in place, and the
        // length of what it leaves differs.
        let held = command.counts.as_ref().is_some_and(|key| read.contains(key));
        let fresh = command.alone || command.token.is_some() || held;
        if at > 0 && (full || fresh || commands[at - 1].closes) {
            return at;
        }
        read.extend(command.reads.iter().cloned());
    }
    commands.len()
}

#[cfg(test)]
mod tests {
    use super::{BURST_COMMANDS_MAX, Command, bursts};

    fn lengths(commands: &[Command]) -> Vec<usize> {
        bursts(commands).iter().map(|burst| burst.len()).collect()
    }

    #[test]
    fn long_stream_is_cut_at_the_limit() {
        let commands = vec![Command::of("get a\r\n"); 2 * BURST_COMMANDS_MAX + 1];
        assert_eq!(lengths(&commands), [BURST_COMMANDS_MAX, BURST_COMMANDS_MAX, 1]);
        assert!(bursts(&[]).is_empty());
    }

    #[test]
    fn number_is_not_changed_while_its_reply_is_unsent() {
        let read = Command { reads: vec![b"n".to_vec()], ..Command::of("get n\r\n") };
        let count = |key: &str| Command { counts: Some(key.into()), ..Command::of("incr n 1\r\n") };
        assert_eq!(lengths(&[read.clone(), count("m"), count("n"), count("n"), read]), [2, 3]);
    }

    #[test]
    fn what_must_stand_alone_begins_a_burst_and_what_closes_ends_one() {
        let alone = Command { alone: true, ..Command::of("get long\r\n") };
        let closes = Command { closes: true, ..Command::of("quit\r\n") };
        let plain = Command::of("get a\r\n");
        assert_eq!(lengths(&[plain.clone(), alone, plain.clone(), closes, plain]), [1, 3, 1]);
    }
}
