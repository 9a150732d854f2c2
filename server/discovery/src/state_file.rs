//! Membership and epochs on disk.
//!
//! One JSON file, `registry.json`, in a directory that belongs to one discovery: replaced as a whole (written beside,
//! flushed, renamed, the directory flushed), so that a crash leaves the old one or the new one. `registry.lock` is
//! held for as long as the discovery lives.
//!
//! ```json
//! {"format": "evanesce-registry", "version": 1, "clusters": [
//!   {"name": "HOME", "epoch": 1795208565000, "ring": "evanesce", "groups": [
//!     {"name": "a1", "zone": "a", "mode": "read-write", "nodes": [
//!       {"name": "a1-0", "ring_text": "a1-0", "weight": 1, "state": "serving", "incarnation": 7,
//!        "memcached": "127.0.0.1:11211", "grpc": null, "http": null, "version": "0.1.0", "capabilities": []}]}]}]}
//! ```
//!
//! A cluster has the `rosters` of its groups that are not open, if any. A group that is resized has its second ring beside its nodes, `"second": {"role": "next", "nodes": [...]}`, or
//! `previous`; others have no such word, as files of before had none.

mod rosters;

use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use evanesce_topology::{Epoch, Node, SecondRing, ServerGroup, Topology};
use serde::{Deserialize, Serialize};

use crate::registry::Kept;
use rosters::SavedRoster;

/// The state's file in the state directory.
const FILE_NAME: &str = "registry.json";

/// The state's file while it is written.
const NEW_FILE_NAME: &str = "registry.json.new";

/// Held while a discovery uses the directory.
const LOCK_NAME: &str = "registry.lock";

/// Tells our file from another program's.
const FORMAT: &str = "evanesce-registry";

/// The one version of the format so far.
const VERSION: u32 = 1;

/// A full registry's file has some 400 bytes a node; beyond this it is not ours, and is not read into memory.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// Why the state on disk cannot be used. An operator must act: starting without it could show clients a topology with
/// few nodes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The directory or a file in it cannot be used.
    #[error("cannot use {path}: give the discovery a state directory that it may write")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another process has the directory.
    #[error(
        "{path} is held by another discovery: stop that one, or give this one a state directory of its own"
    )]
    Held {
        /// The lock's file.
        path: PathBuf,
    },
    /// The file is damaged, or not a registry's.
    #[error("{path} is no registry's state ({fault}): move it away to start without it, or restore it")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: String,
    },
    /// The file was written by a later release.
    #[error(
        "{path} has version {version} of the format, and this release reads {VERSION}: start the release that wrote \
         it, or move it away to start without it"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
}

/// The state directory of one discovery.
#[derive(Debug)]
pub(crate) struct StateFile {
    directory: PathBuf,
    /// Locked until dropped.
    _lock: File,
}

impl StateFile {
    /// Makes the directory where there is none, and claims it.
    pub(crate) fn open(directory: &Path) -> Result<Self, StateError> {
        std::fs::create_dir_all(directory).map_err(at(directory))?;
        let path = directory.join(LOCK_NAME);
        let mut options = OpenOptions::new();
        let lock = options.create(true).truncate(false).write(true).open(&path).map_err(at(&path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { directory: directory.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(StateError::Held { path }),
            Err(TryLockError::Error(source)) => Err(StateError::Io { path, source }),
        }
    }

    /// Where the state is.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.join(FILE_NAME)
    }

    /// What was kept; nothing where there is no file.
    pub(crate) fn load(&self) -> Result<Vec<Kept>, StateError> {
        let path = self.path();
        let bytes = match read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            read => read.map_err(at(&path))?,
        };
        let damaged = |fault: String| StateError::Damaged { path: path.clone(), fault };
        let header: Header = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        if header.format != FORMAT {
            return Err(damaged(format!("its format is {:?}", header.format)));
        }
        if header.version != VERSION {
            return Err(StateError::Newer { path, version: header.version });
        }
        let state: State = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        let mut names = BTreeSet::new();
        if let Some(twice) = state.clusters.iter().find(|cluster| !names.insert(&cluster.name)) {
            return Err(damaged(format!("cluster {:?} is there twice", twice.name)));
        }
        state.clusters.into_iter().map(Kept::try_from).collect::<Result<_, _>>().map_err(damaged)
    }

    /// Replaces what was kept. Blocks on the disk.
    pub(crate) fn save(&self, membership: &[Kept]) -> io::Result<()> {
        let clusters = membership.iter().map(SavedCluster::from).collect();
        let state = State { format: FORMAT.to_owned(), version: VERSION, clusters };
        let mut bytes = serde_json::to_vec(&state)?;
        bytes.push(b'\n');
        let beside = self.directory.join(NEW_FILE_NAME);
        let mut file = File::create(&beside)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&beside, self.path())?;
        File::open(&self.directory)?.sync_all()
    }
}

fn at(path: &Path) -> impl Fn(io::Error) -> StateError {
    let path = path.to_owned();
    move |source| StateError::Io { path: path.clone(), source }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let bytes = std::fs::metadata(path)?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than any registry's state"));
    }
    std::fs::read(path)
}

/// What every version of the file has.
#[derive(Deserialize)]
struct Header {
    format: String,
    version: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    format: String,
    version: u32,
    clusters: Vec<SavedCluster>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedCluster {
    name: String,
    epoch: u64,
    ring: String,
    groups: Vec<SavedGroup>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    rosters: Vec<SavedRoster>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedGroup {
    name: String,
    zone: String,
    mode: String,
    nodes: Vec<SavedNode>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    second: Option<SavedRing>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedRing {
    role: String,
    nodes: Vec<SavedNode>,
    #[serde(default)]
    change: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedNode {
    name: String,
    ring_text: String,
    weight: u32,
    state: String,
    incarnation: u64,
    memcached: SocketAddr,
    grpc: Option<SocketAddr>,
    http: Option<SocketAddr>,
    version: String,
    capabilities: Vec<String>,
}

impl From<&Kept> for SavedCluster {
    fn from(Kept { topology, rosters }: &Kept) -> Self {
        Self {
            rosters: rosters.iter().map(SavedRoster::from).collect(),
            name: topology.cluster.clone(),
            epoch: topology.epoch.0,
            ring: topology.profile.to_string(),
            groups: topology.groups.iter().map(SavedGroup::from).collect(),
        }
    }
}

impl From<&ServerGroup> for SavedGroup {
    fn from(group: &ServerGroup) -> Self {
        Self {
            name: group.name.clone(),
            zone: group.zone.clone(),
            mode: group.mode.to_string(),
            nodes: group.nodes.iter().map(SavedNode::from).collect(),
            second: group.second.as_ref().map(SavedRing::from),
        }
    }
}

impl From<&SecondRing> for SavedRing {
    fn from(second: &SecondRing) -> Self {
        Self {
            role: second.role.to_string(),
            nodes: second.nodes.iter().map(SavedNode::from).collect(),
            change: second.change,
        }
    }
}

impl From<&Node> for SavedNode {
    fn from(node: &Node) -> Self {
        Self {
            name: node.name.clone(),
            ring_text: node.ring_text.clone(),
            weight: node.weight,
            state: node.state.to_string(),
            incarnation: node.incarnation,
            memcached: node.memcached,
            grpc: node.grpc,
            http: node.http,
            version: node.version.clone(),
            capabilities: node.capabilities.clone(),
        }
    }
}

impl TryFrom<SavedCluster> for Kept {
    type Error = String;

    fn try_from(saved: SavedCluster) -> Result<Self, String> {
        let groups = saved.groups.into_iter().map(ServerGroup::try_from).collect::<Result<_, _>>()?;
        let topology = Topology::new(saved.name, Epoch(saved.epoch), word(&saved.ring)?, groups);
        let rosters = saved.rosters.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?;
        Ok(Self { topology: topology.map_err(|error| error.to_string())?, rosters })
    }
}

impl TryFrom<SavedGroup> for ServerGroup {
    type Error = String;

    fn try_from(saved: SavedGroup) -> Result<Self, String> {
        let nodes = saved.nodes.into_iter().map(Node::try_from).collect::<Result<_, _>>()?;
        let second = saved.second.map(SecondRing::try_from).transpose()?;
        Ok(Self { name: saved.name, zone: saved.zone, mode: word(&saved.mode)?, nodes, second })
    }
}

impl TryFrom<SavedRing> for SecondRing {
    type Error = String;

    fn try_from(saved: SavedRing) -> Result<Self, String> {
        let nodes = saved.nodes.into_iter().map(Node::try_from).collect::<Result<_, _>>()?;
        Ok(Self { role: word(&saved.role)?, nodes, change: saved.change })
    }
}

impl TryFrom<SavedNode> for Node {
    type Error = String;

    fn try_from(saved: SavedNode) -> Result<Self, String> {
        Ok(Self {
            state: word(&saved.state)?,
            name: saved.name,
            ring_text: saved.ring_text,
            weight: saved.weight,
            incarnation: saved.incarnation,
            memcached: saved.memcached,
            grpc: saved.grpc,
            http: saved.http,
            version: saved.version,
            capabilities: saved.capabilities,
        })
    }
}

fn word<T: FromStr<Err: Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| error.to_string())
}

#[cfg(test)]
mod tests {
    use evanesce_grpc::discovery::v1::{Place, Roster, Stage};
    use evanesce_topology::{GroupMode, NodeState, RingHash, RingProfile, RingRole};

    use super::*;

    fn rich() -> Vec<Kept> {
        let node = |name: &str, state| Node {
            name: name.to_owned(),
            ring_text: "host \"é\"/10.0.0.1:11211 ".to_owned() + name,
            weight: 7,
            state,
            incarnation: u64::MAX,
            memcached: "[2001:db8::1]:11211".parse().unwrap(),
            grpc: Some("10.0.0.1:1".parse().unwrap()),
            http: None,
            version: "0.1.0-rc.1".to_owned(),
            capabilities: vec!["one".to_owned(), "two".to_owned()],
        };
        let group = |name: &str, mode| ServerGroup {
            name: name.to_owned(),
            zone: "a".to_owned(),
            mode,
            nodes: vec![node("n1", NodeState::Down), node("n2", NodeState::Warming)],
            second: None,
        };
        let profile = RingProfile { hash: RingHash::Evanesce, points_per_node: 77 };
        let next =
            SecondRing { role: RingRole::Next, nodes: vec![node("n2", NodeState::Warming)], change: 3 };
        let resized = ServerGroup { second: Some(next), ..group("g2", GroupMode::Disabled) };
        let groups = vec![group("g1", GroupMode::WriteOnly), resized];
        let topology = Topology::new("HOME".to_owned(), Epoch(1 << 62), profile, groups).unwrap();
        let place = |name: &str| Place { name: name.to_owned(), ring_text: "text".to_owned() };
        let roster = Roster {
            group: "g2".to_owned(),
            zone: "a".to_owned(),
            revision: 1 << 61,
            stage: Stage::Filling.into(),
            nodes: vec![place("n1")],
            others: vec![place("n2")],
            change: 7,
            what: "replace n1 with \"n2\"".to_owned(),
            nodes_min: 3,
        };
        vec![Kept { topology, rosters: vec![roster] }]
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let directory = tempfile::tempdir().unwrap();
        let file = StateFile::open(directory.path()).unwrap();
        assert_eq!(file.load().unwrap(), []);
        file.save(&rich()).unwrap();
        assert_eq!(file.load().unwrap(), rich());
        file.save(&[]).unwrap();
        assert_eq!(file.load().unwrap(), []);
    }

    #[test]
    fn group_with_one_ring_is_kept_as_it_was_before_there_were_two() {
        let directory = tempfile::tempdir().unwrap();
        let file = StateFile::open(directory.path()).unwrap();
        let mut topologies = rich();
        topologies[0].topology.groups[1].second = None;
        topologies[0].rosters.clear();
        file.save(&topologies).unwrap();
        let kept = std::fs::read_to_string(file.path()).unwrap();
        assert!(!kept.contains("second") && !kept.contains("roster"), "{kept}");
        assert_eq!(file.load().unwrap(), topologies);
    }

    /// A crash between the writing and the renaming leaves both files; the next save must not trip over it.
    #[test]
    fn half_written_file_of_a_crash_is_ignored_and_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let file = StateFile::open(directory.path()).unwrap();
        file.save(&rich()).unwrap();
        std::fs::write(directory.path().join(NEW_FILE_NAME), "{\"format\":").unwrap();
        assert_eq!(file.load().unwrap(), rich());
        file.save(&[]).unwrap();
        assert_eq!(file.load().unwrap(), []);
    }
}
