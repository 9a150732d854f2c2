//! The handle.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use evanesce_topology::{Epoch, Topology};
use evanesce_transport::ConnectionState;

use crate::builder::ClientBuilder;
use crate::closed::{Closed, close_within};
use crate::core::Core;
use crate::diagnostics::Diagnostics;
use crate::error::ConnectError;
use crate::key::KeyError;
use crate::member::Member;
use crate::namespace::Namespace;
use crate::op::{
    Arithmetic, Batch, CompareAndSet, Delete, Get, GetAndTouch, GetForCas, GetMany, Set, Store, Touch,
    WriteMany,
};
use crate::repair::RepairsDropped;
use crate::static_nodes::StaticNodes;
use crate::ttl::Ttl;
use crate::version::Version;
use crate::view::{Number, Raw, Whole};

/// A client of one cluster. Clones share everything; any thread may use it.
///
/// Its own operations take keys with their namespace; [`namespace`](Self::namespace) puts one before them.
#[derive(Clone)]
pub struct Client {
    root: Namespace,
    raw: Namespace,
}

/// One node that holds a key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Owner {
    /// The node's zone.
    pub zone: String,
    /// Its server group.
    pub group: String,
    /// Its ring name.
    pub node: String,
    /// Where it speaks memcached.
    pub address: SocketAddr,
    /// Where the client's connection to it is in its life.
    pub connection: ConnectionState,
    /// Whether it is written and never read: its server group is, or it has the key on a second ring, while its group is
    /// resized.
    pub written_only: bool,
}

impl Owner {
    fn of(member: &Member, written_only: bool) -> Self {
        Self {
            zone: member.zone.clone(),
            group: member.group.clone(),
            node: member.name.clone(),
            address: member.link.connection.address(),
            connection: member.link.connection.state(),
            written_only,
        }
    }
}

impl Client {
    /// Starts to make a client of the cluster of this name.
    pub fn builder(cluster: impl Into<String>) -> ClientBuilder {
        ClientBuilder::new(cluster.into())
    }

    pub(crate) fn new(core: Arc<Core>) -> Self {
        let root = Namespace::root(core);
        Self { raw: root.verbatim(), root }
    }

    /// The keys of one namespace. A name that cannot be one is reported by the operations.
    #[must_use]
    pub fn namespace(&self, name: impl AsRef<str>) -> Namespace {
        self.root.named(name.as_ref())
    }

    /// A version larger than all that this client has stamped or seen: for a write that goes to another place, too, under the
    /// same version. See [`Set::version`] and [`Delete::version`].
    #[must_use]
    pub fn stamp(&self) -> Version {
        self.root.core.clock.stamp(self.root.core.now())
    }

    /// A write of this version, stamped here before or by another, waits in another place: later stamps are larger, as far as nodes
    /// take them, which is some seconds ahead of their clocks.
    pub fn stamp_above(&self, version: Version) {
        self.root.core.clock.observe(version, self.root.core.now());
    }

    /// Starts to collect operations of any namespaces that travel together: see [`Batch`].
    pub fn batch(&self) -> Batch<'_> {
        Batch::new(&self.root.core)
    }

    /// All keys with bytes and flags verbatim: what a gateway wants. Keys are never hashed, values never split, compressed
    /// or joined; what this crate's other operations have stored so is shown as it is.
    #[must_use]
    pub fn raw(&self) -> &Namespace {
        &self.raw
    }

    /// The topology in force; `None` once closed.
    #[must_use]
    pub fn topology(&self) -> Option<Arc<Topology>> {
        Some(Arc::clone(self.root.core.cluster()?.placement().topology()))
    }

    /// The nodes that hold `key`, one in each server group that is written, nearest first; two in one that is resized.
    /// Empty once closed.
    ///
    /// # Errors
    ///
    /// When the key cannot be used.
    pub fn owners(&self, key: impl AsRef<[u8]>) -> Result<Vec<Owner>, KeyError> {
        let key = self.root.key(key.as_ref())?;
        let Some(cluster) = self.root.core.cluster() else { return Ok(Vec::new()) };
        let hash = cluster.placement().key_hash(key.as_bytes());
        let read = cluster.read_order().iter().copied();
        let groups = read.clone().chain(
            (0..cluster.groups())
                .filter(|group| cluster.mode(*group).is_written() && !cluster.read_order().contains(group)),
        );
        let owners = groups.flat_map(|group| {
            let written_only = !cluster.mode(group).is_read();
            let first = cluster.owner(group, hash).map(|member| Owner::of(member, written_only));
            let second = cluster.second_owner(group, hash).map(|member| Owner::of(member, true));
            first.into_iter().chain(second)
        });
        Ok(owners.collect())
    }

    /// Puts another list of nodes in force, in place of the one that the client was made with: one was added, replaced or
    /// moved. Returns once the new nodes are connected or known to be away; connections and rings that stay the same are
    /// kept. Operations under way end as they began.
    ///
    /// # Errors
    ///
    /// When the list is wrong, has no node, or the client does not live on a list. The one in force stays then.
    pub async fn replace_nodes(&self, nodes: &StaticNodes) -> Result<(), ConnectError> {
        let core = &self.root.core;
        #[cfg(feature = "discovery")]
        if core.watch.lock().is_some() {
            return Err(ConnectError::NotReplaceable);
        }
        let before = self.topology().ok_or(ConnectError::NotReplaceable)?;
        Ok(core.adopt(nodes.topology(&before.cluster, Epoch(before.epoch.0 + 1))?).await?)
    }

    /// Closes the client and all its clones: new operations fail, those under way end, connections close with them.
    ///
    /// Replicas that have missed writes are given them first, for as long as a write may take. Returns how many are
    /// left, which such a replica will not have until something is read or written again, or nodes reconcile.
    /// [`close_within`](Self::close_within) tells more of them.
    pub async fn close(&self) -> usize {
        self.close_within(self.root.core.settings.write_timeout).await.missed()
    }

    /// The same, for as long as `limit` at most: less when nothing is left. Tells which nodes are owed what.
    pub async fn close_within(&self, limit: Duration) -> Closed {
        close_within(&self.root.core, limit).await
    }

    /// All that the client knows of itself and its nodes, for a support ticket.
    #[must_use]
    pub fn diagnostics(&self) -> Diagnostics {
        Diagnostics::of(&self.root.core)
    }

    /// Writes that some replica has missed and does not have yet; they are sent when it is back.
    #[must_use]
    pub fn repairs_pending(&self) -> usize {
        self.root.core.repairs.lock().len()
    }

    /// Missed writes given up for lack of room since the client was made, by node.
    #[must_use]
    pub fn repairs_dropped(&self) -> Vec<RepairsDropped> {
        self.root.core.repairs.lock().dropped()
    }

    /// Reads a value. A miss is `None`.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Get<'_, Raw> {
        self.root.get(key)
    }

    /// Reads an item: value, flags, CAS token and remaining TTL.
    pub fn get_item(&self, key: impl AsRef<[u8]>) -> Get<'_, Whole> {
        self.root.get_item(key)
    }

    /// Reads the number that [`incr`](Self::incr) and [`decr`](Self::decr) count, as the local zone has it.
    pub fn get_number(&self, key: impl AsRef<[u8]>) -> Get<'_, Number> {
        self.root.get_number(key)
    }

    /// Reads many values, one batch for each node. A repeated key is answered as often.
    pub fn get_many<K: AsRef<[u8]>>(&self, keys: impl IntoIterator<Item = K>) -> GetMany<'_, Raw> {
        self.root.get_many(keys)
    }

    /// Reads many items.
    pub fn get_many_items<K: AsRef<[u8]>>(&self, keys: impl IntoIterator<Item = K>) -> GetMany<'_, Whole> {
        self.root.get_many_items(keys)
    }

    /// Stores a value in every zone.
    pub fn set(&self, key: impl AsRef<[u8]>, value: impl Into<Bytes>) -> Set<'_> {
        self.root.set(key, value)
    }

    /// Stores many values in every zone, so many at a time that others get through.
    pub fn set_many<K: AsRef<[u8]>, V: Into<Bytes>>(
        &self,
        entries: impl IntoIterator<Item = (K, V)>,
    ) -> WriteMany<'_> {
        self.root.set_many(entries)
    }

    /// Deletes many keys in every zone.
    pub fn delete_many<K: AsRef<[u8]>>(&self, keys: impl IntoIterator<Item = K>) -> WriteMany<'_> {
        self.root.delete_many(keys)
    }

    /// Stores a value if the key is absent. The key's home zone decides.
    pub fn add(&self, key: impl AsRef<[u8]>, value: impl Into<Bytes>) -> Store<'_> {
        self.root.add(key, value)
    }

    /// Stores a value if the key is present. The key's home zone decides.
    pub fn replace(&self, key: impl AsRef<[u8]>, value: impl Into<Bytes>) -> Store<'_> {
        self.root.replace(key, value)
    }

    /// Puts bytes behind the value that is there. The key's home zone decides.
    pub fn append(&self, key: impl AsRef<[u8]>, value: impl Into<Bytes>) -> Store<'_> {
        self.root.append(key, value)
    }

    /// Puts bytes before the value that is there. The key's home zone decides.
    pub fn prepend(&self, key: impl AsRef<[u8]>, value: impl Into<Bytes>) -> Store<'_> {
        self.root.prepend(key, value)
    }

    /// Adds to a number, as decimal digits; wraps at 64 bits. The key's home zone counts.
    pub fn incr(&self, key: impl AsRef<[u8]>, delta: u64) -> Arithmetic<'_> {
        self.root.incr(key, delta)
    }

    /// Takes from a number, as decimal digits; stops at 0. The key's home zone counts.
    pub fn decr(&self, key: impl AsRef<[u8]>, delta: u64) -> Arithmetic<'_> {
        self.root.decr(key, delta)
    }

    /// Reads an item with the CAS token that [`compare_and_set`](Self::compare_and_set) wants, from the key's home zone.
    pub fn get_for_cas(&self, key: impl AsRef<[u8]>) -> GetForCas<'_> {
        self.root.get_for_cas(key)
    }

    /// Stores a value if nobody changed the item since its token was read. The key's home zone decides.
    pub fn compare_and_set(
        &self,
        key: impl AsRef<[u8]>,
        cas: u64,
        value: impl Into<Bytes>,
    ) -> CompareAndSet<'_> {
        self.root.compare_and_set(key, cas, value)
    }

    /// Deletes a key in every zone.
    pub fn delete(&self, key: impl AsRef<[u8]>) -> Delete<'_> {
        self.root.delete(key)
    }

    /// Gives an item a new TTL in every zone.
    pub fn touch(&self, key: impl AsRef<[u8]>, ttl: impl Into<Ttl>) -> Touch<'_> {
        self.root.touch(key, ttl)
    }

    /// Reads a value and gives the item a new TTL, in every zone.
    pub fn get_and_touch(&self, key: impl AsRef<[u8]>, ttl: impl Into<Ttl>) -> GetAndTouch<'_, Raw> {
        self.root.get_and_touch(key, ttl)
    }

    /// Reads an item and gives it a new TTL, in every zone.
    pub fn get_item_and_touch(&self, key: impl AsRef<[u8]>, ttl: impl Into<Ttl>) -> GetAndTouch<'_, Whole> {
        self.root.get_item_and_touch(key, ttl)
    }
}
