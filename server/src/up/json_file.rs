//! The file of `--json`.

use std::fs::{File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::Serialize;
use tempfile::NamedTempFile;

/// For everyone, less what the umask takes away.
const MODE: u32 = 0o666;

/// Where the file goes.
#[derive(Debug)]
pub(crate) struct JsonFile {
    path: PathBuf,
    /// A pipe or a device: written to, because a rename would put a file in its place.
    stream: bool,
}

impl JsonFile {
    /// Makes sure that the file can be written, before anything depends on it, and takes away that of an earlier run:
    /// whoever waits for it would take the processes of that run for those of this one.
    pub(crate) fn claim(path: &Path) -> anyhow::Result<Self> {
        let stream = match path.metadata() {
            Ok(there) if there.is_dir() => bail!("cannot write {}: it is a directory", path.display()),
            Ok(there) => !there.is_file(),
            Err(_) => false,
        };
        // A link stays, and what it leads to is replaced.
        let path = path.canonicalize().ok().filter(|_| !stream).unwrap_or_else(|| path.to_owned());
        let file = Self { path, stream };
        if !stream {
            file.create()?;
            match std::fs::remove_file(&file.path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("cannot replace {}", file.path.display()));
                }
                _ => {}
            }
        }
        Ok(file)
    }

    /// Writes the file whole: readers see none, or the old one, or the new one.
    pub(crate) fn write(&self, value: &impl Serialize) -> anyhow::Result<()> {
        let cannot = || format!("cannot write {}", self.path.display());
        let mut text = serde_json::to_string_pretty(value).with_context(cannot)?;
        text.push('\n');
        if self.stream {
            let mut stream = File::options().write(true).open(&self.path).with_context(cannot)?;
            return stream.write_all(text.as_bytes()).with_context(cannot);
        }
        let mut whole = self.create()?;
        whole.write_all(text.as_bytes()).with_context(cannot)?;
        whole.persist(&self.path).map_err(|error| error.error).with_context(cannot)?;
        Ok(())
    }

    /// A new file beside the one to write, gone when dropped.
    fn create(&self) -> anyhow::Result<NamedTempFile> {
        let dir = self.path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !dir.is_dir() {
            bail!("cannot write {}: {} is no directory", self.path.display(), dir.display());
        }
        let created = tempfile::Builder::new().permissions(Permissions::from_mode(MODE)).tempfile_in(dir);
        created.with_context(|| format!("cannot write {}", self.path.display()))
    }
}
