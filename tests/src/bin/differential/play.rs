//! Plays a stream to a server: bursts in odd pieces, and all that comes back.

use std::net::SocketAddr;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::replies::{self, Tokens};
use crate::stream::{Command, bursts};

/// Nothing more is coming after this.
const REPLY_LIMIT: Duration = Duration::from_secs(5);
/// Bytes asked of the socket at once.
const READ_BYTES: usize = 64 << 10;
/// Bursts above this are not sent byte by byte.
const SMALL_BURST_BYTES: usize = 2000;

/// A protocol, as far as playing it goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wire {
    /// What it is called.
    pub(crate) name: &'static str,
    /// Empties the server, as the first command of a connection.
    pub(crate) flush: &'static [u8],
    /// A command that ends a burst.
    pub(crate) fence: &'static [u8],
    /// Its reply, which nothing else ends with.
    pub(crate) fence_reply: &'static [u8],
    /// A token that no item has, for a key that has shown none; and any other.
    pub(crate) token: fn(u64) -> Vec<u8>,
    /// Replies made comparable.
    pub(crate) plain: fn(&[u8], &mut Tokens) -> Vec<u8>,
}

/// Classic text, fenced by the one meta command that has no key.
pub(crate) const TEXT: Wire = Wire {
    name: "text",
    flush: b"flush_all\r\n",
    fence: b"mn\r\n",
    fence_reply: b"MN\r\n",
    token: |token| token.to_string().into_bytes(),
    plain: replies::text,
};

/// A `noop` with an opaque that nothing else has.
const BINARY_FENCE: &[u8] = b"\x80\x0a\0\0\0\0\0\0\0\0\0\0fenc\0\0\0\0\0\0\0\0";

/// The binary protocol.
pub(crate) const BINARY: Wire = Wire {
    name: "binary",
    flush: b"\x80\x08\0\0\0\0\0\0\0\0\0\0flsh\0\0\0\0\0\0\0\0",
    fence: BINARY_FENCE,
    fence_reply: b"\x81\x0a\0\0\0\0\0\0\0\0\0\0fenc\0\0\0\0\0\0\0\0",
    token: |token| token.to_be_bytes().to_vec(),
    plain: replies::binary,
};

/// The reply to one burst.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// With roles in place of tokens.
    pub(crate) plain: Vec<u8>,
    /// How the burst ended.
    pub(crate) end: End,
}

/// How a burst ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// With the reply to the fence.
    Answered,
    /// With the end of the connection.
    Closed,
    /// Not at all.
    Stuck,
}

/// Plays a stream on a connection of its own to an emptied server; one answer per burst, fewer if it ended early.
///
/// # Errors
/// When the server cannot be reached.
pub(crate) async fn play(
    wire: Wire,
    address: SocketAddr,
    commands: &[Command],
    seed: u64,
) -> std::io::Result<Vec<Answer>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut random = SmallRng::seed_from_u64(seed);
    let (mut tokens, mut answers) = (Tokens::default(), Vec::new());
    let flushed = [Command::of(wire.flush)];
    let all = std::iter::once(&flushed[..]).chain(bursts(commands));
    for burst in all {
        let closes = burst.last().is_some_and(|command| command.closes);
        let mut bytes = spelled(wire, burst, &tokens);
        if !closes {
            bytes.extend_from_slice(wire.fence);
        }
        let pieces = pieces(&mut random, bytes.len());
        let (raw, end) = exchange(&mut stream, wire, &bytes, &pieces).await;
        answers.push(Answer { plain: (wire.plain)(&raw, &mut tokens), end });
        if end != End::Answered {
            break;
        }
    }
    Ok(answers)
}

/// The bytes of a burst for the server that has shown these tokens.
pub(crate) fn spelled(wire: Wire, burst: &[Command], tokens: &Tokens) -> Vec<u8> {
    let mut bytes = Vec::new();
    for command in burst {
        match &command.token {
            None => bytes.extend_from_slice(&command.bytes),
            Some(slot) => {
                let (before, after) = command.bytes.split_at(slot.at);
                bytes.extend_from_slice(before);
                bytes.extend((wire.token)(tokens.last(&slot.key).unwrap_or(u64::MAX)));
                bytes.extend_from_slice(after);
            }
        }
    }
    bytes
}

/// Lengths of the pieces in which so many bytes are sent.
fn pieces(random: &mut SmallRng, bytes: usize) -> Vec<usize> {
    let longest = match random.random_range(0..20) {
        0 if bytes < SMALL_BURST_BYTES => 9,
        1..5 => 1500.max(bytes / 50),
        _ => return vec![bytes],
    };
    let (mut pieces, mut left) = (Vec::new(), bytes);
    while left > 0 {
        let piece = random.random_range(1..=longest).min(left);
        pieces.push(piece);
        left -= piece;
    }
    pieces
}

/// Sends, and at the same time reads up to the fence's reply.
async fn exchange(stream: &mut TcpStream, wire: Wire, bytes: &[u8], pieces: &[usize]) -> (Vec<u8>, End) {
    let (mut reader, mut writer) = stream.split();
    let mut received = Vec::new();
    let reading = read_to(&mut reader, wire.fence_reply, &mut received);
    // A server that closes early makes writing fail; what it said before is still read.
    let both = async { tokio::join!(reading, send(&mut writer, bytes, pieces)).0 };
    let end = timeout(REPLY_LIMIT, both).await.unwrap_or(End::Stuck);
    (received, end)
}

async fn send(writer: &mut (impl AsyncWrite + Unpin), bytes: &[u8], pieces: &[usize]) -> std::io::Result<()> {
    let mut rest = bytes;
    for &piece in pieces {
        let (now, later) = rest.split_at(piece);
        writer.write_all(now).await?;
        rest = later;
        // The server and the reader get a chance to see only this much.
        tokio::task::yield_now().await;
    }
    Ok(())
}

async fn read_to(reader: &mut (impl AsyncRead + Unpin), end: &[u8], received: &mut Vec<u8>) -> End {
    loop {
        received.reserve(READ_BYTES);
        match reader.read_buf(received).await {
            Ok(0) | Err(_) => return End::Closed,
            Ok(_) if received.ends_with(end) => return End::Answered,
            Ok(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{TEXT, pieces, spelled};
    use crate::replies::Tokens;
    use crate::stream::{Command, TokenSlot};
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    #[test]
    fn pieces_add_up_to_all_bytes() {
        let mut random = SmallRng::seed_from_u64(1);
        for bytes in (1..5000).step_by(7) {
            let pieces = pieces(&mut random, bytes);
            assert_eq!(pieces.iter().sum::<usize>(), bytes);
            assert!(!pieces.contains(&0));
        }
    }

    #[test]
    fn each_server_is_told_its_own_token() {
        let slot = Some(TokenSlot { at: 4, key: b"k".to_vec() });
        let command = Command { token: slot, ..Command::of("cas \r\n") };
        let mut tokens = Tokens::default();
        tokens.note(b"k", 17);
        assert_eq!(spelled(TEXT, &[command.clone(), command.clone()], &tokens), b"cas 17\r\ncas 17\r\n");
        let unknown = spelled(TEXT, &[command], &Tokens::default());
        assert_eq!(unknown, format!("cas {}\r\n", u64::MAX).into_bytes());
    }
}
