//! A timer that is always due soon, while replies come by the dozen.
//!
//! Whoever waits for a reply has a timer, and tokio wakes the event loop, by a system call, for each new one that is due
//! before all others that it knew when it last slept: although it is awake, and nobody needs it yet. Where none was left,
//! that is one call for each request of the next turn. While this timer is there none is due before it.

use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

/// No longer than what anybody waits for a reply before asking elsewhere, and as short as tokio's timers go.
const EVERY: Duration = Duration::from_millis(1);

/// Replies until it is due for which it goes on: for fewer it costs more than it saves.
const REPLIES_MIN: usize = 4;

/// The timer of one session.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    timer: Option<Pin<Box<Sleep>>>,
    beats: bool,
    /// Since it was last put off.
    replies: usize,
}

impl Pulse {
    /// So many replies came at once.
    pub(crate) fn on_replies(&mut self, replies: usize) {
        self.replies += replies;
    }

    /// Sees to it that the timer is there while it is of use. Wakes the session when it is due: it is of no use any more.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) {
        if !self.beats && self.replies < REPLIES_MIN {
            // Few at a time: what is counted is what comes in one turn.
            self.replies = 0;
            return;
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(EVERY)));
        // Put off before it is due, which tokio does without looking for its place: between the end of one and the start of
        // the next there would be none, for all requests of that turn.
        if self.replies >= REPLIES_MIN {
            self.replies = 0;
            timer.as_mut().reset(Instant::now() + EVERY);
        }
        self.beats = timer.as_mut().poll(cx).is_pending();
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;

    use super::*;

    /// Polls once, and tells whether the timer runs.
    async fn beats_after(pulse: &mut Pulse, replies: usize) -> bool {
        pulse.on_replies(replies);
        poll_fn(|cx| {
            pulse.poll(cx);
            Poll::Ready(pulse.beats)
        })
        .await
    }

    #[tokio::test(start_paused = true)]
    async fn pulse_beats_while_replies_come_by_the_dozen() {
        let mut pulse = Pulse::default();
        for _ in 0..10 {
            assert!(!beats_after(&mut pulse, REPLIES_MIN - 1).await, "few at a time");
        }
        for _ in 0..10 {
            assert!(beats_after(&mut pulse, REPLIES_MIN).await);
            tokio::time::advance(EVERY).await;
        }
        for _ in 0..2 {
            beats_after(&mut pulse, 0).await;
            tokio::time::advance(2 * EVERY).await;
        }
        assert!(!beats_after(&mut pulse, 0).await, "nothing came since");
        assert!(beats_after(&mut pulse, REPLIES_MIN).await, "and they come again");
    }

    #[tokio::test(start_paused = true)]
    async fn pulse_is_put_off_before_it_is_due_while_replies_come() {
        let mut pulse = Pulse::default();
        for _ in 0..10 {
            assert!(beats_after(&mut pulse, REPLIES_MIN).await);
            let due = pulse.timer.as_ref().map(|timer| timer.deadline());
            assert_eq!(due, Some(Instant::now() + EVERY));
            tokio::time::advance(EVERY / 2).await;
        }
    }
}
