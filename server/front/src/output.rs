//! The way out of a connection, as a service sees it.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::AsyncWrite;

use crate::reply_buffer::{ReplyBuffer, SLICES_MAX};
use crate::slot::Slot;

/// Takes replies and writes them to the socket, with back-pressure.
pub struct Output<'a> {
    replies: &'a mut ReplyBuffer,
    stream: Pin<&'a mut (dyn AsyncWrite + Unpin + 'a)>,
    slot: Option<&'a Slot>,
}

impl std::fmt::Debug for Output<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Output").field("replies", &self.replies).finish_non_exhaustive()
    }
}

impl<'a> Output<'a> {
    /// An output into any stream, without a connection's limits: for tests of services.
    pub fn new(replies: &'a mut ReplyBuffer, stream: &'a mut (dyn AsyncWrite + Unpin + 'a)) -> Self {
        Self { replies, stream: Pin::new(stream), slot: None }
    }

    /// An output of a served connection.
    pub(crate) fn of_connection<IO: AsyncWrite + Unpin>(
        replies: &'a mut ReplyBuffer,
        stream: &'a mut IO,
        slot: &'a Slot,
    ) -> Self {
        Self { replies, stream: Pin::new(stream), slot: Some(slot) }
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

    /// Writes all that was appended. Cancel-safe: what was written is not written again.
    ///
    /// # Errors
    ///
    /// The connection is gone, its peer reads too slowly, or replies to slow readers exceed their budget. The
    /// connection does not survive; nothing may be retried on it.
    pub async fn flush(&mut self) -> io::Result<()> {
        let flushed = poll_fn(|cx| self.poll_flush(cx)).await;
        if let Some(slot) = self.slot {
            slot.wrote();
        }
        flushed
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.replies.is_empty() {
            match self.poll_write(cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => {
                    self.replies.advance(written);
                    if let Some(slot) = self.slot {
                        slot.progressed(written);
                    }
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return self.blocked(cx),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if let Some(bytes) = self.replies.single() {
            return self.stream.as_mut().poll_write(cx, bytes);
        }
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let slices = self.replies.slices(&mut slices);
        let written = ready!(self.stream.as_mut().poll_write_vectored(cx, slices));
        Poll::Ready(written)
    }

    /// The peer does not read: wait, unless that takes too long or too much.
    fn blocked(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.slot.map(|slot| slot.wait_to_write(self.replies.owned_len(), cx.waker())) {
            Some(Err(error)) => Poll::Ready(Err(error)),
            Some(Ok(())) | None => Poll::Pending,
        }
    }
}
