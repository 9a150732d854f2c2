//! One connection while it lasts: writes what callers queued, matches replies with requests.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use evanesce_wire::ReplyDecoder;
use evanesce_wire::reply::Reply;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::cause::Cause;
use crate::error::{TransportError, Violation};
use crate::greeting::Greeting;
use crate::options::after;
use crate::pulse::Pulse;
use crate::queue::{Pending, Shared, WRITE_BUFFER_KEPT_BYTES_MAX};
use crate::stall::{LOOKS_PER_TIMEOUT, Look, StallWatch};
use crate::stream::Stream;

/// One read takes up to this much: some dozens of small replies, one system call.
const READ_BYTES: usize = 16 << 10;

/// So many bytes of a reply are progress, though the reply is not whole: fewer in a whole stall timeout are none.
const PROGRESS_BYTES: u64 = 64 << 10;

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// No handle is left.
    Retired,
    /// The peer closed it.
    EndOfFile,
    /// Reading or writing failed.
    Io(io::ErrorKind),
    /// The peer stopped answering.
    Stalled,
    /// The peer broke the protocol.
    Violation(Violation),
}

pub(crate) struct Session<'a, S> {
    shared: &'a Shared,
    stream: S,
    /// Bytes taken from the queue, not yet taken by the stream.
    unwritten: BytesMut,
    write_blocked: bool,
    input: BytesMut,
    decoder: ReplyDecoder,
    in_flight: VecDeque<Pending>,
    /// Replies of the present step, completed together.
    done: Vec<(Pending, Reply)>,
    replies: u64,
    /// Bytes read: a reply of many values is on its way for long.
    received: u64,
    watch: StallWatch,
    look: Pin<Box<Sleep>>,
    watching: bool,
    pulse: Pulse,
}

impl<'a, S: Stream> Session<'a, S> {
    pub(crate) fn new(shared: &'a Shared, stream: S, greeting: Greeting) -> Self {
        shared.set_up(stream.inline_writer(), greeting);
        Self {
            shared,
            stream,
            unwritten: BytesMut::new(),
            write_blocked: false,
            input: BytesMut::new(),
            decoder: ReplyDecoder::new(),
            in_flight: VecDeque::new(),
            done: Vec::new(),
            replies: 0,
            received: 0,
            watch: StallWatch::default(),
            look: Box::pin(sleep_until(next_look(shared))),
            watching: true,
            pulse: Pulse::default(),
        }
    }

    /// Serves until the connection ends.
    pub(crate) async fn run(&mut self) -> Loss {
        poll_fn(|cx| self.poll(cx)).await
    }

    /// Whether the peer has answered anything: only then it counts as back.
    pub(crate) fn has_answered(&self) -> bool {
        self.replies > 0
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Loss> {
        loop {
            let held_back = self.holds_back();
            if let Some(loss) = self.take_queued(cx) {
                return Poll::Ready(loss);
            }
            if let Poll::Ready(Err(error)) = self.poll_write(cx) {
                return Poll::Ready(Loss::Io(error.kind()));
            }
            match self.poll_read(cx) {
                Poll::Ready(loss) => return Poll::Ready(loss),
                // There is room now for requests that were left in the queue: nobody else would send them.
                Poll::Pending if held_back && !self.holds_back() => {}
                Poll::Pending => {
                    self.pulse.poll(cx);
                    return self.poll_look(cx);
                }
            }
        }
    }

    /// Whether requests stay in the queue: the socket takes no more, or too many replies are due.
    fn holds_back(&self) -> bool {
        !self.unwritten.is_empty() || self.in_flight.len() >= self.shared.options.in_flight_max
    }

    /// Takes what callers left and says where to wake; why to end, when no handle is left or a caller found a reply wrong.
    fn take_queued(&mut self, cx: &mut Context<'_>) -> Option<Loss> {
        let mut inner = self.shared.inner.lock();
        if !inner.session.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            inner.session = Some(cx.waker().clone());
        }
        if !self.holds_back() {
            mem::swap(&mut self.unwritten, &mut inner.out);
            self.in_flight.append(&mut inner.queued);
        }
        if !self.watching && !self.in_flight.is_empty() {
            inner.unwatched = false;
            self.watching = true;
            self.look.as_mut().reset(next_look(self.shared));
        }
        if inner.retired { Some(Loss::Retired) } else { inner.distrusted.map(Loss::Violation) }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let before = self.unwritten.len();
        let written = self.stream.poll_write_all(cx, &mut self.unwritten);
        if before > 0 {
            self.shared.options.count_written(before - self.unwritten.len());
        }
        self.set_write_blocked(written.is_pending());
        ready!(written)?;
        if self.unwritten.capacity() > WRITE_BUFFER_KEPT_BYTES_MAX {
            self.unwritten = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }

    fn set_write_blocked(&mut self, blocked: bool) {
        if self.write_blocked != blocked {
            self.write_blocked = blocked;
            self.shared.inner.lock().write_blocked = blocked;
        }
    }

    /// Ready only with the end of the connection.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Loss> {
        loop {
            self.input
                .reserve(self.decoder.missing().min(self.shared.options.reply_bytes_max).max(READ_BYTES));
            match ready!(self.stream.poll_read(cx, &mut self.input)) {
                Ok(0) => return Poll::Ready(Loss::EndOfFile),
                Ok(bytes) => {
                    self.received += bytes as u64;
                    self.shared.options.count_read(bytes);
                }
                Err(error) => return Poll::Ready(Loss::Io(error.kind())),
            }
            let decoded = self.decode(cx);
            self.complete();
            if let Err(loss) = decoded {
                return Poll::Ready(loss);
            }
        }
    }

    fn decode(&mut self, cx: &mut Context<'_>) -> Result<(), Loss> {
        while !self.input.is_empty() {
            if self.in_flight.is_empty()
                && let Some(loss) = self.take_queued(cx)
            {
                return Err(loss);
            }
            let Some(first) = self.in_flight.front() else {
                return Err(Loss::Violation(Violation::Unasked));
            };
            let reply = self.decoder.decode(&mut self.input, first.expect);
            let Some(reply) = reply.map_err(|_| Loss::Violation(Violation::Unreadable))? else {
                return self.check_size();
            };
            if let Some(opaque) = &first.opaque {
                opaque.check(&reply).map_err(Loss::Violation)?;
            }
            let pending = self.in_flight.pop_front().expect("the front was just looked at");
            self.done.push((pending, reply));
        }
        Ok(())
    }

    fn check_size(&self) -> Result<(), Loss> {
        if self.input.len() + self.decoder.missing() > self.shared.options.reply_bytes_max {
            return Err(Loss::Violation(Violation::TooLarge));
        }
        Ok(())
    }

    /// Hands out replies. The counts go down first, so that a caller that asks again finds an idle connection.
    fn complete(&mut self) {
        if self.done.is_empty() {
            return;
        }
        self.replies += self.done.len() as u64;
        self.pulse.on_replies(self.done.len());
        self.shared.answered(self.done.iter().map(|(pending, _)| pending));
        for (pending, reply) in self.done.drain(..) {
            pending.target.complete(pending.token, Ok(reply));
        }
    }

    fn poll_look(&mut self, cx: &mut Context<'_>) -> Poll<Loss> {
        while self.watching {
            ready!(self.look.as_mut().poll(cx));
            let due = self.shared.inner.lock().outstanding > 0;
            match self.watch.look(self.replies + self.received / PROGRESS_BYTES, due) {
                Look::Stalled => return Poll::Ready(Loss::Stalled),
                Look::Fine => self.look.as_mut().reset(next_look(self.shared)),
                Look::Idle => self.stop_watching(),
            }
        }
        Poll::Pending
    }

    /// Until a request comes. One that came in this instant is looked after.
    fn stop_watching(&mut self) {
        let mut inner = self.shared.inner.lock();
        if inner.outstanding == 0 {
            inner.unwatched = true;
            self.watching = false;
        } else {
            self.look.as_mut().reset(next_look(self.shared));
        }
    }
}

impl<S> Session<'_, S> {
    /// What waits for a reply that will not come.
    pub(crate) fn take_unanswered(&mut self) -> VecDeque<Pending> {
        mem::take(&mut self.in_flight)
    }
}

/// Runs when the session's runtime goes away in the middle.
impl<S> Drop for Session<'_, S> {
    fn drop(&mut self) {
        fail(self.take_unanswered(), TransportError::Closed { address: self.shared.address, sent: true });
    }
}

impl Loss {
    /// What a request that waited for its reply is told.
    pub(crate) fn error(self, shared: &Shared) -> TransportError {
        let address = shared.address;
        match self {
            Self::Violation(violation) => TransportError::Protocol { address, violation },
            _ => TransportError::Closed { address, sent: true },
        }
    }

    /// What later requests are told while there is no connection.
    pub(crate) fn cause(self) -> Cause {
        match self {
            Self::Io(kind) => Cause::Io(kind),
            Self::Stalled => Cause::Io(io::ErrorKind::TimedOut),
            Self::Violation(violation) => Cause::Violation(violation),
            Self::EndOfFile | Self::Retired => Cause::Io(io::ErrorKind::ConnectionReset),
        }
    }
}

/// Completes requests that get no reply.
pub(crate) fn fail(requests: impl IntoIterator<Item = Pending>, error: TransportError) {
    for pending in requests {
        pending.target.complete(pending.token, Err(error));
    }
}

fn next_look(shared: &Shared) -> Instant {
    after(Instant::now(), shared.options.stall_timeout / LOOKS_PER_TIMEOUT)
}
