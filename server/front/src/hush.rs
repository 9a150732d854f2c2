//! Says what peers do wrong without letting them fill the disk.

use std::cell::Cell;
use std::time::Duration;

/// Lines in one period: enough to see what is the matter and with whom.
const LINES_MAX: u32 = 5;

/// A period: a thousand peers that try again every second become half a line a second.
const PERIOD: Duration = Duration::from_secs(10);

/// Limits the lines that one thread logs about its peers.
#[derive(Debug, Default)]
pub(crate) struct Hush {
    since: Cell<Option<Duration>>,
    said: Cell<u32>,
    hushed: Cell<u64>,
}

impl Hush {
    /// Whether to say something now; with how many lines were not said since the last one.
    pub(crate) fn may_say(&self, now: Duration) -> Option<u64> {
        if self.since.get().is_none_or(|since| now.saturating_sub(since) >= PERIOD) {
            self.since.set(Some(now));
            self.said.set(0);
        }
        if self.said.get() >= LINES_MAX {
            self.hushed.set(self.hushed.get() + 1);
            return None;
        }
        self.said.set(self.said.get() + 1);
        Some(self.hushed.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_are_said_and_the_rest_counted() {
        let hush = Hush::default();
        let said: Vec<_> = (0..7).map(|_| hush.may_say(Duration::ZERO)).collect();
        assert_eq!(said, [Some(0), Some(0), Some(0), Some(0), Some(0), None, None]);
        assert_eq!(hush.may_say(PERIOD / 2), None);
        assert_eq!((hush.may_say(PERIOD), hush.may_say(PERIOD)), (Some(3), Some(0)));
    }
}
