//! From the protocol's expiry to the client's.

use std::time::{Duration, SystemTime};

use evanesce_client::Ttl;
use evanesce_wire::Expiry;
use evanesce_wire::request::Exptime;

/// What an expiry number means now.
pub(super) fn ttl(exptime: Exptime) -> Ttl {
    match exptime.resolve(now_secs()) {
        Expiry::Never => Ttl::Never,
        Expiry::Immediately => Ttl::After(Duration::ZERO),
        Expiry::At(secs) => Ttl::At(secs),
    }
}

/// Seconds since the Unix epoch, rounded up: a relative expiry counted from here never ends early.
fn now_secs() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.as_secs() + u64::from(now.subsec_nanos() > 0)
}
