//! What `stats settings` tells: memcached's names, wherever they mean something here.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use evanesce_front::Listen;

use crate::config::NodeConfig;
use crate::shared::Shared;
use crate::watch::QUEUE_BYTES_MAX;

/// What does not change while a node runs.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) memcached: SocketAddr,
    pub(crate) item_bytes_max: usize,
    pub(crate) connections_max: usize,
    pub(crate) idle_timeout: Option<Duration>,
    /// What peers must prove.
    pub(crate) protection: Protection,
    /// `shutdown` is allowed.
    pub(crate) shutdown_command: bool,
    /// What `config get cluster` tells, where it is to be answered.
    pub(crate) configuration: Option<String>,
}

/// What peers must prove before they are served.
#[derive(Debug, Clone, Default)]
pub(crate) struct Protection {
    /// Somewhere TLS is spoken.
    pub(crate) tls: bool,
    /// The file of users, where there is one.
    pub(crate) auth_file: Option<String>,
    /// The first Unix socket.
    pub(crate) socket: Option<String>,
}

impl Protection {
    pub(crate) fn of(config: &NodeConfig) -> Self {
        let shown = |path: &Path| path.display().to_string();
        Self {
            tls: config.listen.iter().any(Listen::is_tls),
            auth_file: config.auth_file.as_deref().map(shown),
            socket: config.listen.iter().find_map(Listen::path).map(shown),
        }
    }
}

impl Shared {
    /// What `stats settings` tells. What has no counterpart here is left out: slab classes, LRU segments, extstore.
    pub(crate) fn settings(&self) -> Vec<(&'static str, String)> {
        let facts = &self.facts;
        let word = |text: &str| text.to_owned();
        let yes = |is: bool| word(if is { "yes" } else { "no" });
        vec![
            ("maxbytes", self.store.stats().limit_bytes.to_string()),
            ("maxconns", facts.connections_max.to_string()),
            ("tcpport", facts.memcached.port().to_string()),
            ("udpport", word("0")),
            ("inter", facts.memcached.ip().to_string()),
            ("verbosity", word("0")),
            ("domain_socket", facts.protection.socket.clone().unwrap_or_else(|| word("NULL"))),
            ("evictions", word("on")),
            ("shutdown_command", yes(facts.shutdown_command)),
            ("num_threads", self.commands.len().to_string()),
            ("stat_key_prefix", word(":")),
            ("detail_enabled", word("no")),
            ("reqs_per_event", evanesce_front::BATCH_REQUESTS_MAX.to_string()),
            ("cas_enabled", word("yes")),
            ("item_size_max", facts.item_bytes_max.to_string()),
            // Beyond the limit connections are told so and closed, not left waiting.
            ("maxconns_fast", word("yes")),
            ("slab_reassign", word("no")),
            ("slab_automove", word("0")),
            ("lru_crawler", word("yes")),
            ("tail_repair_time", word("0")),
            ("flush_enabled", word("yes")),
            ("dump_enabled", word("yes")),
            ("lru_maintainer_thread", word("no")),
            ("lru_segmented", word("no")),
            ("temp_lru", word("no")),
            ("binding_protocol", word("auto-negotiate")),
            ("auth_enabled_sasl", yes(facts.protection.auth_file.is_some())),
            ("auth_enabled_ascii", facts.protection.auth_file.clone().unwrap_or_else(|| word("no"))),
            ("ssl_enabled", yes(facts.protection.tls)),
            ("idle_timeout", facts.idle_timeout.map_or(0, |timeout| timeout.as_secs()).to_string()),
            ("watcher_logbuf_size", QUEUE_BYTES_MAX.to_string()),
            ("worker_logbuf_size", word("0")),
            ("track_sizes", word("no")),
            ("inline_ascii_response", word("no")),
        ]
    }
}
