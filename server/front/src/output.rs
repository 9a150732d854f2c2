//! The way out of a connection, as a service sees it.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::peer::Peer;
use crate::reply_buffer::{ReplyBuffer, SLICES_MAX};
use crate::slot::Slot;

/// Bytes a peer sends that are read at once to be dropped.
const DISCARD_BYTES: usize = 1024;

/// Both ways of a connection.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin {}

impl<IO: AsyncRead + AsyncWrite + Unpin> Duplex for IO {}

/// Takes replies and writes them to the socket, with back-pressure.
pub struct Output<'a> {
    replies: &'a mut ReplyBuffer,
    stream: Pin<&'a mut (dyn Duplex + 'a)>,
    connection: Option<Connection<'a>>,
}

/// Whose output it is.
#[derive(Clone, Copy)]
struct Connection<'a> {
    slot: &'a Slot,
    /// Bytes of memory it holds beside the replies while it waits to write.
    holds: usize,
    /// What was written may be kept on the way, and must be flushed.
    must_flush: bool,
}

impl std::fmt::Debug for Output<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Output").field("replies", &self.replies).finish_non_exhaustive()
    }
}

impl<'a> Output<'a> {
    /// An output into any stream, without a connection's limits: for tests of services.
    pub fn new(replies: &'a mut ReplyBuffer, stream: &'a mut (dyn Duplex + 'a)) -> Self {
        Self { replies, stream: Pin::new(stream), connection: None }
    }

    /// An output of a served connection, which holds so many bytes beside the replies while it waits to write.
    pub(crate) fn of_connection<IO: Peer>(
        replies: &'a mut ReplyBuffer,
        stream: &'a mut IO,
        slot: &'a Slot,
        holds: usize,
    ) -> Self {
        let must_flush = IO::KEEPS_BYTES_MAX > 0;
        let connection = Connection { slot, holds: holds + IO::KEEPS_BYTES_MAX, must_flush };
        Self { replies, stream: Pin::new(stream), connection: Some(connection) }
    }

    /// Where encoders append.
    pub fn buf(&mut self) -> &mut Vec<u8> {
        self.replies.buf()
    }

    /// Appends a value without copying it, if it is large ([`crate::PINNED_BYTES_MIN`]).
    pub fn push(&mut self, value: Bytes) {
        self.replies.push(value);
    }

    /// The replies not yet written, for code that only appends.
    pub fn replies(&mut self) -> &mut ReplyBuffer {
        self.replies
    }

    /// It holds [`crate::OUTPUT_FULL_BYTES`] or more: flush before adding another item.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.replies.is_full()
    }

    /// Writes all that was appended, and lets other connections go first: a reply long enough to be flushed before its
    /// end has taken its turn. Cancel-safe: what was written is not written again.
    ///
    /// # Errors
    ///
    /// The connection is gone, its peer reads too slowly, or replies to slow readers exceed their budget. The
    /// connection does not survive; nothing may be retried on it.
    pub async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_flush(cx)).await?;
        tokio::task::yield_now().await;
        Ok(())
    }

    /// The number of the connection, as [`Connection::id`](crate::Connection::id) tells; 0 without one.
    #[must_use]
    pub fn connection_id(&self) -> u64 {
        self.connection.map_or(0, |connection| connection.slot.connection.id())
    }

    /// Reads and drops what the peer sends, until it hangs up or the front drains: for a service that has nothing more
    /// to answer but something to tell. Cancel-safe.
    pub async fn hung_up(&mut self) {
        poll_fn(|cx| self.poll_hung_up(cx)).await;
    }

    fn poll_hung_up(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut dropped = [0; DISCARD_BYTES];
        let mut read = ReadBuf::new(&mut dropped);
        match self.stream.as_mut().poll_read(cx, &mut read) {
            Poll::Ready(Ok(())) if !read.filled().is_empty() => {
                // More may be there; others go first.
                cx.waker().wake_by_ref();
            }
            Poll::Ready(_) => return Poll::Ready(()),
            Poll::Pending => {}
        }
        let Some(Connection { slot, .. }) = self.connection else { return Poll::Pending };
        if slot.worker.is_draining() {
            return Poll::Ready(());
        }
        slot.listen(cx.waker());
        Poll::Pending
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = self.poll_write_all(cx);
        if flushed.is_pending() {
            return self.poll_blocked(cx);
        }
        if let Some(connection) = self.connection {
            connection.slot.wrote();
        }
        flushed
    }

    /// The peer does not read: waits, unless that takes too long or too much.
    pub(crate) fn poll_blocked(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(connection) = self.connection else { return Poll::Pending };
        let bytes = self.replies.held_len() + connection.holds;
        let waits = connection.slot.wait_to_write(bytes, cx.waker());
        waits.map_or_else(|error| Poll::Ready(Err(error)), |()| Poll::Pending)
    }

    /// Writes all that was appended, as far as the peer takes it.
    pub(crate) fn poll_write_all(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.replies.is_empty() {
            let written = ready!(self.poll_write(cx))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.replies.advance(written);
            if let Some(connection) = self.connection {
                connection.slot.progressed(written);
            }
        }
        if self.connection.is_some_and(|connection| connection.must_flush) {
            return self.stream.as_mut().poll_flush(cx);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if let Some(bytes) = self.replies.single() {
            return self.stream.as_mut().poll_write(cx, bytes);
        }
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let slices = self.replies.slices(&mut slices);
        self.stream.as_mut().poll_write_vectored(cx, slices)
    }
}
