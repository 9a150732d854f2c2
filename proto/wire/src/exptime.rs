//! Expiry as the protocol writes it, and what it means at a given instant.

// memcached's REALTIME_MAXDELTA: larger numbers are dates.
/// Largest number that counts seconds from now; a larger one is seconds since the Unix epoch.
pub const RELATIVE_SECS_MAX: i64 = 60 * 60 * 24 * 30;

/// The protocol's expiry number, before the 30-day rule. [`Exptime::resolve`] applies the rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Exptime(pub i64);

/// What an [`Exptime`] means at a given instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// Never expires by itself.
    Never,
    /// Expires at this instant, in seconds since the Unix epoch.
    At(u64),
    /// Already expired when it was sent: a negative number, or a date that is not in the future.
    Immediately,
}

impl Exptime {
    /// Applies memcached's rule: 0 is never, below 0 is at once, up to 30 days counts from now, more is a date.
    ///
    /// `now_secs` is in seconds since the Unix epoch.
    pub fn resolve(self, now_secs: u64) -> Expiry {
        match self.0 {
            0 => Expiry::Never,
            ..0 => Expiry::Immediately,
            1..=RELATIVE_SECS_MAX => Expiry::At(now_secs.saturating_add(self.0.unsigned_abs())),
            date if date.unsigned_abs() <= now_secs => Expiry::Immediately,
            date => Expiry::At(date.unsigned_abs()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thirty_days_count_from_now_and_one_second_more_is_a_date() {
        let now = 1_700_000_000;
        assert_eq!(Exptime(0).resolve(now), Expiry::Never);
        assert_eq!(Exptime(-1).resolve(now), Expiry::Immediately);
        assert_eq!(Exptime(RELATIVE_SECS_MAX).resolve(now), Expiry::At(now + 2_592_000));
        assert_eq!(Exptime(RELATIVE_SECS_MAX + 1).resolve(now), Expiry::Immediately);
        assert_eq!(Exptime(1_700_000_000).resolve(now), Expiry::Immediately);
        assert_eq!(Exptime(1_700_000_001).resolve(now), Expiry::At(1_700_000_001));
        assert_eq!(Exptime(i64::MAX).resolve(now), Expiry::At(i64::MAX as u64));
        assert_eq!(Exptime(1).resolve(u64::MAX), Expiry::At(u64::MAX));
    }
}
