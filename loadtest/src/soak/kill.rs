//! Ways to end a connection that no server may suffer from.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::SmallRng;
use serde::Serialize;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long sending or reading before the end may take: the server may not read on, as nobody reads its answers.
const LIMIT: Duration = Duration::from_millis(500);
/// Most of an answer that is read before the end.
const READ_BYTES_MAX: usize = 4096;

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) moment: Moment,
    /// Bytes of the batch that are sent before.
    pub(super) sent: usize,
    /// Bytes of answers that are read before.
    pub(super) read: usize,
    /// With a reset instead of a close.
    pub(super) reset: bool,
}

/// When a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Moment {
    /// With nothing sent and nothing on its way.
    Idle,
    /// Within a request.
    HalfSent,
    /// With a batch sent and no answer read.
    Sent,
    /// Within the answers.
    MidReply,
}

impl Way {
    /// Draws a way for a batch of so many bytes.
    pub(super) fn draw(random: &mut SmallRng, batch_bytes: usize) -> Way {
        let moments = [Moment::Idle, Moment::HalfSent, Moment::Sent, Moment::MidReply];
        let moment = moments[random.random_range(0..moments.len())];
        let sent = match moment {
            Moment::Idle => 0,
            Moment::HalfSent => random.random_range(1..batch_bytes.max(2)).min(batch_bytes),
            Moment::Sent | Moment::MidReply => batch_bytes,
        };
        let read = if moment == Moment::MidReply { random.random_range(1..READ_BYTES_MAX) } else { 0 };
        Way { moment, sent, read, reset: random.random_ratio(2, 3) }
    }
}

/// Ends a connection so.
pub(super) async fn kill(mut stream: TcpStream, way: Way, batch: &[u8]) {
    // Whatever fails here, or takes too long, ends the connection all the same, and that is what is wanted.
    let _ = timeout(LIMIT, stream.write_all(&batch[..way.sent])).await;
    if way.read > 0 {
        let mut part = vec![0; way.read];
        let _ = timeout(LIMIT, stream.read(&mut part)).await;
    }
    if way.reset {
        // A linger of nothing makes the close a reset.
        let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    }
}
