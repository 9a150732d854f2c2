//! Passwords and the like, which no message, log or debug print may show.

use std::path::PathBuf;

use serde::Deserialize;

use crate::store::{ErrorKind, StoreError};

/// A secret in the configuration: its text, or `{ file = "..." }`, whose first line it is.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
pub enum Secret {
    /// Itself.
    Text(String),
    /// Where it is.
    File {
        /// A file of one line.
        file: PathBuf,
    },
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(_) => f.write_str("(secret)"),
            Self::File { file } => write!(f, "(secret in {})", file.display()),
        }
    }
}

impl Secret {
    /// The secret. A file is read each time, so that one that was changed counts from the next connection.
    pub(super) async fn reveal(&self) -> Result<String, StoreError> {
        let file = match self {
            Self::Text(text) => return Ok(text.clone()),
            Self::File { file } => file.clone(),
        };
        let shown = file.display().to_string();
        let read = tokio::task::spawn_blocking(move || std::fs::read_to_string(file)).await;
        let read = read.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        read.map(|text| text.lines().next().unwrap_or_default().to_owned()).map_err(|error| {
            StoreError::new(ErrorKind::Credentials, format!("the secret in {shown} cannot be read: {error}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Holder {
        password: Secret,
    }

    fn holder(text: &str) -> Holder {
        toml::from_str(text).expect("good TOML")
    }

    #[tokio::test]
    async fn secret_is_revealed_and_never_printed() {
        let holder = holder("password = 'hunter2'");
        assert!(!format!("{holder:?}").contains("hunter2"));
        assert_eq!(holder.password.reveal().await.as_deref(), Ok("hunter2"));
    }

    #[tokio::test]
    async fn secret_of_a_file_is_its_first_line_and_a_missing_file_is_named() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("password");
        let holder = holder(&format!("password = {{ file = '{}' }}", path.display()));
        let error = holder.password.reveal().await.expect_err("there is none");
        assert!(error.to_string().contains("password cannot be read"), "{error}");
        std::fs::write(&path, "hunter2\n").expect("written");
        assert_eq!(holder.password.reveal().await.as_deref(), Ok("hunter2"));
    }
}
