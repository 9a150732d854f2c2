//! What each role's options must be, together.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU64;
use std::time::Duration;

use evanesce_discovery::DiscoveryConfig;
use evanesce_gateway::GatewayConfig;
use evanesce_node::NodeConfig;
use evanesce_topology::{NameKind, RingHash, RingProfile, evcache_ring_text};

use crate::config::check::Checker;
use crate::config::face::{Face, check_face};
use crate::config::namespaces::check_namespaces;
use crate::config::nodes::check_nodes;
use crate::config::spec::RoleName;
use crate::machine;

/// What the store asks for: an append holds the old item and the new one at once.
const LARGEST_ITEMS_MIN: usize = 4;

/// The name of a standalone node, its zone and its cluster, that were given none.
const STANDALONE: &str = "standalone";

/// What one role needs.
#[derive(Debug)]
pub(crate) enum RoleSettings {
    /// A node's.
    Node(Box<NodeConfig>),
    /// A discovery's.
    Discovery(DiscoveryConfig),
    /// A gateway's.
    Gateway(Box<GatewayConfig>),
}

impl RoleSettings {
    /// Whose they are.
    pub(crate) fn name(&self) -> RoleName {
        match self {
            Self::Node(_) => RoleName::Node,
            Self::Discovery(_) => RoleName::Discovery,
            Self::Gateway(_) => RoleName::Gateway,
        }
    }

    /// Whether there are files that are read again as they change.
    pub(crate) fn reads_files(&self) -> bool {
        match self {
            Self::Node(node) => node.tls.is_some() || node.auth_file.is_some(),
            Self::Discovery(_) => false,
            Self::Gateway(gateway) => {
                gateway.tls.is_some() || gateway.auth_file.is_some() || gateway.persister.is_some()
            }
        }
    }

    /// Memcached connections at once, where the role has any.
    pub(crate) fn connections_max(&self) -> Option<usize> {
        match self {
            Self::Node(node) => Some(node.connections_max),
            Self::Discovery(_) => None,
            Self::Gateway(gateway) => Some(gateway.connections_max),
        }
    }
}

/// How long work in flight may take once told to end. To be read once: a fault is noted each time.
pub(crate) fn drain_deadline(check: &mut Checker) -> Option<Duration> {
    check.time("drain_deadline")
}

pub(crate) fn check_role(
    role: RoleName,
    check: &mut Checker,
    drain_deadline: Option<Duration>,
) -> Option<RoleSettings> {
    match role {
        RoleName::Node => {
            check_node(check, drain_deadline).map(|config| RoleSettings::Node(Box::new(config)))
        }
        RoleName::Discovery => check_discovery(check).map(RoleSettings::Discovery),
        RoleName::Gateway => {
            check_gateway(check, drain_deadline).map(|config| RoleSettings::Gateway(Box::new(config)))
        }
    }
}

fn check_node(check: &mut Checker, drain_deadline: Option<Duration>) -> Option<NodeConfig> {
    let standalone = check.switch("standalone");
    // Every option is read before any is missed, so that all faults are noted.
    let face = check_face(check, standalone);
    let memory_bytes = check.size("memory", Some(machine::memory_default()));
    if let Some((face, memory_bytes)) = face.as_ref().zip(memory_bytes)
        && face.item_bytes_max > memory_bytes / LARGEST_ITEMS_MIN
    {
        check.fault("item_bytes_max is more than a quarter of memory: lower it, or give more memory");
    }
    let memory_file = check.file("memory_file");
    let namespaces = check_namespaces(check, memory_bytes);
    let hash_seed = check.other("hash_seed", None, parse_seed);
    let name = check.name("name", NameKind::Node, standalone.then(|| STANDALONE.to_owned()));
    let warm_up_limit = check.time_or_off("warm_up_limit");
    let warm_up_rate = check.size("warm_up_rate", None);
    let reconcile_every = check.time_or_off("reconcile_every");
    let shutdown_command = check.switch("shutdown_command");
    let config_get_cluster = check.switch("config_get_cluster");
    let membership = check_membership(check, standalone);
    if !standalone {
        check.needed("name", name.as_ref(), "a node takes its place on the ring by name");
        if face.as_ref().is_some_and(|face| face.told().is_none()) {
            check.fault(
                "gateways and clients of the cluster cannot come to a Unix socket: add ip:port or tls://ip:port to listen",
            );
        }
    }
    let advertise = check_advertise(check, standalone, face.as_ref());
    let (face, advertise, membership) = (face?, advertise?, membership?);
    let (name, profile) = (name?, membership.profile);
    let memcached = face.told();
    // Where there are Unix sockets only, nobody is told anything.
    let told = advertise.or(memcached.map(|told| told.ip())).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let advertised = |address: SocketAddr| advertise.map(|ip| SocketAddr::new(ip, address.port()));
    Some(NodeConfig {
        ring_text: (profile.hash == RingHash::Evcache).then(|| evcache_ring_text(&name, told)),
        name,
        cluster: membership.cluster,
        zone: membership.zone,
        group: membership.group,
        weight: membership.weight,
        profile,
        discoveries: membership.discoveries,
        advertise_memcached: memcached.and_then(advertised),
        advertise_grpc: face.grpc.and_then(advertised),
        advertise_http: face.http.and_then(advertised),
        listen: face.listen,
        tls: face.tls,
        auth_file: face.auth_file,
        grpc: face.grpc,
        http: face.http,
        threads: face.threads,
        memory_bytes: memory_bytes?,
        memory_file,
        item_bytes_max: face.item_bytes_max,
        namespaces: namespaces?,
        hash_seed,
        shutdown_command,
        config_get_cluster,
        connections_max: face.connections_max,
        idle_timeout: face.idle_timeout,
        warm_up_limit: warm_up_limit?.unwrap_or_default(),
        warm_up_rate: warm_up_rate.and_then(|bytes| NonZeroU64::new(bytes as u64)),
        reconcile_every: reconcile_every?,
        drain_deadline: drain_deadline?,
    })
}

/// Addresses that clients can go to, with commas between them.
fn parse_gateways(text: &str) -> Result<Vec<SocketAddr>, String> {
    let parse = |part: &str| {
        part.trim().parse().ok().filter(|a: &SocketAddr| !a.ip().is_unspecified() && a.port() > 0)
    };
    let parsed: Option<Vec<SocketAddr>> = text.split(',').map(parse).collect();
    parsed.ok_or_else(|| "write ip:port of each gateway, such as 10.0.0.5:11211,10.0.0.6:11211".to_owned())
}

/// 64 bits, hexadecimal behind `0x`.
fn parse_seed(text: &str) -> Result<u64, String> {
    let seed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    seed.map_err(|_| "write a number of 64 bits, such as 0x1f or 31".to_owned())
}

/// How a node takes part in a cluster.
struct Membership {
    cluster: String,
    zone: String,
    group: String,
    discoveries: Vec<String>,
    profile: RingProfile,
    weight: u32,
}

fn check_membership(check: &mut Checker, standalone: bool) -> Option<Membership> {
    let alone = |word: &str| standalone.then(|| word.to_owned());
    let cluster = check.name("cluster", NameKind::Cluster, alone(STANDALONE));
    let zone = check.name("zone", NameKind::Zone, alone(STANDALONE));
    let group_default =
        cluster.as_ref().zip(zone.as_ref()).map(|(cluster, zone)| format!("{cluster}-{zone}"));
    let group = check.name("group", NameKind::Group, group_default);
    let discoveries = check.peers("discovery");
    let profile = check.word("ring");
    let weight = check.number("weight", None);
    let discoveries = if standalone {
        if discoveries.is_some() {
            check.fault(
                "standalone and discovery are both set: a standalone node registers nowhere; drop one",
            );
        }
        Some(Vec::new())
    } else {
        let because = "a node needs it unless it is --standalone";
        check.needed("cluster", cluster.as_ref(), because);
        check.needed("zone", zone.as_ref(), because);
        check.needed("discovery", discoveries, because)
    };
    Some(Membership {
        cluster: cluster?,
        zone: zone?,
        group: group?,
        discoveries: discoveries?,
        profile: profile?,
        weight: u32::try_from(weight?).expect("the bounds fit"),
    })
}

/// The outer `None` is a fault, the inner one means: as listened on.
fn check_advertise(check: &mut Checker, standalone: bool, face: Option<&Face>) -> Option<Option<IpAddr>> {
    let advertise: Option<IpAddr> =
        check.other("advertise", None, |text| text.parse().map_err(|_| "write an IP address".to_owned()));
    let face = face?;
    let listened = [face.told(), face.grpc, face.http];
    let mut listened = listened.into_iter().flatten();
    match advertise {
        Some(_) if listened.any(|address| address.port() == 0) => {
            check.fault(
                "advertise is set and a port is 0: what the kernel will choose cannot be told; choose ports",
            );
        }
        None if !standalone && listened.any(|address| address.ip().is_unspecified()) => {
            check.fault(
                "listening on all addresses tells nobody where to go: set advertise to this machine's own IP",
            );
        }
        _ => {}
    }
    Some(advertise)
}

fn check_discovery(check: &mut Checker) -> Option<DiscoveryConfig> {
    let zone = check.name("zone", NameKind::Zone, None);
    let grpc = check.listen("grpc", None);
    if grpc == Some(None) {
        check.fault("grpc is off: it is how a discovery is spoken to; give it an address");
    }
    let grpc = grpc.flatten();
    let http = check.listen("http", grpc.map(|grpc| SocketAddr::new(grpc.ip(), 11301)));
    let state_dir = check.path("state_dir");
    let lease = check.time("lease");
    let renew_every = check.time("renew_every");
    if let Some((lease, renew_every)) = lease.zip(renew_every)
        && renew_every.saturating_mul(3) > lease
    {
        check.fault(
            "renew_every is more than a third of the lease: two lost renewals would end the lease; lower it",
        );
    }
    Some(DiscoveryConfig {
        zone: zone?,
        listen_grpc: grpc?,
        listen_http: http?,
        state_dir,
        lease: lease?,
        renew_every: renew_every?,
    })
}

fn check_gateway(check: &mut Checker, drain_deadline: Option<Duration>) -> Option<GatewayConfig> {
    let face = check_face(check, false);
    let cluster = check.name("cluster", NameKind::Cluster, None);
    let cluster = check.needed("cluster", cluster, "a gateway serves one cluster");
    let zone = check.name("zone", NameKind::Zone, None);
    let zone = check.needed("zone", zone, "a gateway reads from its own zone first");
    let discoveries = check.peers("discovery");
    let discoveries = check.needed("discovery", discoveries, "a gateway finds the nodes through it");
    let connect_timeout = check.time("connect_timeout");
    let gateways = check.other("gateways", None, parse_gateways);
    let flush_command = check.switch("flush_command");
    let nodes = check_nodes(check);
    let persister = check.file("persister");
    check.look(|| persister.as_deref().map(evanesce_gateway::persister_file_faults).unwrap_or_default());
    let face = face?;
    Some(GatewayConfig {
        persister,
        cluster: cluster?,
        zone: zone?,
        discoveries: discoveries?,
        nodes,
        node_timeout: None,
        gateways: gateways.unwrap_or_default(),
        flush_command,
        listen: face.listen,
        tls: face.tls,
        auth_file: face.auth_file,
        grpc: face.grpc,
        http: face.http,
        threads: face.threads,
        item_bytes_max: face.item_bytes_max,
        connections_max: face.connections_max,
        idle_timeout: face.idle_timeout,
        connect_timeout: connect_timeout?,
        drain_deadline: drain_deadline?,
    })
}
