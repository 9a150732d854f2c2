//! What each role's options must be, together.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use evanesce_discovery::DiscoveryConfig;
use evanesce_topology::{NameKind, RingProfile};

use crate::config::check::Checker;
use crate::config::spec::RoleName;
use crate::machine;

/// Below this the tables alone would fill it.
const MEMORY_MIN: usize = 8 << 20;
/// Beyond any machine: a mistake in a unit.
const MEMORY_MAX: usize = 1 << 44;
/// The value of one item: from something useful to what memcached allows.
const ITEM_BYTES: std::ops::RangeInclusive<usize> = (1 << 10)..=(128 << 20);
/// More threads than any machine has cores are a mistake.
const THREADS: std::ops::RangeInclusive<usize> = 1..=1024;
/// What file descriptors can ever allow.
const CONNECTIONS: std::ops::RangeInclusive<usize> = 1..=1_000_000;
/// A node a thousand times its peer is a mistake.
const WEIGHT: std::ops::RangeInclusive<usize> = 1..=1000;
/// Shorter leases lapse by the scheduler's whim, longer ones hide a death.
const LEASE: std::ops::RangeInclusive<Duration> = Duration::from_millis(300)..=Duration::from_secs(600);
/// Renewals more often than this are load without use.
const RENEW_EVERY: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(300);

/// The name of a standalone node that was given none.
const STANDALONE: &str = "standalone";

/// What one role needs.
#[derive(Debug)]
pub(crate) enum RoleSettings {
    /// A node's.
    Node(NodeSettings),
    /// A discovery's.
    Discovery(DiscoveryConfig),
    /// A gateway's.
    Gateway(GatewaySettings),
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

    /// Memcached connections at once, where the role has any.
    pub(crate) fn connections_max(&self) -> Option<usize> {
        match self {
            Self::Node(node) => Some(node.face.connections_max),
            Self::Discovery(_) => None,
            Self::Gateway(gateway) => Some(gateway.face.connections_max),
        }
    }
}

/// Where and how a role speaks memcached, gRPC and HTTP.
#[derive(Debug)]
pub(crate) struct Face {
    pub(crate) listen: Vec<SocketAddr>,
    pub(crate) grpc: Option<SocketAddr>,
    pub(crate) http: Option<SocketAddr>,
    pub(crate) threads: NonZeroUsize,
    pub(crate) connections_max: usize,
    pub(crate) item_bytes_max: usize,
}

/// What a node needs.
#[derive(Debug)]
pub(crate) struct NodeSettings {
    pub(crate) face: Face,
    pub(crate) memory_bytes: usize,
    /// The ring name.
    pub(crate) name: String,
    /// `None`: standalone.
    pub(crate) membership: Option<NodeMembership>,
}

/// How a node takes part in a cluster.
#[derive(Debug)]
pub(crate) struct NodeMembership {
    pub(crate) cluster: String,
    pub(crate) zone: String,
    pub(crate) group: String,
    pub(crate) discoveries: Vec<SocketAddr>,
    pub(crate) profile: RingProfile,
    pub(crate) weight: u32,
}

/// What a gateway needs.
#[derive(Debug)]
pub(crate) struct GatewaySettings {
    pub(crate) face: Face,
    pub(crate) cluster: String,
    pub(crate) zone: String,
    pub(crate) discoveries: Vec<SocketAddr>,
}

pub(crate) fn check_role(role: RoleName, check: &mut Checker) -> Option<RoleSettings> {
    match role {
        RoleName::Node => check_node(check).map(RoleSettings::Node),
        RoleName::Discovery => check_discovery(check).map(RoleSettings::Discovery),
        RoleName::Gateway => check_gateway(check).map(RoleSettings::Gateway),
    }
}

fn check_node(check: &mut Checker) -> Option<NodeSettings> {
    let standalone = check.switch("standalone");
    // Every option is read before any is missed, so that all faults are noted.
    let face = check_face(check, standalone);
    let memory_bytes = check.size("memory", MEMORY_MIN..=MEMORY_MAX, Some(machine::memory_default()));
    let name = check.name("name", NameKind::Node, standalone.then(|| STANDALONE.to_owned()));
    let membership = check_membership(check, standalone);
    if !standalone {
        check.needed("name", name.as_ref(), "a node takes its place on the ring by name");
    }
    Some(NodeSettings { face: face?, memory_bytes: memory_bytes?, name: name?, membership: membership? })
}

/// The outer `None` is a fault, the inner one a standalone node.
fn check_membership(check: &mut Checker, standalone: bool) -> Option<Option<NodeMembership>> {
    let cluster = check.name("cluster", NameKind::Cluster, None);
    let zone = check.name("zone", NameKind::Zone, None);
    let group_default =
        cluster.as_ref().zip(zone.as_ref()).map(|(cluster, zone)| format!("{cluster}-{zone}"));
    let group = check.name("group", NameKind::Group, group_default);
    let discoveries = check.peers("discovery");
    let profile = check.word("ring");
    let weight = check.number("weight", WEIGHT, None);
    if standalone {
        if discoveries.is_some() {
            check.fault(
                "standalone and discovery are both set: a standalone node registers nowhere; drop one",
            );
        }
        return Some(None);
    }
    let because = "a node needs it unless it is --standalone";
    let cluster = check.needed("cluster", cluster, because);
    let zone = check.needed("zone", zone, because);
    let discoveries = check.needed("discovery", discoveries, because);
    Some(Some(NodeMembership {
        cluster: cluster?,
        zone: zone?,
        group: group?,
        discoveries: discoveries?,
        profile: profile?,
        weight: u32::try_from(weight?).expect("the bounds fit"),
    }))
}

/// `quiet`: gRPC and HTTP are off unless given.
fn check_face(check: &mut Checker, quiet: bool) -> Option<Face> {
    let listen = check.listen_many("listen");
    let beside = listen.as_ref().filter(|_| !quiet).and_then(|listen| listen.first()).copied();
    let port = |port| beside.map(|address| SocketAddr::new(address.ip(), port));
    let grpc = check.listen("grpc", port(11212));
    let http = check.listen("http", port(11213));
    let threads = check.number("threads", THREADS, Some(machine::cores()));
    let connections_max = check.number("connections_max", CONNECTIONS, None);
    let item_bytes_max = check.size("item_bytes_max", ITEM_BYTES, None);
    Some(Face {
        listen: listen?,
        grpc: grpc?,
        http: http?,
        threads: NonZeroUsize::new(threads?).expect("the bounds start at 1"),
        connections_max: connections_max?,
        item_bytes_max: item_bytes_max?,
    })
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
    let lease = check.time("lease", LEASE);
    let renew_every = check.time("renew_every", RENEW_EVERY);
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

fn check_gateway(check: &mut Checker) -> Option<GatewaySettings> {
    let face = check_face(check, false);
    let cluster = check.name("cluster", NameKind::Cluster, None);
    let cluster = check.needed("cluster", cluster, "a gateway serves one cluster");
    let zone = check.name("zone", NameKind::Zone, None);
    let zone = check.needed("zone", zone, "a gateway reads from its own zone first");
    let discoveries = check.peers("discovery");
    let discoveries = check.needed("discovery", discoveries, "a gateway finds the nodes through it");
    Some(GatewaySettings { face: face?, cluster: cluster?, zone: zone?, discoveries: discoveries? })
}
