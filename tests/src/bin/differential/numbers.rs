//! Numbers as they stand in request lines: usual ones, edges, and none at all.

use rand::RngExt;
use rand::rngs::SmallRng;

/// Not read as a number anywhere, or only in part.
const CROOKED: [&str; 12] =
    ["x", "1x", "x1", "0x10", "1e3", "1.5", "--1", "+", "-", "1-", "99999999999999999999", "\u{663}"];
/// Numbers written in odd ways.
const ODD: [&str; 7] =
    ["+555", "00777", "-0", "\t777", "888\t", "999\tx", "00000000000000000000000000001212"];

/// One of these.
pub(crate) fn pick<'a>(random: &mut SmallRng, of: &[&'a str]) -> &'a str {
    of[random.random_range(0..of.len())]
}

/// Mostly a plain one, sometimes an edge, seldom none.
fn mixed(random: &mut SmallRng, plain: &[&'static str], edges: &[&'static str]) -> &'static str {
    match random.random_range(0..40) {
        0 => pick(random, &CROOKED),
        1 => pick(random, &ODD),
        2..5 => pick(random, edges),
        _ => pick(random, plain),
    }
}

/// Client flags.
pub(crate) fn flags(random: &mut SmallRng) -> &'static str {
    let edges = ["4294967295", "4294967296", "-1", "18446744073709551615", "9223372036854775807", "65536"];
    mixed(random, &["0", "1", "32", "1234567"], &edges)
}

/// Expiries that both clocks judge alike: never, over, or far from now.
pub(crate) fn expiry(random: &mut SmallRng) -> &'static str {
    let edges = ["-1", "-2147483648", "2592000", "2592001", "2147483647", "1000000000"];
    mixed(random, &["0", "0", "0", "1000", "86400"], &edges)
}

/// Deltas of `incr` and `decr`.
pub(crate) fn delta(random: &mut SmallRng) -> &'static str {
    let edges = ["18446744073709551615", "18446744073709551616", "-1", "9223372036854775808", "0"];
    mixed(random, &["1", "2", "7", "10", "999", "123456789"], &edges)
}

/// Lengths of values that no value follows: a line with one is refused before any value is read.
pub(crate) fn refused_length(random: &mut SmallRng) -> &'static str {
    pick(random, &["-1", "-2147483648", "2147483646", "2147483647", "x", "1x", "", "+", "--2", "0x10"])
}

/// CAS tokens that no item has.
pub(crate) fn foreign_token(random: &mut SmallRng) -> &'static str {
    let edges = ["18446744073709551616", "-1", "99999999999999999999", "x", "1x"];
    let plain = ["18446744073709551615", "9223372036854775807", "18446744073709551614", "0"];
    if random.random_ratio(1, 6) { pick(random, &edges) } else { pick(random, &plain) }
}

/// What stands in a value that `incr` may or may not understand. None has a minus: memcached looks for one beyond the
/// end of a value, in what its memory held before.
pub(crate) fn stored(random: &mut SmallRng) -> &'static str {
    let edges = [
        "18446744073709551615",
        "18446744073709551616",
        "+1",
        " 5",
        "5 ",
        "5 x",
        "5x",
        "",
        "00012",
        "99999999999999999999",
        "184467440737095516150",
        "1.0",
        "0",
        "1\r",
        "000000000000000000000000000000000001",
    ];
    if random.random_ratio(1, 3) {
        pick(random, &edges)
    } else {
        pick(random, &["1", "10", "99", "1000", "777777"])
    }
}
