//! The file that says which namespaces have a backing store.

use std::io;
use std::path::{Path, PathBuf};

use evanesce_persister::{Config, ConfigErrors, StartErrors};

use crate::clusters::Namespaces;

/// What is wrong with the namespaces' stores. The operator's to mend.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PersisterFileError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}; see the option persister")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What it says is wrong.
    #[error("{path}: {faults}")]
    Config {
        /// The file.
        path: PathBuf,
        /// All of it.
        faults: ConfigErrors,
    },
    /// What it names cannot be opened.
    #[error("{path}: {faults}")]
    Start {
        /// The file.
        path: PathBuf,
        /// All of it.
        faults: StartErrors,
    },
}

impl PersisterFileError {
    pub(crate) fn start(path: &Path, faults: StartErrors) -> Self {
        Self::Start { path: path.to_owned(), faults }
    }
}

/// Reads and checks the file. Opens nothing that it names.
///
/// # Errors
///
/// Everything that is wrong with it.
pub async fn read(path: &Path) -> Result<Config, PersisterFileError> {
    let text = tokio::fs::read_to_string(path).await;
    let text = text.map_err(|source| PersisterFileError::Read { path: path.to_owned(), source })?;
    parse(path, &text)
}

/// What is wrong with the file, without a runtime: for a check of the whole configuration.
#[must_use]
pub fn faults(path: &Path) -> Vec<PersisterFileError> {
    let text = std::fs::read_to_string(path);
    let read = text.map_err(|source| PersisterFileError::Read { path: path.to_owned(), source });
    match read.and_then(|text| parse(path, &text)) {
        Ok(_) => Vec::new(),
        // Each for itself, as the faults of options are.
        Err(PersisterFileError::Config { path, faults }) => {
            let of_one = |fault| ConfigErrors(vec![fault]);
            let faults = faults.0.into_iter().map(of_one);
            faults.map(|faults| PersisterFileError::Config { path: path.clone(), faults }).collect()
        }
        Err(error) => vec![error],
    }
}

fn parse(path: &Path, text: &str) -> Result<Config, PersisterFileError> {
    Config::parse(text).map_err(|faults| PersisterFileError::Config { path: path.to_owned(), faults })
}

/// Puts what the file says now in force, or logs why not.
pub(crate) async fn reload(path: &Path, namespaces: &Namespaces) {
    let reloaded = match read(path).await {
        Ok(config) => namespaces.reload(config).await.map_err(|error| PersisterFileError::start(path, error)),
        Err(error) => Err(error),
    };
    match reloaded {
        Ok(()) => {
            tracing::info!(file = %path.display(), namespaces = ?namespaces.persister.namespaces(), "the namespaces' stores were read again");
        }
        Err(error) => tracing::error!(%error, "the namespaces' stores stay as they were"),
    }
}
