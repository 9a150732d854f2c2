//! `stats` and its kinds.

use evanesce_wire::encode;
use evanesce_wire::error_lines::{STATS_DETAIL_USAGE, UNKNOWN_COMMAND};
use evanesce_wire::reply::Status;

use super::Context;
use crate::long::tell_connection;

/// memcached's answer where dumping keys is off: with us it always is.
const CACHEDUMP_NOT_ALLOWED: &str = "CLIENT_ERROR stats cachedump not allowed";

/// Prefixes are counted where they are configured, and only there.
const DETAIL_NOT_OFFERED: &str = "SERVER_ERROR stats detail is not offered: see stats namespaces";

pub(super) fn execute(argument: &[u8], context: &Context<'_>, out: &mut Vec<u8>) {
    let mut words = argument.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    match words.next().unwrap_or_default() {
        b"" => list(&context.shared.stats(), out),
        b"settings" => list(&context.shared.settings(), out),
        b"namespaces" => list(&context.shared.namespace_stats(), out),
        b"reset" => {
            context.shared.reset();
            encode::status(out, Status::Reset);
        }
        b"items" => list(&context.shared.item_stats(), out),
        b"slabs" => list(&context.shared.slab_stats(), out),
        // In text the service answers it, with back-pressure.
        b"conns" => {
            for (connection, silent) in context.shared.connections() {
                tell_connection(&connection, silent, out);
            }
            encode::end(out);
        }
        b"sizes" => list(&[("sizes_status", "disabled".to_owned())], out),
        b"cachedump" => encode::error_line(out, CACHEDUMP_NOT_ALLOWED),
        b"detail" if words.next().is_none() => encode::error_line(out, STATS_DETAIL_USAGE),
        b"detail" => encode::error_line(out, DETAIL_NOT_OFFERED),
        _ => encode::error_line(out, UNKNOWN_COMMAND),
    }
}

fn list(stats: &[(impl AsRef<str>, String)], out: &mut Vec<u8>) {
    for (name, value) in stats {
        encode::stat(out, name.as_ref(), value);
    }
    encode::end(out);
}
