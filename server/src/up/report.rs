//! What `up` tells: to people, and to scripts.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;

use serde::Serialize;

use crate::table::table;
use crate::up::fleet::{Ended, Fleet};
use crate::up::plan::{Kind, Process};

/// What `--json` writes. Scripts rely on it.
#[derive(Serialize)]
pub(crate) struct File<'a> {
    cluster: &'a str,
    discovery: Vec<DiscoveryFile<'a>>,
    gateway: GatewayFile<'a>,
    nodes: Vec<NodeFile<'a>>,
}

#[derive(Serialize)]
struct DiscoveryFile<'a> {
    zone: &'a str,
    grpc: SocketAddr,
    http: SocketAddr,
    pid: u32,
    argv: &'a [String],
}

#[derive(Serialize)]
struct GatewayFile<'a> {
    memcached: Option<SocketAddr>,
    grpc: SocketAddr,
    http: SocketAddr,
    pid: u32,
    argv: &'a [String],
}

#[derive(Serialize)]
struct NodeFile<'a> {
    name: &'a str,
    zone: &'a str,
    group: &'a str,
    ring: &'a str,
    memcached: Option<SocketAddr>,
    grpc: SocketAddr,
    http: SocketAddr,
    pid: u32,
    argv: &'a [String],
}

/// Who is where, for scripts.
pub(crate) fn file(fleet: &Fleet) -> File<'_> {
    let (mut discovery, mut nodes, mut gateway) = (Vec::new(), Vec::new(), None);
    for (process, pid) in fleet.processes() {
        let Process { name, zone, argv, place, kind } = process;
        let (memcached, grpc, http) = (place.memcached, place.grpc, place.http);
        match kind {
            Kind::Discovery => discovery.push(DiscoveryFile { zone, grpc, http, pid, argv }),
            Kind::Node { group, ring_text: ring } => {
                nodes.push(NodeFile { name, zone, group, ring, memcached, grpc, http, pid, argv });
            }
            Kind::Gateway => gateway = Some(GatewayFile { memcached, grpc, http, pid, argv }),
        }
    }
    let gateway = gateway.expect("every plan has a gateway");
    File { cluster: &fleet.plan().cluster, discovery, gateway, nodes }
}

/// The table of what runs where, and what to try.
pub(crate) fn welcome(fleet: &Fleet) -> String {
    let header = ["name", "zone", "memcached", "gRPC", "HTTP", "pid"];
    let rows = fleet.processes().map(|(process, pid)| {
        let memcached = process.place.memcached.map_or("-".to_owned(), |address| address.to_string());
        let (grpc, http) = (process.place.grpc.to_string(), process.place.http.to_string());
        [process.name.clone(), process.zone.clone(), memcached, grpc, http, pid.to_string()]
    });
    let table = table(header, rows);
    let mut out = format!("cluster {} is up\n\n{table}\n", fleet.plan().cluster);
    writeln!(out, "logs and state: {}\n\ntry:", fleet.log_dir().display())
        .expect("a string takes everything");
    to_try(fleet).iter().for_each(|line| out.push_str(&format!("  {line}\n")));
    out.push_str("\nCtrl-C ends it\n");
    out
}

fn to_try(fleet: &Fleet) -> Vec<String> {
    let (gateway, _) = fleet.processes().last().expect("every plan has a gateway");
    let memcached = gateway.place.memcached.expect("a gateway speaks memcached");
    let discovery = fleet.plan().discoveries().next().expect("every plan has a discovery");
    let (cluster, grpc) = (&fleet.plan().cluster, discovery.place.grpc);
    let program = std::env::args().next().unwrap_or_else(|| "evanesce".to_owned());
    let mut lines = vec![
        format!(
            r"printf 'set k 0 60 2\r\nhi\r\nget k\r\nquit\r\n' | nc {} {}",
            memcached.ip(),
            memcached.port()
        ),
        format!("{} ctl --discovery {grpc} --cluster {cluster} where k", quoted(&program)),
        format!(
            "let cache = Client::builder({cluster:?}).discovery([\"http://{grpc}\"]).zone({:?}).connect().await?;",
            discovery.zone
        ),
    ];
    if gateway.argv.iter().any(|word| word == "--persister") {
        let (ip, port, grpc) = (memcached.ip(), memcached.port(), gateway.place.grpc);
        let store = format!("{} ctl store --gateway {grpc}", quoted(&program));
        lines.push(format!("{store} put demo page:1 hello    # into the backing store alone"));
        lines.push(format!(r"printf 'get page:1\r\nset session:1 0 0 2\r\nhi\r\nquit\r\n' | nc {ip} {port}"));
        lines.push(format!("{store} get demo session:1       # written behind"));
    }
    lines
}

/// What the state remembers and this run does not start.
pub(crate) fn strangers(fleet: &Fleet, names: &[String]) -> String {
    format!(
        "{} remembers nodes of an earlier run that this one does not start: {}\n  the ring still gives them keys, \
         which fail where no zone has another node for them:\n  start them, or ask for as many --zones and --nodes as \
         before, or for another --data-dir",
        fleet.log_dir().display(),
        names.join(", ")
    )
}

/// How a child ended, and how to start it again.
pub(crate) fn obituary(fleet: &Fleet, ended: &Ended) -> String {
    let process = fleet.process(ended.index);
    let how = match ended.status.map(|status| (status.code(), status.signal())) {
        Some((Some(code), _)) => format!("ended with code {code}"),
        Some((_, Some(signal))) => format!("was ended by signal {signal}"),
        _ => "ended, nobody knows how".to_owned(),
    };
    let argv = process.argv.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
    format!(
        "{} (pid {}) {how}; its log: {}\n  to start it again: {argv}",
        process.name,
        ended.pid,
        fleet.log_path(ended.index).display()
    )
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:,=+@%[]".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_when_a_shell_would_split_them() {
        assert_eq!(quoted("/usr/bin/evanesce"), "/usr/bin/evanesce");
        assert_eq!(quoted("/my apps/o'clock"), r"'/my apps/o'\''clock'");
        assert_eq!(quoted(""), "''");
    }
}
