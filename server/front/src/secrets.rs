//! What a front proves itself with and asks of its peers: certificates and users, read from files again as they change.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::ServerConfig;

use crate::stats::Counters;
use crate::tls::{TlsFiles, server_config};
use crate::users::{Users, UsersError};

/// Bytes of one such file: more is not what it is taken for.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Permissions that a secret file should not give: to others to do anything, to its group to change it.
const OTHERS_MODE: u32 = 0o027;

/// Why certificates or users cannot be taken from their files. The operator's to mend.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretsError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}; name a file that this process may read", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is no PEM file, or has nothing of the kind.
    #[error("{path} holds no {what} in PEM form: give it one", path = path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// Certificate and key do not work, or not together.
    #[error("certificate {cert} and key {key} cannot be used: {why}", cert = cert.display(), key = key.display())]
    Certificate {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The certificates of the authorities that clients are to be signed by do not work.
    #[error("{path} cannot vouch for clients: {why}", path = path.display())]
    ClientCa {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The authentication file is wrong.
    #[error("authentication file {path}: {source}", path = path.display())]
    Users {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: UsersError,
    },
}

/// What is in force, and where it comes from.
#[derive(Debug, Default)]
pub(crate) struct Secrets {
    tls: Option<Watched<TlsFiles, ServerConfig>>,
    users: Option<Watched<UsersFile, Users>>,
}

/// Something made from files.
#[derive(Debug)]
struct Watched<F, T> {
    files: F,
    inforce: ArcSwap<T>,
    seen: Mutex<Seen>,
    hasher: RandomState,
}

/// What the files held when they were last looked at.
#[derive(Debug)]
struct Seen {
    print: u64,
    is_usable: bool,
}

/// Who wants the files looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// A clock: what it was told of before is not told again.
    Regular,
    /// An operator, who is answered.
    Asked,
}

impl Secrets {
    /// Reads the files.
    pub(crate) fn load(tls: Option<TlsFiles>, users: Option<PathBuf>) -> Result<Self, SecretsError> {
        Ok(Self {
            tls: tls.map(|files| Watched::load(files, server_config)).transpose()?,
            users: users.map(|path| Watched::load(UsersFile(path), read_users)).transpose()?,
        })
    }

    /// What the next handshake goes by.
    pub(crate) fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.tls.as_ref().map(|tls| tls.inforce.load_full())
    }

    /// Who may come in now.
    pub(crate) fn users(&self) -> Option<Arc<Users>> {
        self.users.as_ref().map(|users| users.inforce.load_full())
    }

    /// There is nothing that could change.
    pub(crate) fn is_empty(&self) -> bool {
        self.tls.is_none() && self.users.is_none()
    }

    /// Takes over what changed in the files. What is wrong leaves in force what is, and is logged when it comes, and to
    /// whoever asks.
    pub(crate) fn reload(&self, look: Look, counters: &Counters) {
        let tls = self.tls.as_ref().and_then(|tls| tls.reload(look, server_config));
        let users = self.users.as_ref().and_then(|users| users.reload(look, read_users));
        if look == Look::Asked && tls.is_none() && users.is_none() {
            tracing::info!("no file of certificates or users changed");
        }
        note("TLS files", tls, counters);
        note("authentication file", users, counters);
    }
}

fn note(what: &str, outcome: Option<Result<(), SecretsError>>, counters: &Counters) {
    match outcome {
        None => {}
        Some(Ok(())) => {
            counters.reloads.fetch_add(1, Ordering::Relaxed);
            tracing::info!("took over the changed {what}; connections that are open go on");
        }
        Some(Err(error)) => {
            counters.reload_errors.fetch_add(1, Ordering::Relaxed);
            tracing::error!(%error, "the {what} cannot be used: what was read before stays in force");
        }
    }
}

/// What a file holds, or why it cannot be told.
pub(crate) type Text = Result<Vec<u8>, SecretsError>;

/// Files that are read together.
pub(crate) trait Files {
    /// Each of them.
    fn paths(&self) -> Vec<&Path>;

    /// The one that is nobody else's to read.
    fn secret(&self) -> &Path;
}

/// The authentication file.
#[derive(Debug)]
struct UsersFile(PathBuf);

impl Files for UsersFile {
    fn paths(&self) -> Vec<&Path> {
        vec![&self.0]
    }

    fn secret(&self) -> &Path {
        &self.0
    }
}

impl<F: Files, T> Watched<F, T> {
    fn load(files: F, make: impl Fn(&F, Vec<Text>) -> Result<T, SecretsError>) -> Result<Self, SecretsError> {
        let hasher = RandomState::new();
        let texts = read(&files);
        let seen = Mutex::new(Seen { print: print(&hasher, &texts), is_usable: true });
        let inforce = ArcSwap::from_pointee(make(&files, texts)?);
        warn_of_readers(files.secret());
        Ok(Self { files, inforce, seen, hasher })
    }

    /// `None` when nothing changed since the last look, and nobody asks about what is wrong.
    fn reload(
        &self,
        look: Look,
        make: impl Fn(&F, Vec<Text>) -> Result<T, SecretsError>,
    ) -> Option<Result<(), SecretsError>> {
        // Held to the end: of two that reload, the later one must not be undone.
        let mut seen = self.seen.lock();
        let texts = read(&self.files);
        let print = print(&self.hasher, &texts);
        if seen.print == print && (seen.is_usable || look == Look::Regular) {
            return None;
        }
        let made = make(&self.files, texts);
        *seen = Seen { print, is_usable: made.is_ok() };
        warn_of_readers(self.files.secret());
        Some(made.map(|made| self.inforce.store(Arc::new(made))))
    }
}

/// Everything that is wrong with the files of a front, as they are now.
#[must_use]
pub fn secrets_faults(tls: Option<&TlsFiles>, auth_file: Option<&Path>) -> Vec<SecretsError> {
    let tls = tls.map(|files| faults(files, server_config)).unwrap_or_default();
    let users = auth_file.map(|path| faults(&UsersFile(path.to_owned()), read_users)).unwrap_or_default();
    tls.into_iter().chain(users).collect()
}

/// Each file that cannot be read; where all can be, what is wrong with what they hold.
fn faults<F: Files, T>(
    files: &F,
    make: impl Fn(&F, Vec<Text>) -> Result<T, SecretsError>,
) -> Vec<SecretsError> {
    let texts = read(files);
    if texts.iter().all(Result::is_ok) {
        make(files, texts).err().into_iter().collect()
    } else {
        texts.into_iter().filter_map(Result::err).collect()
    }
}

fn read(files: &impl Files) -> Vec<Text> {
    files.paths().into_iter().map(read_secret).collect()
}

/// Reads a file of certificates, keys, users or passwords, which has 1 MiB at most.
///
/// # Errors
///
/// [`SecretsError::Read`].
pub fn read_secret(path: &Path) -> Result<Vec<u8>, SecretsError> {
    let failed = |source| SecretsError::Read { path: path.to_owned(), source };
    let wrong = |kind, text| Err(failed(io::Error::new(kind, text)));
    // A pipe can be read once, and may make whoever opens it wait.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return wrong(io::ErrorKind::InvalidInput, "it is no regular file, which could be read again");
    }
    let mut text = Vec::new();
    let file = fs::File::open(path).map_err(failed)?;
    // It may grow, or tell no size.
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text).map_err(failed)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return wrong(io::ErrorKind::FileTooLarge, "it is larger than 1MiB");
    }
    Ok(text)
}

/// Logs it where others than its owner and group may read a secret, or others than its owner change it.
pub fn warn_of_readers(path: &Path) {
    let Ok(found) = fs::metadata(path) else { return };
    let mode = found.permissions().mode() & 0o777;
    if mode & OTHERS_MODE != 0 {
        let (path, mode) = (path.display(), format!("{mode:04o}"));
        tracing::warn!(%path, mode, "others may read or change a secret file: chmod 600 or 640 it");
    }
}

/// Tells contents apart without keeping them: times and sizes of files may stay as they were.
fn print(hasher: &RandomState, texts: &[Text]) -> u64 {
    let told: Vec<_> = texts.iter().map(|text| text.as_ref().map_err(ToString::to_string)).collect();
    hasher.hash_one(told)
}

fn read_users(file: &UsersFile, texts: Vec<Text>) -> Result<Users, SecretsError> {
    let text = texts.into_iter().next().expect("one file has one text")?;
    Users::parse(&text).map_err(|source| SecretsError::Users { path: file.0.clone(), source })
}
