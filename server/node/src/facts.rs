//! From what an operator wrote to what a node tells of itself.

use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;

use evanesce_front::{FrontConfig, listen_to_tell};
use evanesce_membership::NodeFacts;
use evanesce_store::StoreConfig;
use evanesce_topology::{Epoch, GroupMode, Node, NodeState, ServerGroup, Topology, TopologyError};
use evanesce_wire::{CAPABILITY_AUTH, CAPABILITY_TLS, CAPABILITY_VERSIONS, Limits};

use crate::config::NodeConfig;
use crate::shared::VERSION;
use crate::warm::CAPABILITY_PEER;

/// Shards for each worker thread: two threads rarely meet at one lock then.
const SHARDS_PER_THREAD: usize = 4;

/// The least memory a shard is given: smaller ones evict out of order and waste their open segments.
const SHARD_BYTES_MIN: usize = 4 << 20;

/// Requests in pieces, and replies to slow readers, may each hold one part in this many of the memory...
const BUFFERS_PART_OF_MEMORY: usize = 16;

/// ...but always so many of the largest item, or one slow peer could stop all others' large sets.
const BUFFERED_ITEMS_MIN: usize = 8;

/// Addresses as they were bound.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Addresses {
    pub(crate) memcached: SocketAddr,
    pub(crate) grpc: Option<SocketAddr>,
    pub(crate) http: Option<SocketAddr>,
}

impl NodeConfig {
    /// The store this node needs.
    pub(crate) fn store(&self) -> StoreConfig {
        let shards = (self.threads.get() * SHARDS_PER_THREAD).min(self.memory_bytes / SHARD_BYTES_MIN).max(1);
        StoreConfig {
            memory_bytes: self.memory_bytes,
            item_bytes_max: self.item_bytes_max,
            shards: shards.try_into().expect("at least 1"),
            writer: self.writer(),
            hash_seed: self.hash_seed,
            namespaces: self.namespaces.clone(),
            memory_file: self.memory_file.clone(),
        }
    }

    /// Stands in the versions of this node's writes: the same for one name, most likely another for another. Even: the
    /// lowest bit is that of decisions.
    fn writer(&self) -> u16 {
        let mix = |sum: u32, byte: u8| (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        let name = self.group.bytes().chain([b'/']).chain(self.name.bytes());
        (name.fold(0x811c_9dc5, mix) >> 16) as u16 & !1
    }

    /// The front this node needs.
    pub(crate) fn front(&self) -> FrontConfig {
        let defaults = FrontConfig::new(self.listen.clone(), self.threads);
        let buffers = |default: usize| {
            let part = default.min(self.memory_bytes / BUFFERS_PART_OF_MEMORY);
            part.max(self.item_bytes_max.saturating_mul(BUFFERED_ITEMS_MIN))
        };
        FrontConfig {
            tls: self.tls.clone(),
            auth_file: self.auth_file.clone(),
            connections_max: self.connections_max,
            limits: Limits { value_bytes_max: self.item_bytes_max, ..Limits::default() },
            input_bytes_max: buffers(defaults.input_bytes_max),
            output_bytes_max: buffers(defaults.output_bytes_max),
            idle_timeout: self.idle_timeout,
            ..defaults
        }
    }

    /// What `config get cluster` answers, if it is to be answered: this node alone. Its version is 1, for it never
    /// changes.
    pub(crate) fn configuration(&self, bound: Addresses) -> Option<String> {
        let address = self.advertise_memcached.unwrap_or(bound.memcached);
        let answers = self.config_get_cluster && !address.ip().is_unspecified();
        answers.then(|| format!("1\n{ip}|{ip}|{port}\n", ip = address.ip(), port = address.port()))
    }

    /// Whether it asks anybody for a password or a certificate: gRPC, which asks nobody, then gives no items.
    pub(crate) fn is_guarded(&self) -> bool {
        self.auth_file.is_some() || self.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some())
    }

    /// What it can do, and what it asks of whoever comes to the address it tells.
    fn capabilities(&self) -> Vec<String> {
        let told = listen_to_tell(&self.listen);
        let speaks_tls = told.is_some_and(|told| told.is_tls());
        let asks_password = self.auth_file.is_some() && told.is_some_and(|told| told.auth);
        let words = [
            (CAPABILITY_VERSIONS, true),
            (CAPABILITY_TLS, speaks_tls),
            (CAPABILITY_AUTH, asks_password),
            (CAPABILITY_PEER, self.grpc.is_some() && !self.is_guarded()),
        ];
        words.into_iter().filter(|(_, holds)| *holds).map(|(word, _)| word.to_owned()).collect()
    }

    /// What the node tells discoveries.
    ///
    /// # Errors
    ///
    /// A name, the ring text, the weight or an address breaks a rule of topologies.
    pub(crate) fn facts(&self, bound: Addresses) -> Result<NodeFacts, TopologyError> {
        let node = Node {
            name: self.name.clone(),
            ring_text: self.ring_text.clone().unwrap_or_else(|| self.name.clone()),
            weight: self.weight,
            state: NodeState::Joining,
            incarnation: incarnation(),
            memcached: self.advertise_memcached.unwrap_or(bound.memcached),
            grpc: self.advertise_grpc.or(bound.grpc),
            http: self.advertise_http.or(bound.http),
            version: VERSION.to_owned(),
            capabilities: self.capabilities(),
        };
        let group = ServerGroup {
            name: self.group.clone(),
            zone: self.zone.clone(),
            mode: GroupMode::default(),
            nodes: vec![node.clone()],
            second: None,
        };
        Topology::new(self.cluster.clone(), Epoch::default(), self.profile, vec![group])?;
        Ok(NodeFacts {
            cluster: self.cluster.clone(),
            profile: self.profile,
            group: self.group.clone(),
            zone: self.zone.clone(),
            node,
        })
    }
}

/// A number that no other process under the same name has. The standard library's random hasher keys come from the
/// system's source of randomness.
fn incarnation() -> u64 {
    RandomState::new().hash_one(std::process::id()).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound() -> Addresses {
        Addresses { memcached: "127.0.0.1:11211".parse().unwrap(), grpc: None, http: None }
    }

    #[test]
    fn names_and_advertised_address_reach_the_registration() {
        let advertised: SocketAddr = "10.0.0.7:11211".parse().unwrap();
        let config = NodeConfig { advertise_memcached: Some(advertised), ..NodeConfig::default() };
        let facts = config.facts(bound()).unwrap();
        assert_eq!((facts.node.ring_text.as_str(), facts.node.memcached), ("node", advertised));
        assert_eq!(facts.node.capabilities, [CAPABILITY_VERSIONS]);
    }

    #[test]
    fn registration_says_what_the_address_told_asks_for() {
        let told = |listen: &[&str]| {
            let listen = listen.iter().map(|text| text.parse().unwrap()).collect();
            let config = NodeConfig { listen, auth_file: Some("users".into()), ..NodeConfig::default() };
            config.facts(bound()).unwrap().node.capabilities
        };
        assert_eq!(told(&["tls://127.0.0.1:1", "127.0.0.1:2?auth=off"]), ["versions", "tls", "auth"]);
        assert_eq!(told(&["unix:/a", "127.0.0.1:2?auth=off", "tls://127.0.0.1:1"]), ["versions"]);
        assert_eq!(told(&["tls://127.0.0.1:1?auth=off"]), ["versions", "tls"]);
    }

    #[test]
    fn address_nobody_can_reach_is_refused() {
        let everywhere = Addresses { memcached: "0.0.0.0:11211".parse().unwrap(), ..bound() };
        assert!(NodeConfig::default().facts(everywhere).is_err());
        assert!(
            NodeConfig { name: "not a name".to_owned(), ..NodeConfig::default() }.facts(bound()).is_err()
        );
    }

    #[test]
    fn small_memory_gets_few_shards_and_room_for_its_largest_items() {
        let config = NodeConfig { memory_bytes: 8 << 20, ..NodeConfig::default() };
        assert_eq!(config.store().shards.get(), 2);
        assert_eq!(config.front().input_bytes_max, 8 << 20);
    }
}
