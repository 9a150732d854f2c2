//! The way to nodes, as an operator writes it.

use evanesce_gateway::{NodeAccess, NodeIdentity, NodeTls, NodeUser};

use crate::config::check::Checker;

/// How nodes are spoken to. What is wrong with the files is a fault too, where files are looked at.
pub(crate) fn check_nodes(check: &mut Checker) -> NodeAccess {
    let nodes = NodeAccess { tls: check_tls(check), user: check_user(check) };
    check.look(|| nodes.faults());
    nodes
}

fn check_tls(check: &mut Checker) -> Option<NodeTls> {
    let (ca, cert, key) =
        (check.file("node_tls_ca"), check.file("node_tls_cert"), check.file("node_tls_key"));
    let server_name = check.text_of("node_tls_server_name", "write a name or an IP address");
    if cert.is_some() || key.is_some() || server_name.is_some() {
        let because = "TLS with nodes needs the authority of their certificates";
        check.needed("node_tls_ca", ca.as_ref(), because);
    }
    if cert.is_some() || key.is_some() {
        check.needed("node_tls_cert", cert.as_ref(), "a key is for a certificate");
        check.needed("node_tls_key", key.as_ref(), "a certificate needs its key");
    }
    let identity = cert.zip(key).map(|(cert, key)| NodeIdentity { cert, key });
    Some(NodeTls { ca: ca?, identity, server_name })
}

fn check_user(check: &mut Checker) -> Option<NodeUser> {
    let name = check.text_of("node_user", "write a user of the nodes' auth_file");
    let password_file = check.file("node_password_file");
    if name.is_some() || password_file.is_some() {
        check.needed("node_user", name.as_ref(), "a password is a user's");
        check.needed("node_password_file", password_file.as_ref(), "a user has a password");
    }
    Some(NodeUser { name: name?, password_file: password_file? })
}
