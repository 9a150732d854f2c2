//! Where the programs are.

use std::path::{Path, PathBuf};

use anyhow::bail;

/// The programs that suites start.
#[derive(Debug, Clone)]
pub struct Programs {
    /// `evanesce`.
    pub evanesce: PathBuf,
    /// `evanesce-loadtest`.
    pub loadtest: PathBuf,
    /// Stock `memcached`.
    pub memcached: PathBuf,
}

impl Programs {
    /// Ours beside the running suite, in the same target directory; memcached wherever `PATH` has it.
    ///
    /// # Errors
    /// When one is missing, with the command that makes it.
    pub fn find() -> anyhow::Result<Programs> {
        let suite = std::env::current_exe()?;
        let directory = suite.parent().unwrap_or(Path::new("."));
        let ours = |name: &str| {
            let path = directory.join(name);
            if path.exists() {
                Ok(path)
            } else {
                bail!("{name} is not built: cargo build --release -p {name}")
            }
        };
        let searched = std::env::var_os("PATH").unwrap_or_default();
        let memcached =
            std::env::split_paths(&searched).map(|path| path.join("memcached")).find(|path| path.exists());
        let Some(memcached) = memcached else { bail!("memcached is missing: apt-get install memcached") };
        Ok(Programs { evanesce: ours("evanesce")?, loadtest: ours("evanesce-loadtest")?, memcached })
    }
}
