//! How get, set and delete come to the nodes, which may speak TLS and ask for a password.

use std::path::PathBuf;

use clap::Args;
use evanesce_gateway::{NodeAccess, NodeIdentity, NodeTls, NodeUser};

/// As a gateway's options of these names.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "The way to nodes")]
pub(crate) struct NodeArgs {
    /// Speak TLS with the nodes: authorities, in PEM form, one of which must have signed the certificate of each.
    #[arg(long, env = "EVANESCE_NODE_TLS_CA", hide_env_values = true, value_name = "FILE")]
    node_tls_ca: Option<PathBuf>,
    /// The certificate to show to nodes that ask for one, in PEM form.
    #[arg(
        long,
        env = "EVANESCE_NODE_TLS_CERT",
        hide_env_values = true,
        value_name = "FILE",
        requires_all = ["node_tls_ca", "node_tls_key"]
    )]
    node_tls_cert: Option<PathBuf>,
    /// The private key of that certificate, in PEM form.
    #[arg(
        long,
        env = "EVANESCE_NODE_TLS_KEY",
        hide_env_values = true,
        value_name = "FILE",
        requires = "node_tls_cert"
    )]
    node_tls_key: Option<PathBuf>,
    /// The name, or IP address, that the certificates of all nodes must hold; the address of each unless given.
    #[arg(
        long,
        env = "EVANESCE_NODE_TLS_SERVER_NAME",
        hide_env_values = true,
        value_name = "NAME",
        requires = "node_tls_ca"
    )]
    node_tls_server_name: Option<String>,
    /// The user to be to nodes that ask for a password.
    #[arg(
        long,
        env = "EVANESCE_NODE_USER",
        hide_env_values = true,
        value_name = "NAME",
        requires = "node_password_file"
    )]
    node_user: Option<String>,
    /// A file with that user's password and nothing else.
    #[arg(
        long,
        env = "EVANESCE_NODE_PASSWORD_FILE",
        hide_env_values = true,
        value_name = "FILE",
        requires = "node_user"
    )]
    node_password_file: Option<PathBuf>,
}

impl From<NodeArgs> for NodeAccess {
    fn from(args: NodeArgs) -> Self {
        let identity = args.node_tls_cert.zip(args.node_tls_key);
        let identity = identity.map(|(cert, key)| NodeIdentity { cert, key });
        let server_name = args.node_tls_server_name;
        let user = args.node_user.zip(args.node_password_file);
        Self {
            tls: args.node_tls_ca.map(|ca| NodeTls { ca, identity, server_name }),
            user: user.map(|(name, password_file)| NodeUser { name, password_file }),
        }
    }
}
