//! What is said of a cluster beside the gateway's own.

use super::faults::Faults;
use super::fields::{Fields, NAME_RULE, is_name};

/// A cluster that some namespaces live in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterConfig {
    /// What its nodes register as. By default the name of the table.
    pub cluster: String,
    /// Its discoveries, as `host:port`, preferred first.
    pub discoveries: Vec<String>,
    /// The zone to read from. By default that of the own cluster.
    pub zone: Option<String>,
}

impl ClusterConfig {
    pub(super) fn of(name: &str, table: toml::Table, faults: &mut Faults) -> Self {
        let mut fields = Fields::new(&["clusters", name], table, faults);
        if !is_name(name) {
            fields.fault(format!("is no name of a cluster: write {NAME_RULE}"));
        }
        let cluster = fields.name("cluster").unwrap_or_else(|| name.to_owned());
        let zone = fields.name("zone");
        let is_given = fields.has("discovery");
        let discoveries = fields.texts("discovery", "\"10.0.0.9:11300\"", address).unwrap_or_default();
        if !is_given {
            fields.fault(
                "has no discovery: write discovery = [\"10.0.0.9:11300\"], the addresses of its discoveries",
            );
        }
        fields.finish();
        Self { cluster, discoveries, zone }
    }
}

/// `host:port`, with or without `http://` before it.
fn address(text: &str) -> Option<String> {
    let bare = text.trim();
    let bare = bare.strip_prefix("http://").unwrap_or(bare);
    let bare = bare.strip_suffix('/').unwrap_or(bare);
    let (host, port) = bare.rsplit_once(':')?;
    let is_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)),
    };
    let is_port = port.parse::<u16>().is_ok_and(|port| port > 0);
    (is_host && is_port).then(|| bare.to_owned())
}
