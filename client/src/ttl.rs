//! How long items live.

use std::time::{Duration, SystemTime};

use evanesce_wire::request::Exptime;

/// memcached reads an expiry as a signed number of 32 bits; what lies beyond it, in 2038, is sent as never.
const EXPTIME_MAX: u64 = i32::MAX as u64;

/// memcached reads an expiry up to thirty days as relative: an instant before that has passed long ago.
const RELATIVE_EXPTIME_MAX: u64 = 30 * 24 * 60 * 60;

/// How long an item lives.
///
/// A `Duration` converts into it. Nodes count whole seconds: the client adds the duration to its own clock once and
/// rounds up, so that all replicas expire together, never early and at most a second late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ttl {
    /// Until it is evicted or deleted.
    Never,
    /// For this long from now. Zero has expired at once.
    After(Duration),
    /// Until this many seconds after the Unix epoch.
    At(u64),
}

impl Ttl {
    /// Of a copy: until the second in which the original expires, where the node tells it, however late the copy is made and
    /// whatever this machine's clock shows. Counted anew from what is left it would be a second off whenever a second begins
    /// in between, and of two copies of one version the later expiry stays: each copy of a copy might live longer.
    pub(crate) fn of_copy(until_secs: Option<u64>, left: Option<Duration>, now: SystemTime) -> Self {
        let counted = |left| since_epoch(now).checked_add(left).map(|at: Duration| at.as_secs());
        let at_secs = until_secs.or_else(|| left.and_then(counted));
        at_secs.map_or(Self::Never, |secs| Self::At(secs.max(RELATIVE_EXPTIME_MAX + 1)))
    }

    /// What is sent to every node: an instant, none, or a negative number for what has expired already.
    pub(crate) fn exptime(self, now: SystemTime) -> Exptime {
        let at_secs = match self {
            Self::Never => return Exptime(0),
            Self::After(Duration::ZERO) => return Exptime(-1),
            Self::After(ttl) => match since_epoch(now).checked_add(ttl) {
                Some(at) => at.as_secs() + u64::from(at.subsec_nanos() > 0),
                None => return Exptime(0),
            },
            Self::At(at_secs) => at_secs,
        };
        match at_secs {
            ..=RELATIVE_EXPTIME_MAX => Exptime(-1),
            EXPTIME_MAX.. => Exptime(0),
            _ => Exptime(at_secs as i64),
        }
    }
}

impl From<Duration> for Ttl {
    fn from(ttl: Duration) -> Self {
        Self::After(ttl)
    }
}

/// A clock set before 1970 counts as 1970.
fn since_epoch(now: SystemTime) -> Duration {
    now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(millis)
    }

    #[test]
    fn expiry_is_absolute_and_rounded_up() {
        let now = at(1_800_000_000_300);
        assert_eq!(Ttl::After(Duration::from_secs(60)).exptime(now), Exptime(1_800_000_061));
        assert_eq!(Ttl::After(Duration::from_millis(1)).exptime(now), Exptime(1_800_000_001));
        assert_eq!(
            Ttl::After(Duration::from_secs(60)).exptime(at(1_800_000_000_000)),
            Exptime(1_800_000_060)
        );
    }

    // Seen in simulation: a copy that was made after a second had begun outlived the original by one, and its copies it.
    #[test]
    fn copy_expires_with_the_original_whenever_it_is_made() {
        let (until, left) = (Some(1_800_000_007), Some(Duration::from_secs(7)));
        for millis in [1_799_999_999_600, 1_800_000_000_300, 1_800_000_001_000, 1_800_000_009_000] {
            let copied = Ttl::of_copy(until, left, at(millis));
            assert_eq!(copied.exptime(at(millis)), Exptime(1_800_000_007), "{millis}");
        }
        // A server that tells what is left alone.
        assert_eq!(Ttl::of_copy(None, left, at(1_800_000_000_300)), Ttl::At(1_800_000_007));
        assert_eq!(Ttl::of_copy(None, None, at(1_800_000_000_300)), Ttl::Never);
        assert_eq!(Ttl::of_copy(Some(3), None, at(0)).exptime(at(0)), Exptime(2_592_001));
    }

    #[test]
    fn never_is_zero_and_nothing_left_is_negative() {
        let now = at(1_800_000_000_000);
        assert_eq!(Ttl::Never.exptime(now), Exptime(0));
        assert_eq!(Ttl::After(Duration::ZERO).exptime(now), Exptime(-1));
        assert_eq!(Ttl::At(1).exptime(now), Exptime(-1));
        assert_eq!(Ttl::At(0).exptime(now), Exptime(-1));
    }

    #[test]
    fn expiry_beyond_the_protocols_number_is_never() {
        let now = at(1_800_000_000_000);
        assert_eq!(Ttl::After(Duration::MAX).exptime(now), Exptime(0));
        assert_eq!(Ttl::At(u64::MAX).exptime(now), Exptime(0));
        assert_eq!(Ttl::After(Duration::from_secs(1_000_000_000)).exptime(now), Exptime(0));
    }
}
