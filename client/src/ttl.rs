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
    /// What is left of a life, told by a node in whole seconds: the same instant again, and not a second later each time
    /// that it is handed on.
    pub(crate) fn remaining(left: Duration, now: SystemTime) -> Self {
        let at = since_epoch(now).checked_add(left);
        at.map_or(Self::Never, |at| Self::At(at.as_secs().max(RELATIVE_EXPTIME_MAX + 1)))
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
