//! What a worker knows of each of its connections: what it waits for, and since when.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use crate::connection::Connection;
use crate::hold::Hold;
use crate::input::Need;
use crate::session::PROOF_MAX;
use crate::worker::Worker;

/// How long a connection that is done with may go on sending before it is cut: long enough for its peer to
/// read why.
const LINGER_MAX: Duration = Duration::from_secs(2);

/// How long a peer may take to begin a handshake of TLS, and then to end it: some round trips on the worst of links.
pub(crate) const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// The same while others wait for their turn: some round trips on most links, so that a few who never end keep nobody
/// waiting for long.
pub(crate) const HANDSHAKE_CROWDED_MAX: Duration = Duration::from_secs(2);

/// What a connection does.
///
/// ```text
///   Greeting ──▶ Handshaking ──▶ Proving ──▶ Serving: what a listener asks for, before all else
///
///            readable                 replies unread
///   Idle ───────────────▶ Serving ◀──────────────────▶ Writing
///    ▲ └── whole batch ──┘  │ ▲ └─── fatal refusal ──▶ Lingering
///    └──────────────────────┘ └─────── readable ────── Partial ◀─ half a request
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Waits for a request. Owns no buffer.
    Idle,
    /// Waits for the rest of a request.
    Partial,
    /// Is being served.
    Serving,
    /// Waits for its peer to read.
    Writing,
    /// Refused for good or ended by a drain; waits for its peer to close.
    Lingering,
    /// Waits for its peer to begin the handshake of TLS, or for its turn.
    Greeting,
    /// Waits for what its peer has to say in the handshake of TLS.
    Handshaking,
    /// Waits for its peer to authenticate.
    Proving,
}

/// What a connection may hold memory for while it waits for its peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Held {
    /// A request that is not whole.
    Input,
    /// Replies that are not read.
    Output,
}

/// One connection, as its worker sees it.
pub(crate) struct Slot {
    pub(crate) worker: Rc<Worker>,
    /// As others see it; what it does stands there.
    pub(crate) connection: Arc<Connection>,
    since: Cell<Duration>,
    expired: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    /// What a request that is not whole holds.
    input: Hold,
    /// What replies hold that the peer has not read.
    output: Hold,
}

impl Slot {
    pub(crate) fn new(worker: Rc<Worker>, connection: Arc<Connection>) -> Rc<Self> {
        let since = Cell::new(worker.now());
        let slot = Rc::new(Self {
            worker,
            connection,
            since,
            expired: Cell::new(false),
            waker: RefCell::default(),
            input: Hold::default(),
            output: Hold::default(),
        });
        slot.worker.add_slot(&slot);
        slot
    }

    /// What the connection does.
    #[cfg(test)]
    pub(crate) fn phase(&self) -> Phase {
        self.connection.phase()
    }

    /// The connection has something to do.
    pub(crate) fn serving(&self) {
        self.connection.set_phase(Phase::Serving);
        self.connection.heard(self.worker.now());
    }

    /// The connection waits to read.
    ///
    /// # Errors
    ///
    /// It waited too long.
    pub(crate) fn wait(&self, phase: Phase, waker: &Waker) -> io::Result<()> {
        if self.expired.get() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        if self.connection.phase() != phase {
            self.connection.set_phase(phase);
            self.since.set(self.worker.now());
        }
        self.listen(waker);
        Ok(())
    }

    /// Whom to wake when the connection is to look again at what it is told.
    pub(crate) fn listen(&self, waker: &Waker) {
        let mut known = self.waker.borrow_mut();
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
    }

    /// Asks whether a request that is not whole may be waited for. It counts against the budget until the next is asked
    /// for; `progressed` when others were whole since.
    #[inline]
    pub(crate) fn hold_input(&self, need: Option<Need>, progressed: bool) -> bool {
        if progressed {
            self.input.renew(self.worker.now());
        }
        match need {
            None => {
                self.input.release();
                true
            }
            Some(need) => {
                let kept = need.exact..=need.exact.saturating_mul(2);
                self.input.cover(kept, need.room, &self.worker.counters.input, self.worker.now())
            }
        }
    }

    /// The connection waits to write, holding `bytes` of memory, which count against the budget of unread replies
    /// meanwhile.
    ///
    /// # Errors
    ///
    /// It waited too long, or the budget is exhausted.
    pub(crate) fn wait_to_write(&self, bytes: usize, waker: &Waker) -> io::Result<()> {
        self.wait(Phase::Writing, waker)?;
        if self.output.cover(bytes..=usize::MAX, bytes, &self.worker.counters.output, self.worker.now()) {
            return Ok(());
        }
        if self.worker.relieve(Held::Output, bytes) {
            // Once those that were closed are gone.
            waker.wake_by_ref();
            return Ok(());
        }
        self.worker.mine().output_exhausted.add(1);
        Err(io::ErrorKind::OutOfMemory.into())
    }

    /// Since when the connection holds memory of a kind without progress, and how much.
    pub(crate) fn holds(&self, held: Held) -> Option<(Duration, usize)> {
        if self.expired.get() {
            return None;
        }
        match held {
            Held::Input => self.input.held(),
            Held::Output => self.output.held(),
        }
    }

    /// Closes the connection, for others need the memory that it holds.
    pub(crate) fn close_stalled(&self) {
        self.expired.set(true);
        self.worker.mine().stalled_connections.add(1);
        self.wake();
    }

    /// The peer took some bytes.
    pub(crate) fn progressed(&self, bytes: usize) {
        self.worker.mine().bytes_written.add(bytes);
        if self.connection.phase() == Phase::Writing {
            self.since.set(self.worker.now());
        }
    }

    /// The peer took all there was, or will take no more. True when the connection had to wait for that.
    #[inline]
    pub(crate) fn wrote(&self) -> bool {
        let waited = self.is_writing();
        if waited {
            self.connection.set_phase(Phase::Serving);
            self.output.release();
        }
        waited
    }

    /// The connection waits for its peer to read.
    pub(crate) fn is_writing(&self) -> bool {
        self.connection.phase() == Phase::Writing
    }

    /// Closes the connection if it has been waiting too long.
    pub(crate) fn sweep(&self, now: Duration) {
        let config = &self.worker.config;
        let limit = match self.connection.phase() {
            Phase::Serving => None,
            Phase::Idle => config.idle_timeout,
            Phase::Partial => Some(config.read_stall),
            Phase::Writing => Some(config.write_stall),
            Phase::Lingering => Some(LINGER_MAX),
            Phase::Handshaking if self.worker.handshakes.available_permits() == 0 => {
                Some(HANDSHAKE_CROWDED_MAX)
            }
            Phase::Greeting | Phase::Handshaking => Some(HANDSHAKE_MAX),
            Phase::Proving => Some(PROOF_MAX),
        };
        let waited = now.saturating_sub(self.since.get());
        if limit.is_none_or(|limit| waited <= limit) || self.expired.replace(true) {
            return;
        }
        match self.connection.phase() {
            Phase::Idle => self.worker.mine().idle_connections.add(1),
            Phase::Partial | Phase::Writing | Phase::Proving => self.worker.mine().stalled_connections.add(1),
            // A handshake's end is counted by its reason.
            Phase::Serving | Phase::Lingering | Phase::Greeting | Phase::Handshaking => {}
        }
        self.wake();
    }

    /// Lets the connection look again at what it is told.
    pub(crate) fn wake(&self) {
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }
}
