//! The parts of the suite under load and faults, beside the checks of each store.

use std::path::{Path, PathBuf};

use evanesce_tests::Programs;
use evanesce_tests::suite::Part;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::Runtime;

use crate::{down, killed, same_keys, stampede, throughput};

/// What every part runs on.
pub(crate) struct Bench {
    pub(crate) programs: Programs,
    pub(crate) directory: PathBuf,
    /// What the script installed.
    pub(crate) installed: PathBuf,
    pub(crate) short: bool,
    pub(crate) runtime: Runtime,
}

pub(crate) const PARTS: [Part<Bench>; 5] = [
    ("stampede", stampede::run),
    ("same-keys", same_keys::run),
    ("killed", killed::run),
    ("down", down::run),
    ("throughput", throughput::run),
];

impl Bench {
    /// `evanesce` beside this suite; no other program is needed.
    pub(crate) fn new(
        directory: &Path,
        installed: &Path,
        short: bool,
        runtime: Runtime,
    ) -> anyhow::Result<Self> {
        let evanesce = std::env::current_exe()?.with_file_name("evanesce");
        anyhow::ensure!(evanesce.exists(), "{} is not built: see tests/persister/run", evanesce.display());
        let programs = Programs { evanesce, loadtest: PathBuf::new(), memcached: PathBuf::new() };
        let files = getrlimit(Resource::Nofile);
        // Thousands of connections. Where that may not be raised, connecting says what is missing.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files });
        let (directory, installed) = (directory.to_owned(), installed.to_owned());
        Ok(Self { programs, directory, installed, short, runtime })
    }
}
