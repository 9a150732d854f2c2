//! One connection, from its first byte to its last.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use evanesce_wire::encode::error_line;
use evanesce_wire::request::Request;
use evanesce_wire::{Refusal, binary};
use tokio_util::io::poll_read_buf;

use crate::input::{Input, Need};
use crate::intake::{BatchEnd, INPUT_EXHAUSTED, Intake};
use crate::output::Output;
use crate::peer::Peer;
use crate::pool::{Kit, READ_BUFFER_BYTES};
use crate::refusal::{HandshakeRefusal, is_greeting};
use crate::reply_buffer::ReplyBuffer;
use crate::serve::refuse;
use crate::service::{Flow, Service};
use crate::slot::{Held, Phase, Slot};
use crate::worker::Worker;

mod prove;

pub(crate) use prove::PROOF_MAX;

/// Reads that bring something, and further batches of what one read brought, before a connection lets others of its
/// thread go first: half a millisecond of small requests.
const TURNS_MAX: u32 = 8;

/// Bytes discarded from a connection that was refused for good or ended by a drain, so that its peer can read what was
/// sent before: more than the buffers of both ends' kernels hold.
const LINGER_BYTES_MAX: usize = 16 << 20;

/// What somebody is told who speaks TLS where plain text is wanted.
const SPEAKS_NO_TLS: &str = "CLIENT_ERROR this port speaks no TLS";

/// How often a connection that waits for memory to hold a request may make others close: each time some of it is free,
/// unless others were faster.
const RELIEFS_MAX: usize = 4;

/// A connection being served.
pub(crate) struct Session<IO, S> {
    stream: IO,
    service: Rc<S>,
    slot: Rc<Slot>,
    intake: Intake,
    input: Input,
    /// Lent while there is something to do.
    kit: Option<Box<Kit>>,
    turns: u32,
    /// The last read took all there was.
    drained: bool,
    /// Its peer must authenticate, and has not yet.
    is_proving: bool,
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

impl<IO: Peer, S: Service> Session<IO, S> {
    pub(crate) fn new(stream: IO, service: Rc<S>, slot: Rc<Slot>) -> Self {
        let intake = Intake::new(slot.worker.config.limits);
        let input = Input::default();
        Self { stream, service, slot, intake, input, kit: None, turns: 0, drained: false, is_proving: false }
    }

    /// Serves until either side closes; nobody who must authenticate and has not.
    ///
    /// # Errors
    ///
    /// The connection broke, stalled or exceeded a budget.
    pub(crate) async fn run(mut self, must_authenticate: bool) -> io::Result<()> {
        let mut next = self.begin(must_authenticate).await?;
        loop {
            match next {
                Next::Read { .. } if poll_fn(|cx| self.poll_fill(cx)).await? == Filled::End => break,
                Next::Read { .. } | Next::Again => {}
                Next::Close => break,
                Next::Linger => return self.linger().await,
            }
            next = self.serve().await?;
            self.turns += 1;
            if self.turns >= TURNS_MAX && matches!(next, Next::Read { .. } | Next::Again) {
                // A peer that never pauses would keep its connection until the drain's deadline cuts it.
                if self.worker().is_draining() && next != Next::Again {
                    return self.linger().await;
                }
                self.turns = 0;
                tokio::task::yield_now().await;
            }
        }
        poll_fn(|cx| self.poll_part(cx)).await;
        Ok(())
    }

    /// Waits for the first bytes, and for a peer that must authenticate to have done so.
    async fn begin(&mut self, must_authenticate: bool) -> io::Result<Next> {
        self.is_proving = must_authenticate;
        let since = self.worker().now();
        if poll_fn(|cx| self.poll_fill(cx)).await? == Filled::End {
            return Ok(Next::Close);
        }
        if IO::KEEPS_BYTES_MAX == 0 && self.kit.as_ref().is_some_and(|kit| is_greeting(&kit.read)) {
            return self.refuse_tls().await;
        }
        if must_authenticate { self.prove(since).await } else { Ok(Next::Again) }
    }

    /// Who speaks TLS here would wait for an answer that makes sense.
    #[cold]
    async fn refuse_tls(&mut self) -> io::Result<Next> {
        refuse(&self.slot, HandshakeRefusal::PlainPort.into());
        if let Some(kit) = &mut self.kit {
            error_line(kit.replies.buf(), SPEAKS_NO_TLS);
        }
        poll_fn(|cx| self.poll_flush(cx)).await?;
        Ok(Next::Linger)
    }

    /// Tells the peer that nothing more will come, where what lies between has a word for that. It is not waited for.
    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if IO::KEEPS_BYTES_MAX > 0 {
            // An error means that the peer is gone.
            let _ = Pin::new(&mut self.stream).poll_shutdown(cx);
        }
        Poll::Ready(())
    }

    fn worker(&self) -> &Worker {
        &self.slot.worker
    }

    /// Reads into a lent buffer, which goes back at once when there is nothing to read.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Filled>> {
        if std::mem::take(&mut self.drained) && self.stream.poll_readable(cx).is_pending() {
            return self.poll_wait(cx);
        }
        let worker = &self.slot.worker;
        let kit = self.kit.get_or_insert_with(|| worker.pool.lend());
        let buffer = self.input.buffer(kit);
        let room = buffer.capacity() - buffer.len();
        match poll_read_buf(Pin::new(&mut self.stream), cx, buffer) {
            Poll::Ready(Ok(0)) => Poll::Ready(Ok(Filled::End)),
            Poll::Ready(Ok(read)) => {
                worker.mine().bytes_read.add(read);
                self.slot.serving();
                self.drained = read < room;
                Poll::Ready(Ok(Filled::Bytes))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => self.poll_wait(cx),
        }
    }

    /// There is nothing to read: gives back what was lent and waits.
    fn poll_wait(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Filled>> {
        let worker = &self.slot.worker;
        if worker.is_draining() {
            return Poll::Ready(Ok(Filled::End));
        }
        self.turns = 0;
        if let Some(mut kit) = self.kit.take() {
            self.input.settle(&mut kit);
            worker.pool.take_back(kit);
        }
        let phase = match () {
            () if self.is_proving => Phase::Proving,
            () if self.input.is_partial() || self.stream.is_partial() => Phase::Partial,
            () => Phase::Idle,
        };
        self.slot.wait(phase, cx.waker()).map_or_else(|e| Poll::Ready(Err(e)), |()| Poll::Pending)
    }

    /// Answers all whole requests of the input.
    async fn serve(&mut self) -> io::Result<Next> {
        let mut kit = self.kit.take().unwrap_or_else(|| self.slot.worker.pool.lend());
        let bytes = self.input.take(&mut kit);
        let mut batch = kit.take_batch();
        let mut consumed = 0;
        let next = self.answer(&bytes, &mut consumed, &mut kit.replies, &mut batch).await?;
        kit.put_batch(batch);
        self.input.put_back(&mut kit, bytes, consumed);
        if let Next::Read { missing } = next {
            self.input.expect(missing, &mut kit);
        }
        let is_answered = !kit.replies.is_empty();
        self.kit = Some(kit);
        if is_answered {
            poll_fn(|cx| self.poll_flush(cx)).await?;
        }
        Ok(next)
    }

    /// Writes all replies. While its peer does not read, a connection holds what is unread, and the part of a request
    /// that it sent.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(mut kit) = self.kit.take() else { return Poll::Ready(Ok(())) };
        let mut out = Output::of_connection(&mut kit.replies, &mut self.stream, &self.slot, 0);
        let flushed = out.poll_write_all(cx);
        if flushed.is_ready() {
            // What was set aside was made for the wait.
            self.kit = (!self.slot.wrote()).then_some(kit);
            return flushed;
        }
        self.input.settle(&mut kit);
        if !self.slot.is_writing() {
            kit = kit.set_aside(&self.slot.worker.pool);
        }
        let holds = self.input.capacity();
        let mut out = Output::of_connection(&mut kit.replies, &mut self.stream, &self.slot, holds);
        let blocked = out.poll_blocked(cx);
        self.kit = Some(kit);
        blocked
    }

    async fn answer<'b>(
        &mut self,
        bytes: &'b [u8],
        consumed: &mut usize,
        replies: &mut ReplyBuffer,
        batch: &mut Vec<Request<'b>>,
    ) -> io::Result<Next> {
        loop {
            let taken = self.intake.take(&bytes[*consumed..], batch);
            *consumed += taken.consumed;
            let is_batch = !batch.is_empty();
            if is_batch {
                self.slot.worker.served(batch.len());
                let holds = READ_BUFFER_BYTES + batch.capacity() * size_of::<Request<'_>>();
                let mut out = Output::of_connection(replies, &mut self.stream, &self.slot, holds);
                let flow = self.service.call(batch, &mut out).await?;
                batch.clear();
                if flow == Flow::Close {
                    return Ok(Next::Close);
                }
            }
            if let BatchEnd::Incomplete { missing } = taken.end {
                let rest = &bytes[*consumed..];
                let need = Need::of(rest.len(), missing);
                if self.slot.hold_input(need, *consumed > 0) || self.find_room(need).await {
                    return Ok(Next::Read { missing });
                }
                match self.refuse_value(rest, batch, replies) {
                    Some(skipped) => *consumed += skipped,
                    None => return Ok(Next::Linger),
                }
            } else {
                if let Some(next) = self.after_batch(taken.end, replies) {
                    return Ok(next);
                }
                self.turns += u32::from(is_batch);
                if self.turns >= TURNS_MAX {
                    return Ok(Next::Again);
                }
            }
            if replies.is_full() {
                Output::of_connection(replies, &mut self.stream, &self.slot, READ_BUFFER_BYTES)
                    .flush()
                    .await?;
            }
        }
    }

    /// Waits for memory to hold a request, if there are others to close that hold theirs for long.
    async fn find_room(&self, need: Option<Need>) -> bool {
        let bytes = need.map_or(0, |need| need.room);
        for _ in 0..RELIEFS_MAX {
            if !self.worker().relieve(Held::Input, bytes) {
                return false;
            }
            // Those that were closed go first.
            tokio::task::yield_now().await;
            if self.slot.hold_input(need, false) {
                return true;
            }
        }
        false
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
            BatchEnd::Quit(answer) => {
                if let Some(head) = answer {
                    binary::encode::done(replies.buf(), head, 0);
                }
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

    async fn linger(mut self) -> io::Result<()> {
        linger(&mut self.stream, &self.slot).await
    }
}

/// Tells the peer that nothing more will come, then discards what it still sends, within limits: closing with bytes
/// unread would reset the connection, and the peer might never see the last line.
pub(crate) async fn linger<IO: Peer>(stream: &mut IO, slot: &Slot) -> io::Result<()> {
    poll_fn(|cx| match Pin::new(&mut *stream).poll_shutdown(cx) {
        Poll::Pending => poll_linger(slot, cx),
        told @ Poll::Ready(_) => told,
    })
    .await?;
    let mut discarded = 0;
    while discarded < LINGER_BYTES_MAX {
        match poll_fn(|cx| poll_discard(stream, slot, cx)).await? {
            0 => break,
            read => discarded += read,
        }
    }
    Ok(())
}

fn poll_discard<IO: Peer>(stream: &mut IO, slot: &Slot, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
    let mut kit = slot.worker.pool.lend();
    let read = poll_read_buf(Pin::new(stream), cx, kit.read_buffer());
    slot.worker.pool.take_back(kit);
    match read {
        Poll::Pending => poll_linger(slot, cx),
        ready @ Poll::Ready(_) => ready,
    }
}

fn poll_linger<T>(slot: &Slot, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
    slot.wait(Phase::Lingering, cx.waker()).map_or_else(|error| Poll::Ready(Err(error)), |()| Poll::Pending)
}

#[cfg(test)]
mod tests;
