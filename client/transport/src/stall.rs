//! Tells a connection that is slow from one that has stopped answering.

/// Looks at the connection in each stall timeout: the finer, the sooner a stall is seen and the more timers fire.
pub(crate) const LOOKS_PER_TIMEOUT: u32 = 4;

/// Counts looks without progress. Pure: the session calls [`look`](Self::look) on a timer.
#[derive(Debug, Default)]
pub(crate) struct StallWatch {
    replies_before: u64,
    due_looks: u32,
    idle_looks: u32,
}

/// What a look at the connection found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// Replies come, or are not late yet.
    Fine,
    /// Nothing has been asked for a whole stall timeout: looking may stop until something is.
    Idle,
    /// Replies are due and none came for a whole stall timeout.
    Stalled,
}

impl StallWatch {
    /// One look: how many replies, or large parts of one, came in all so far, and whether more are due.
    pub(crate) fn look(&mut self, replies: u64, due: bool) -> Look {
        if replies != self.replies_before {
            *self = Self { replies_before: replies, ..Self::default() };
        }
        if due {
            self.idle_looks = 0;
            self.due_looks += 1;
        } else {
            self.due_looks = 0;
            self.idle_looks += 1;
        }
        if self.due_looks > LOOKS_PER_TIMEOUT {
            Look::Stalled
        } else if self.idle_looks > LOOKS_PER_TIMEOUT {
            Look::Idle
        } else {
            Look::Fine
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_due_and_none_coming_stalls_after_the_timeout() {
        let mut watch = StallWatch::default();
        for _ in 0..LOOKS_PER_TIMEOUT {
            assert_eq!(watch.look(0, true), Look::Fine);
        }
        assert_eq!(watch.look(0, true), Look::Stalled);
    }

    #[test]
    fn slow_replies_are_no_stall() {
        let mut watch = StallWatch::default();
        for replies in 1..100 {
            for _ in 0..LOOKS_PER_TIMEOUT {
                assert_eq!(watch.look(replies, true), Look::Fine);
            }
        }
    }

    #[test]
    fn nothing_due_is_idle() {
        let mut watch = StallWatch::default();
        for _ in 0..LOOKS_PER_TIMEOUT {
            assert_eq!(watch.look(0, false), Look::Fine);
        }
        assert_eq!(watch.look(0, false), Look::Idle);
    }

    #[test]
    fn request_after_idle_time_gets_a_whole_timeout() {
        let mut watch = StallWatch::default();
        for _ in 0..LOOKS_PER_TIMEOUT {
            watch.look(0, false);
        }
        for _ in 0..LOOKS_PER_TIMEOUT {
            assert_eq!(watch.look(0, true), Look::Fine);
        }
        assert_eq!(watch.look(0, true), Look::Stalled);
    }
}
