//! One connection, from its first byte to its last.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use evanesce_wire::Refusal;
use evanesce_wire::encode::error_line;
use evanesce_wire::request::Request;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_util::io::poll_read_buf;

use crate::input::Input;
use crate::intake::{BatchEnd, INPUT_EXHAUSTED, Intake};
use crate::output::Output;
use crate::reply_buffer::ReplyBuffer;
use crate::service::{Flow, Service};
use crate::slot::{Phase, Slot};
use crate::worker::Worker;

/// Reads that bring something, and further batches of what one read brought, before a connection lets others of its
/// thread go first: half a millisecond of small requests.
const TURNS_MAX: u32 = 8;

/// Bytes discarded from a connection that was refused for good or ended by a drain, so that its peer can read what was
/// sent before: more than the buffers of both ends' kernels hold.
const LINGER_BYTES_MAX: usize = 16 << 20;

/// A connection being served.
pub(crate) struct Session<IO, S> {
    stream: IO,
    service: Rc<S>,
    slot: Rc<Slot>,
    intake: Intake,
    input: Input,
    turns: u32,
}

/// What a wait for input ended with.
#[derive(Debug, PartialEq, Eq)]
enum Filled {
    /// Bytes came.
    Bytes,
    /// No more will come, or the worker drains.
    End,
}

/// What to do after the input was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Read on; so many bytes are missing to the next request.
    Read {
        missing: usize,
    },
    /// Let others go first, then answer what is left of the input.
    Again,
    Close,
    /// Close when the peer has had time to read the last line.
    Linger,
}

impl<IO: AsyncRead + AsyncWrite + Unpin, S: Service> Session<IO, S> {
    pub(crate) fn new(stream: IO, service: Rc<S>, slot: Rc<Slot>) -> Self {
        let intake = Intake::new(slot.worker.config.limits);
        Self { stream, service, slot, intake, input: Input::default(), turns: 0 }
    }

    /// Serves until either side closes.
    ///
    /// # Errors
    ///
    /// The connection broke, stalled or exceeded a budget.
    pub(crate) async fn run(mut self) -> io::Result<()> {
        let mut next = Next::Read { missing: 1 };
        while next == Next::Again || poll_fn(|cx| self.poll_fill(cx)).await? == Filled::Bytes {
            next = self.serve().await?;
            match next {
                Next::Read { missing } => self.input.expect(missing, &self.slot.worker.pool),
                Next::Again => {}
                Next::Close => return Ok(()),
                Next::Linger => return self.linger().await,
            }
            self.turns += 1;
            if self.turns >= TURNS_MAX {
                // A peer that never pauses would keep its connection until the drain's deadline cuts it.
                if self.worker().is_draining() && next != Next::Again {
                    return self.linger().await;
                }
                self.turns = 0;
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    fn worker(&self) -> &Worker {
        &self.slot.worker
    }

    /// Reads into a lent buffer, which goes back at once when there is nothing to read.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Filled>> {
        let worker = &self.slot.worker;
        let buffer = self.input.lend(&worker.pool);
        match poll_read_buf(Pin::new(&mut self.stream), cx, buffer) {
            Poll::Ready(Ok(0)) => Poll::Ready(Ok(Filled::End)),
            Poll::Ready(Ok(read)) => {
                worker.mine().bytes_read.add(read);
                self.slot.serving();
                Poll::Ready(Ok(Filled::Bytes))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending if worker.is_draining() => Poll::Ready(Ok(Filled::End)),
            Poll::Pending => {
                self.turns = 0;
                self.input.settle(&worker.pool);
                let phase = if self.input.is_partial() { Phase::Partial } else { Phase::Idle };
                match self.slot.wait(phase, cx.waker()) {
                    Ok(()) => Poll::Pending,
                    Err(error) => Poll::Ready(Err(error)),
                }
            }
        }
    }

    /// Answers all whole requests of the input.
    async fn serve(&mut self) -> io::Result<Next> {
        let bytes = self.input.take();
        let mut replies = self.worker().pool.reply_buffer();
        let mut consumed = 0;
        let next = self.answer(&bytes, &mut consumed, &mut replies).await?;
        self.worker().pool.give_reply_buffer(replies);
        self.input.put_back(bytes, consumed);
        Ok(next)
    }

    async fn answer(
        &mut self,
        bytes: &[u8],
        consumed: &mut usize,
        replies: &mut ReplyBuffer,
    ) -> io::Result<Next> {
        let mut batch = self.worker().pool.batch();
        let next = loop {
            let taken = self.intake.take(&bytes[*consumed..], &mut batch);
            *consumed += taken.consumed;
            let mut out = Output::of_connection(replies, &mut self.stream, &self.slot);
            let is_batch = !batch.is_empty();
            if is_batch {
                self.slot.worker.served(batch.len());
                let flow = self.service.call(&batch, &mut out).await?;
                batch.clear();
                if flow == Flow::Close {
                    break Next::Close;
                }
            }
            if out.is_full() {
                out.flush().await?;
            }
            match taken.end {
                BatchEnd::Incomplete { missing } => {
                    let rest = &bytes[*consumed..];
                    if self.input.admit(rest.len(), missing, &self.slot.worker.counters.input) {
                        break Next::Read { missing };
                    }
                    match self.refuse_value(rest, &mut batch, replies) {
                        Some(skipped) => *consumed += skipped,
                        None => break Next::Linger,
                    }
                }
                end => {
                    if let Some(next) = self.after_batch(end, replies) {
                        break next;
                    }
                    self.turns += u32::from(is_batch);
                    if self.turns >= TURNS_MAX {
                        break Next::Again;
                    }
                }
            }
        };
        self.worker().pool.give_batch(batch);
        Output::of_connection(replies, &mut self.stream, &self.slot).flush().await?;
        Ok(next)
    }

    /// What the end of a batch asks for: `None` is another look at the input.
    fn after_batch(&self, end: BatchEnd, replies: &mut ReplyBuffer) -> Option<Next> {
        match end {
            BatchEnd::Full => None,
            BatchEnd::Incomplete { missing } => Some(Next::Read { missing }),
            BatchEnd::Refused(refusal) => {
                self.refuse(refusal, replies);
                None
            }
            BatchEnd::Fatal(refusal) => {
                self.refuse(refusal, replies);
                Some(Next::Linger)
            }
            BatchEnd::Quit => Some(Next::Close),
            BatchEnd::Binary => {
                self.worker().mine().binary_connections.add(1);
                tracing::debug!(
                    "closed a connection that began with the binary protocol, which is not offered"
                );
                Some(Next::Close)
            }
        }
    }

    fn refuse(&self, refusal: Refusal, replies: &mut ReplyBuffer) {
        self.worker().mine().refused_requests.add(1);
        refusal.encode(replies.buf());
    }

    /// Refuses a request for want of memory to hold its pieces.
    fn refuse_value<'a>(
        &mut self,
        rest: &'a [u8],
        batch: &mut Vec<Request<'a>>,
        replies: &mut ReplyBuffer,
    ) -> Option<usize> {
        self.worker().mine().input_exhausted.add(1);
        let skipped = self.intake.refuse_value(rest, batch);
        if skipped.is_none() {
            error_line(replies.buf(), INPUT_EXHAUSTED);
        }
        skipped
    }

    /// Tells the peer that nothing more will come, then discards what it still sends, within limits: closing with
    /// bytes unread would reset the connection, and the peer might never see the last line.
    async fn linger(mut self) -> io::Result<()> {
        self.stream.shutdown().await?;
        let mut discarded = 0;
        while discarded < LINGER_BYTES_MAX {
            match poll_fn(|cx| self.poll_discard(cx)).await? {
                0 => break,
                read => discarded += read,
            }
        }
        Ok(())
    }

    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let worker = &self.slot.worker;
        let mut buffer = worker.pool.read_buffer();
        let read = poll_read_buf(Pin::new(&mut self.stream), cx, &mut buffer);
        worker.pool.give_read_buffer(buffer);
        match read {
            Poll::Pending => self
                .slot
                .wait(Phase::Lingering, cx.waker())
                .map_or_else(|e| Poll::Ready(Err(e)), |()| Poll::Pending),
            ready @ Poll::Ready(_) => ready,
        }
    }
}

#[cfg(test)]
mod tests;
