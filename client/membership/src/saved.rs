//! The last topology on disk, for a start without any discovery.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use evanesce_grpc::discovery::v1;
use evanesce_topology::Topology;
use prost::Message;
use thiserror::Error;

/// What the file begins with; the number is the format's.
const HEADER: &[u8] = b"evanesce topology 1\n";

/// Some 50,000 nodes: a file beyond it is another.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// A file that holds one topology. Written whole, and put in place by renaming: it is the old or the new one, never a
/// part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedTopology {
    path: PathBuf,
}

/// Why a saved topology cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SavedTopologyError {
    /// It cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is no saved topology, or one of another version.
    #[error("{} is no topology this version can read: delete it", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// It is another cluster's.
    #[error("{} has cluster {found:?} and not {expected:?}: give each cluster a file of its own", path.display())]
    OtherCluster {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        found: String,
        /// Whose it should be.
        expected: String,
    },
}

impl SavedTopology {
    /// The file at `path`, which need not be there yet. Its directory must.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts `topology` in place of what is there. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn save(&self, topology: &Topology) -> Result<(), SavedTopologyError> {
        let mut bytes = HEADER.to_vec();
        bytes.extend(v1::Topology::from(topology).encode_to_vec());
        // Beside it, so that renaming stays within one file system; of this process, so that two do not mix.
        let beside = self.path.with_extension(format!("{}.new", std::process::id()));
        let written = write_synced(&beside, &bytes).and_then(|()| fs::rename(&beside, &self.path));
        written.map_err(|source| {
            // It may not even be there.
            let _ = fs::remove_file(&beside);
            self.io(source)
        })
    }

    /// Reads the topology of `cluster`; `None` when there is no file. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is something else.
    pub fn load(&self, cluster: &str) -> Result<Option<Topology>, SavedTopologyError> {
        let foreign = || SavedTopologyError::Foreign { path: self.path.clone() };
        let bytes = match fs::metadata(&self.path) {
            Ok(file) if file.len() > FILE_BYTES_MAX || !file.is_file() => return Err(foreign()),
            Ok(_) => fs::read(&self.path).map_err(|source| self.io(source))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(self.io(source)),
        };
        let message = bytes.strip_prefix(HEADER).ok_or_else(foreign)?;
        let message = v1::Topology::decode(message).map_err(|_| foreign())?;
        let topology = Topology::try_from(message).map_err(|_| foreign())?;
        if topology.cluster != cluster {
            let (found, expected) = (topology.cluster, cluster.to_owned());
            return Err(SavedTopologyError::OtherCluster { path: self.path.clone(), found, expected });
        }
        Ok(Some(topology))
    }

    fn io(&self, source: io::Error) -> SavedTopologyError {
        SavedTopologyError::Io { path: self.path.clone(), source }
    }
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use evanesce_topology::{Epoch, RingProfile};

    use super::*;

    fn topology() -> Topology {
        Topology::new("HOME".into(), Epoch(7), RingProfile::EVANESCE, Vec::new()).expect("a good topology")
    }

    #[test]
    fn saved_topology_comes_back_and_the_next_one_replaces_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let saved = SavedTopology::new(directory.path().join("home.topology"));
        assert_eq!(saved.load("HOME").expect("no file is no error"), None);
        for epoch in [7, 8] {
            let topology = Topology { epoch: Epoch(epoch), ..topology() };
            saved.save(&topology).expect("it is written");
            assert_eq!(saved.load("HOME").expect("it is read"), Some(topology));
        }
        assert_eq!(fs::read_dir(directory.path()).expect("it is there").count(), 1);
    }

    #[test]
    fn foreign_and_damaged_files_are_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let saved = SavedTopology::new(directory.path().join("home.topology"));
        for content in
            [&b""[..], b"something else", b"evanesce topology 2\n", b"evanesce topology 1\n\xff\xff"]
        {
            fs::write(saved.path(), content).expect("it is written");
            let error = saved.load("HOME").expect_err("it is refused");
            assert!(matches!(error, SavedTopologyError::Foreign { .. }), "{error}");
        }
        saved.save(&topology()).expect("it is written");
        let error = saved.load("OTHER").expect_err("it is refused");
        assert!(matches!(error, SavedTopologyError::OtherCluster { .. }), "{error}");
    }

    #[test]
    fn directory_that_is_not_there_is_named() {
        let saved = SavedTopology::new("/nowhere/at/all");
        assert!(saved.save(&topology()).expect_err("it is refused").to_string().contains("/nowhere/at/all"));
    }
}
