//! `config get cluster` and `shutdown`: what an operator may allow.

use std::time::Duration;

use evanesce_front::Flow;
use evanesce_wire::encode;
use evanesce_wire::error_lines::{INVALID_SHUTDOWN, SHUTDOWN_NOT_ENABLED, UNKNOWN_COMMAND};
use evanesce_wire::request::Shutdown;

use super::Context;

/// Tells clients of ElastiCache's auto discovery to talk to this node, where that is asked for by configuration.
pub(super) fn get_cluster(context: &Context<'_>, out: &mut Vec<u8>) {
    match &context.shared.facts.configuration {
        Some(payload) => encode::configuration(out, payload),
        None => encode::error_line(out, UNKNOWN_COMMAND),
    }
}

/// Ends the node, if that is allowed. The connection that asked closes without a word, as memcached's does.
pub(super) fn shut_down(shutdown: Shutdown, context: &Context<'_>, out: &mut Vec<u8>) -> Flow {
    let shared = context.shared;
    if !shared.facts.shutdown_command {
        encode::error_line(out, SHUTDOWN_NOT_ENABLED);
        return Flow::Continue;
    }
    match shutdown {
        Shutdown::Now => shared.drain.request(Some(Duration::ZERO)),
        Shutdown::Graceful => shared.drain.request(None),
        Shutdown::Invalid => {
            encode::error_line(out, INVALID_SHUTDOWN);
            return Flow::Continue;
        }
    }
    Flow::Close
}
