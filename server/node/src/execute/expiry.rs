//! From the protocol's seconds to the store's instants and back.

use evanesce_store::{Expiry, Time};
use evanesce_wire::request::MetaFlags;
use evanesce_wire::{Expiry as Resolved, Exptime};

/// What an expiry number means now. Seconds from now count from this very millisecond, so that an item never lives
/// shorter than asked.
pub(crate) fn resolve(exptime: Exptime, now: Time) -> Expiry {
    let now_secs = now.0 / 1000;
    match exptime.resolve(now_secs) {
        Resolved::Never => Expiry::Never,
        Resolved::Immediately => Expiry::At(Time(0)),
        Resolved::At(secs) => {
            let is_relative =
                u64::try_from(exptime.0).is_ok_and(|delta| now_secs.saturating_add(delta) == secs);
            let fraction = if is_relative { now.0 % 1000 } else { 0 };
            Expiry::At(Time(secs.saturating_mul(1000).saturating_add(fraction)))
        }
    }
}

/// The expiry of an item that `N` makes where `T` may stand, too: each gives it one, in the order sent.
pub(crate) fn made_until(vivify: Exptime, touch: Option<Exptime>, flags: &MetaFlags<'_>) -> Exptime {
    touch.filter(|_| flags.has_before(b'N', b'T')).unwrap_or(vivify)
}

/// Whole seconds that remain, the last begun one included; `None` is never.
pub(crate) fn remaining_secs(expiry: Expiry, now: Time) -> Option<u64> {
    match expiry {
        Expiry::Never => None,
        Expiry::At(at) => Some(at.0.saturating_sub(now.0).div_ceil(1000)),
    }
}

/// The second in which it expires: a copy until then lives no longer; `None` is never.
pub(crate) fn until_secs(expiry: Expiry) -> Option<u64> {
    match expiry {
        Expiry::Never => None,
        Expiry::At(at) => Some(at.0 / 1000),
    }
}

/// Whole seconds since `then`.
pub(crate) fn elapsed_secs(then: Time, now: Time) -> u64 {
    now.0.saturating_sub(then.0) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time(1_700_000_000_250);

    #[test]
    fn relative_expiry_counts_from_this_millisecond_and_a_date_does_not() {
        assert_eq!(resolve(Exptime(0), NOW), Expiry::Never);
        assert_eq!(resolve(Exptime(-1), NOW), Expiry::At(Time(0)));
        assert_eq!(resolve(Exptime(10), NOW), Expiry::At(Time(1_700_000_010_250)));
        assert_eq!(resolve(Exptime(1_700_000_010), NOW), Expiry::At(Time(1_700_000_010_000)));
        assert_eq!(resolve(Exptime(i64::MAX), NOW), Expiry::At(Time(u64::MAX)));
    }

    #[test]
    fn remaining_seconds_are_what_was_asked_until_one_has_passed() {
        let expiry = resolve(Exptime(60), NOW);
        let after = |ms| remaining_secs(expiry, Time(NOW.0 + ms));
        assert_eq!(
            [after(0), after(999), after(1000), after(59_999), after(70_000)].map(Option::unwrap),
            [60, 60, 59, 1, 0]
        );
        assert_eq!(remaining_secs(Expiry::Never, NOW), None);
        assert_eq!(elapsed_secs(NOW, Time(NOW.0 + 1999)), 1);
    }
}
