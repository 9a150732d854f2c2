//! Where each process listens: a block of loopback addresses, or free ports where there is only one.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context, bail};

/// The ports a role has by default.
const MEMCACHED: u16 = 11211;
const NODE_GRPC: u16 = 11212;
const NODE_HTTP: u16 = 11213;
const DISCOVERY_GRPC: u16 = 11300;
const DISCOVERY_HTTP: u16 = 11301;

/// Blocks tried: 127.11/16, 127.12/16 and so on. Each `up` of a machine takes one.
const BLOCKS: std::ops::RangeInclusive<u8> = 11..=250;
/// In a zone's subnet: the discovery, then the nodes from here on.
const DISCOVERY_HOST: u8 = 1;
const NODE_HOST_FIRST: u8 = 11;
/// Zones count from 0 in the third octet, so this subnet is never a zone's.
const GATEWAY_SUBNET: u8 = 254;
/// Held by an `up` for as long as it runs, so that two that start at once do not take one block. In no one's way.
const BLOCK_LOCK_HOST: (u8, u8) = (255, 254);
/// Likewise, for the places on 127.0.0.1.
const HOME_LOCK: Ipv4Addr = Ipv4Addr::new(127, 255, 255, 254);

/// Where one process listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// `None` for a discovery.
    pub(crate) memcached: Option<SocketAddr>,
    pub(crate) grpc: SocketAddr,
    pub(crate) http: SocketAddr,
}

/// Where everything listens. Holds the block until dropped.
#[derive(Debug)]
pub(crate) struct Places {
    /// One a zone.
    pub(crate) discoveries: Vec<Place>,
    /// Zone by zone.
    pub(crate) nodes: Vec<Vec<Place>>,
    pub(crate) gateway: Place,
    locks: Vec<TcpListener>,
}

/// Finds places for so many zones of so many nodes, checking that each can be bound.
pub(crate) fn find(zones: usize, nodes: usize) -> anyhow::Result<Places> {
    for block in BLOCKS {
        match take_block(block, zones, nodes) {
            Ok(places) => return Ok(places),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            // Only 127.0.0.1 exists here, or 127/8 is not ours to use.
            Err(_) => break,
        }
    }
    free_ports(zones, nodes).context("cannot find free ports on 127.0.0.1")
}

fn take_block(block: u8, zones: usize, nodes: usize) -> io::Result<Places> {
    let (subnet, host) = BLOCK_LOCK_HOST;
    let lock = TcpListener::bind((Ipv4Addr::new(127, block, subnet, host), DISCOVERY_GRPC))?;
    let octet =
        |number: usize| u8::try_from(number).map_err(|_| io::Error::other("more zones or nodes than octets"));
    let mut places = Places {
        discoveries: Vec::new(),
        nodes: Vec::new(),
        gateway: node_at(Ipv4Addr::new(127, block, GATEWAY_SUBNET, DISCOVERY_HOST)),
        locks: vec![lock],
    };
    for zone in 0..zones {
        let subnet = octet(zone)?;
        places.discoveries.push(discovery_at(Ipv4Addr::new(127, block, subnet, DISCOVERY_HOST)));
        let hosts = (0..nodes).map(|node| octet(node + usize::from(NODE_HOST_FIRST)));
        let zone_nodes = hosts.map(|host| Ok(node_at(Ipv4Addr::new(127, block, subnet, host?))));
        places.nodes.push(zone_nodes.collect::<io::Result<_>>()?);
    }
    places.all().try_for_each(|place| can_bind(&place))?;
    places.move_home();
    Ok(places)
}

impl Places {
    fn all(&self) -> impl Iterator<Item = Place> {
        let nodes = self.nodes.iter().flatten();
        self.discoveries.iter().chain(nodes).chain([&self.gateway]).copied()
    }

    /// Puts the gateway and the first discovery on 127.0.0.1, where memcached clients and `ctl` look by themselves, as
    /// far as nobody is there.
    fn move_home(&mut self) {
        let Ok(lock) = TcpListener::bind((HOME_LOCK, MEMCACHED)) else { return };
        self.locks.push(lock);
        let (gateway, discovery) = (node_at(Ipv4Addr::LOCALHOST), discovery_at(Ipv4Addr::LOCALHOST));
        if can_bind(&gateway).is_ok() {
            self.gateway = gateway;
        }
        if let Some(first) = self.discoveries.first_mut()
            && can_bind(&discovery).is_ok()
        {
            *first = discovery;
        }
    }
}

fn node_at(ip: Ipv4Addr) -> Place {
    Place {
        memcached: Some(SocketAddr::from((ip, MEMCACHED))),
        grpc: SocketAddr::from((ip, NODE_GRPC)),
        http: SocketAddr::from((ip, NODE_HTTP)),
    }
}

fn discovery_at(ip: Ipv4Addr) -> Place {
    let (grpc, http) = (SocketAddr::from((ip, DISCOVERY_GRPC)), SocketAddr::from((ip, DISCOVERY_HTTP)));
    Place { memcached: None, grpc, http }
}

fn can_bind(place: &Place) -> io::Result<()> {
    let addresses = [place.memcached, Some(place.grpc), Some(place.http)];
    addresses.into_iter().flatten().try_for_each(|address| TcpListener::bind(address).map(drop))
}

/// The kernel's choice on 127.0.0.1. All are held until the last is chosen, so that none comes twice.
fn free_ports(zones: usize, nodes: usize) -> anyhow::Result<Places> {
    let mut held = Vec::new();
    let mut port = || -> io::Result<SocketAddr> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        held.push(listener);
        Ok(address)
    };
    let mut node =
        || -> io::Result<Place> { Ok(Place { memcached: Some(port()?), grpc: port()?, http: port()? }) };
    let gateway = node()?;
    let all_nodes =
        (0..zones).map(|_| (0..nodes).map(|_| node()).collect()).collect::<io::Result<Vec<Vec<_>>>>()?;
    let discoveries = (0..zones)
        .map(|_| Ok(Place { memcached: None, grpc: port()?, http: port()? }))
        .collect::<io::Result<Vec<_>>>()?;
    if discoveries.is_empty() {
        bail!("no zone, no place");
    }
    Ok(Places { discoveries, nodes: all_nodes, gateway, locks: Vec::new() })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn addresses(places: &Places) -> HashSet<SocketAddr> {
        let addresses = places.all().flat_map(|place| [place.memcached, Some(place.grpc), Some(place.http)]);
        let addresses: Vec<_> = addresses.flatten().collect();
        let unique: HashSet<_> = addresses.iter().copied().collect();
        assert_eq!(unique.len(), addresses.len());
        unique
    }

    #[test]
    fn two_at_once_share_no_address() {
        let (first, second) = (find(3, 2).unwrap(), find(3, 2).unwrap());
        assert!(addresses(&first).is_disjoint(&addresses(&second)));
        assert_eq!((first.discoveries.len(), first.nodes.len(), first.nodes[2].len()), (3, 3, 2));
    }

    #[test]
    fn free_ports_are_distinct() {
        let places = free_ports(2, 3).unwrap();
        assert_eq!(addresses(&places).len(), 2 * 2 + 2 * 3 * 3 + 3);
    }
}
