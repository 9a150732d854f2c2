//! Why the tier did not do what it was asked.

use std::io;
use std::sync::Arc;

use evanesce_client::{LoadError, ReadError, WriteError};

use crate::log::LogError;
use crate::store::{ErrorKind, StoreError};

/// Why the tier did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TierError {
    /// The cluster could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The cluster could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The namespace lives in a cluster that there is no client of yet.
    #[error("cluster {cluster} is not reached yet: {why}")]
    Unreached {
        /// What its nodes register as.
        cluster: Arc<str>,
        /// What came of the last try.
        why: Arc<str>,
    },
    /// The key is not in the cluster, and could not be loaded.
    #[error(transparent)]
    Load(LoadError),
    /// The backing store failed.
    #[error("backing store: {error}")]
    Store {
        /// Why.
        error: StoreError,
        /// It may have done it all the same.
        maybe_applied: bool,
    },
    /// The log did not take the write.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The log could not be read.
    #[error("the write-behind log cannot be read: {0}; look at its disk")]
    LogRead(Arc<io::Error>),
    /// Others changed the key again and again.
    #[error("others change this key all the time: try again")]
    Contended,
    /// Decisions on keys like this one took all of its time.
    #[error(
        "its turn did not come in time: others decide on this key, and the backing store is slow; try again"
    )]
    Late,
    /// The cluster has the key, and neither the backing store nor this process' log.
    #[error("the backing store does not have what this key is made of yet: try again")]
    Unsettled,
}

impl TierError {
    /// Whether the request is wrong, and the same again comes to the same.
    #[must_use]
    pub fn is_callers(&self) -> bool {
        match self {
            Self::Read(error) => matches!(error, ReadError::Key(_)),
            Self::Write(error) => matches!(error, WriteError::Key(_)),
            Self::Load(error) => matches!(error, LoadError::Key(_)),
            _ => false,
        }
    }
}

impl From<LoadError> for TierError {
    fn from(error: LoadError) -> Self {
        if let LoadError::Loader(cause) = &error {
            if let Some(cause) = cause.downcast_ref::<StoreError>() {
                return Self::Store { error: cause.clone(), maybe_applied: false };
            }
            if let Some(cause) = cause.downcast_ref::<TierError>() {
                return cause.clone();
            }
        }
        match error {
            // What the client says of loaders is not for those who speak to a gateway.
            LoadError::Timeout => Self::Store { error: StoreError::timeout(), maybe_applied: false },
            LoadError::Busy => {
                let busy = "too many keys are being loaded from the backing store: try again later";
                Self::Store { error: StoreError::new(ErrorKind::Overload, busy), maybe_applied: false }
            }
            error => Self::Load(error),
        }
    }
}
