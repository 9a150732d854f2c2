//! Where replies go: the seam between a connection's driver and whoever waits.

use std::mem;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

use evanesce_wire::reply::Reply;
use parking_lot::Mutex;

use crate::error::TransportError;

/// Receives the outcomes of requests handed to [`Connection::submit`](crate::Connection::submit).
///
/// Each accepted request is completed exactly once, on the connection's driver task: so be quick, do not block, and
/// take no lock that is held while submitting.
pub trait Completion: Send + Sync + 'static {
    /// The outcome of the request that was submitted with `token`.
    fn complete(&self, token: usize, outcome: Result<Reply, TransportError>);
}

/// Whom a connection tells.
pub(crate) enum Target {
    /// A caller that waits. When it has gone, nobody needs to know.
    Caller(Weak<dyn Completion>),
    /// Someone who wants to know in any case.
    Owned(Arc<dyn Completion>),
}

impl Target {
    pub(crate) fn is_wanted(&self) -> bool {
        match self {
            Self::Caller(completion) => completion.strong_count() > 0,
            Self::Owned(_) => true,
        }
    }

    pub(crate) fn complete(&self, token: usize, outcome: Result<Reply, TransportError>) {
        match self {
            Self::Owned(completion) => completion.complete(token, outcome),
            Self::Caller(completion) => {
                if let Some(completion) = completion.upgrade() {
                    completion.complete(token, outcome);
                }
            }
        }
    }
}

/// Waits for one reply.
#[derive(Debug, Default)]
pub(crate) struct CallCell {
    state: Mutex<CallState>,
    _fill: [u8; FILL_BYTES],
}

/// Makes a cell, with the counts of its `Arc`, as large as a power of two. One is made for each request, and mimalloc has
/// blocks of such sizes at hand; for any other it looks for room in which to align one, which took 120 instructions more.
const FILL_BYTES: usize = 32;

#[derive(Debug, Default)]
enum CallState {
    #[default]
    Waiting,
    Watched(Waker),
    Done(Result<Reply, TransportError>),
}

impl CallCell {
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<Reply, TransportError>> {
        let mut state = self.state.lock();
        match mem::take(&mut *state) {
            CallState::Done(outcome) => Poll::Ready(outcome),
            CallState::Watched(waker) if waker.will_wake(cx.waker()) => {
                *state = CallState::Watched(waker);
                Poll::Pending
            }
            CallState::Waiting | CallState::Watched(_) => {
                *state = CallState::Watched(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Completion for CallCell {
    fn complete(&self, _token: usize, outcome: Result<Reply, TransportError>) {
        let before = mem::replace(&mut *self.state.lock(), CallState::Done(outcome));
        if let CallState::Watched(waker) = before {
            waker.wake();
        }
    }
}

/// Waits for the replies of a batch; wakes its waiter once, when the last is there.
pub(crate) struct BatchCell {
    state: Mutex<BatchState>,
}

struct BatchState {
    outcomes: Vec<Option<Result<Reply, TransportError>>>,
    missing: usize,
    waker: Option<Waker>,
}

impl BatchCell {
    /// A cell for requests with the tokens `0..requests`.
    pub(crate) fn new(requests: usize) -> Self {
        let mut outcomes = Vec::new();
        outcomes.resize_with(requests, || None);
        Self { state: Mutex::new(BatchState { outcomes, missing: requests, waker: None }) }
    }

    /// Ready when nothing is missing. [`take`](Self::take) has the outcomes.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state.lock();
        if state.missing == 0 {
            return Poll::Ready(());
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// The outcomes so far, `None` where there is none yet.
    pub(crate) fn take(&self) -> Vec<Option<Result<Reply, TransportError>>> {
        mem::take(&mut self.state.lock().outcomes)
    }
}

impl Completion for BatchCell {
    fn complete(&self, token: usize, outcome: Result<Reply, TransportError>) {
        let mut state = self.state.lock();
        // Empty after `take`: the waiter's deadline has passed.
        let Some(slot) = state.outcomes.get_mut(token) else { return };
        *slot = Some(outcome);
        state.missing -= 1;
        let waker = if state.missing == 0 { state.waker.take() } else { None };
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cell_of_a_call_is_as_large_as_a_block_that_is_at_hand() {
        assert!((2 * size_of::<usize>() + size_of::<CallCell>()).is_power_of_two());
    }
}
