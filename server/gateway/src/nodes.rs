//! The way to nodes: whom a gateway trusts there, and who it is to them.

use std::fmt;
use std::path::{Path, PathBuf};

use evanesce_client::{ClientBuilder, Credentials, InvalidCredentials, InvalidTls, TlsOptions};
use evanesce_front::{SecretsError, read_secret, warn_of_readers};

/// How nodes are spoken to, as files and words. In plain text and without a password by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeAccess {
    /// Speak TLS with all nodes, and with none in plain text.
    pub tls: Option<NodeTls>,
    /// Tell all nodes a user and a password.
    pub user: Option<NodeUser>,
}

/// TLS with nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeTls {
    /// Authorities, in PEM form, one of which must have signed the certificate of each node.
    pub ca: PathBuf,
    /// What nodes are shown that ask for a certificate. Nothing by default.
    pub identity: Option<NodeIdentity>,
    /// The name, or address, that the certificates of all nodes must hold; `None`: each the address connected to.
    pub server_name: Option<String>,
}

/// What nodes are shown that ask for a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeIdentity {
    /// The certificate, and those between it and a root, in PEM form.
    pub cert: PathBuf,
    /// Its private key, in PEM form.
    pub key: PathBuf,
}

/// Who we are to nodes that ask for a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeUser {
    /// The user.
    pub name: String,
    /// A file that holds the password and nothing else, but perhaps the end of its line.
    pub password_file: PathBuf,
}

/// One thing about the way to nodes that cannot be used. The operator's to mend. It never says what stands in a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeAccessError {
    /// A file cannot be read, or holds nothing of the kind.
    #[error(transparent)]
    File(#[from] SecretsError),
    /// The authorities, or the certificate and its key, do not work.
    #[error("for TLS with nodes, {path} cannot be used: {source}", path = path.display())]
    Tls {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: InvalidTls,
    },
    /// The name that nodes' certificates must hold is none.
    #[error("the name of nodes, {name:?}: {source}")]
    ServerName {
        /// The name.
        name: String,
        /// What is wrong.
        source: InvalidTls,
    },
    /// The password is no text.
    #[error("the password in {path} is no UTF-8 text: write one that is", path = path.display())]
    PasswordText {
        /// Its file.
        path: PathBuf,
    },
    /// The user or the password cannot be told to a node.
    #[error("user {user:?} with the password in {path}: {source}", path = path.display())]
    User {
        /// The user.
        user: String,
        /// The password's file.
        path: PathBuf,
        /// What is wrong.
        source: InvalidCredentials,
    },
}

/// All that is wrong with the way to nodes.
#[derive(Debug, thiserror::Error)]
#[error("{}", Lines(.0))]
pub struct NodeAccessErrors(pub Vec<NodeAccessError>);

impl NodeAccess {
    /// Everything that is wrong with the files as they are now.
    #[must_use]
    pub fn faults(&self) -> Vec<NodeAccessError> {
        self.load().err().map(|errors| errors.0).unwrap_or_default()
    }

    /// Reads the files, and tells a client what to make of them. Files of secrets that others may read are warned of.
    ///
    /// # Errors
    ///
    /// Everything that is wrong.
    pub fn give(&self, mut client: ClientBuilder) -> Result<ClientBuilder, NodeAccessErrors> {
        let (tls, credentials) = self.load()?;
        self.secrets().for_each(warn_of_readers);
        if let Some(tls) = tls {
            client = client.tls(tls);
        }
        Ok(match credentials {
            Some(credentials) => client.credentials(credentials),
            None => client,
        })
    }

    fn load(&self) -> Result<(Option<TlsOptions>, Option<Credentials>), NodeAccessErrors> {
        let tls = self.tls.as_ref().map(NodeTls::load).transpose();
        let user = self.user.as_ref().map(NodeUser::load).transpose();
        match (tls, user) {
            (Ok(tls), Ok(user)) => Ok((tls, user)),
            (tls, user) => {
                let faults = tls.err().into_iter().flatten();
                Err(NodeAccessErrors(faults.chain(user.err()).collect()))
            }
        }
    }

    /// Files that are nobody else's to read.
    fn secrets(&self) -> impl Iterator<Item = &Path> {
        let identities = self.tls.iter().flat_map(|tls| &tls.identity);
        let passwords = self.user.iter().map(|user| user.password_file.as_path());
        identities.map(|identity| identity.key.as_path()).chain(passwords)
    }
}

impl NodeTls {
    /// The options, or everything that is wrong with them.
    fn load(&self) -> Result<TlsOptions, Vec<NodeAccessError>> {
        let (mut options, mut faults) = (TlsOptions::new(), Vec::new());
        for step in [Self::with_ca, Self::with_identity, Self::with_server_name] {
            match step(self, options.clone()) {
                Ok(more) => options = more,
                Err(more) => faults.extend(more),
            }
        }
        if faults.is_empty() { Ok(options) } else { Err(faults) }
    }

    fn with_ca(&self, options: TlsOptions) -> Result<TlsOptions, Vec<NodeAccessError>> {
        let pem = read_secret(&self.ca).map_err(|error| vec![error.into()])?;
        options.root_pem(&pem).map_err(|error| vec![NodeAccessError::of_tls(&self.ca, &self.ca, error)])
    }

    fn with_identity(&self, options: TlsOptions) -> Result<TlsOptions, Vec<NodeAccessError>> {
        let Some(NodeIdentity { cert, key }) = &self.identity else { return Ok(options) };
        match (read_secret(cert), read_secret(key)) {
            (Ok(chain), Ok(secret)) => options
                .identity_pem(&chain, &secret)
                .map_err(|error| vec![NodeAccessError::of_tls(cert, key, error)]),
            (chain, secret) => {
                Err(chain.err().into_iter().chain(secret.err()).map(NodeAccessError::from).collect())
            }
        }
    }

    fn with_server_name(&self, options: TlsOptions) -> Result<TlsOptions, Vec<NodeAccessError>> {
        let Some(name) = &self.server_name else { return Ok(options) };
        let wrong = |source| vec![NodeAccessError::ServerName { name: name.clone(), source }];
        options.server_name(name.as_str()).map_err(wrong)
    }
}

impl NodeUser {
    fn load(&self) -> Result<Credentials, NodeAccessError> {
        let text = read_secret(&self.password_file)?;
        let line = text.strip_suffix(b"\n").unwrap_or(&text);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let (user, path) = (&self.name, self.password_file.clone());
        let password =
            std::str::from_utf8(line).map_err(|_| NodeAccessError::PasswordText { path: path.clone() })?;
        Credentials::new(user.as_str(), password).map_err(|source| NodeAccessError::User {
            user: user.clone(),
            path,
            source,
        })
    }
}

impl NodeAccessError {
    /// In terms of files, where that says more.
    fn of_tls(certificates: &Path, key: &Path, error: InvalidTls) -> Self {
        let (path, what) = match error {
            InvalidTls::NoCertificate => (certificates, "certificate"),
            InvalidTls::NoKey => (key, "private key"),
            source => return Self::Tls { path: certificates.to_owned(), source },
        };
        SecretsError::Pem { path: path.to_owned(), what }.into()
    }
}

struct Lines<'a>(&'a [NodeAccessError]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("; "))
    }
}
