//! Where a role speaks memcached, gRPC and HTTP, and what it asks of those who come: nothing, only where none but this
//! machine can come, or where the operator says so.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use evanesce_front::{Listen, TlsFiles, listen_to_tell, secrets_faults};

use crate::config::check::{Checker, is_loopback};
use crate::machine;

/// Where and how a role speaks memcached, gRPC and HTTP.
#[derive(Debug)]
pub(crate) struct Face {
    pub(crate) listen: Vec<Listen>,
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) auth_file: Option<PathBuf>,
    pub(crate) grpc: Option<SocketAddr>,
    pub(crate) http: Option<SocketAddr>,
    pub(crate) threads: NonZeroUsize,
    pub(crate) connections_max: usize,
    pub(crate) item_bytes_max: usize,
    pub(crate) idle_timeout: Option<Duration>,
}

impl Face {
    /// The memcached address to tell others; none where there are Unix sockets only.
    pub(crate) fn told(&self) -> Option<SocketAddr> {
        address_to_tell(&self.listen)
    }
}

fn address_to_tell(listen: &[Listen]) -> Option<SocketAddr> {
    listen_to_tell(listen).and_then(Listen::address)
}

/// `quiet`: gRPC and HTTP are off unless given.
pub(crate) fn check_face(check: &mut Checker, quiet: bool) -> Option<Face> {
    let listen = check.listen_many("listen");
    let tls = check_tls(check);
    let auth_file = check.file("auth_file");
    check.look(|| secrets_faults(tls.as_ref(), auth_file.as_deref()));
    if let Some(listen) = &listen {
        check_protection(check, listen, tls.as_ref(), auth_file.is_some());
    }
    let told = listen.as_ref().filter(|_| !quiet);
    let beside = told.and_then(|listen| address_to_tell(listen));
    let beside = beside.map(|address| beside_memcached(check, address.ip()));
    let port = |port| beside.map(|ip| SocketAddr::new(ip, port));
    let grpc = check.listen("grpc", port(11212));
    let http = check.listen("http", port(11213));
    let threads = check.number("threads", Some(machine::cores()));
    let connections_max = check.number("connections_max", None);
    let item_bytes_max = check.size("item_bytes_max", None);
    let idle_timeout = check.time_or_off("idle_timeout");
    Some(Face {
        listen: listen?,
        tls,
        auth_file,
        grpc: grpc?,
        http: http?,
        threads: NonZeroUsize::new(threads?).expect("the bounds start at 1"),
        connections_max: connections_max?,
        item_bytes_max: item_bytes_max?,
        idle_timeout: idle_timeout?,
    })
}

/// gRPC and HTTP stand beside memcached; but they ask nobody who he is, and stay at home where that matters.
fn beside_memcached(check: &Checker, ip: IpAddr) -> IpAddr {
    match ip {
        ip if check.is_insecure() || is_loopback(ip) => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    }
}

fn check_tls(check: &mut Checker) -> Option<TlsFiles> {
    let (cert, key) = (check.file("tls_cert"), check.file("tls_key"));
    let client_ca = check.file("tls_client_ca");
    if cert.is_some() || key.is_some() || client_ca.is_some() {
        check.needed("tls_cert", cert.as_ref(), "TLS needs the server's certificate");
        check.needed("tls_key", key.as_ref(), "TLS needs the key of the server's certificate");
    }
    Some(TlsFiles { cert: cert?, key: key?, client_ca })
}

/// What is asked of whoever comes, and whether that will do.
fn check_protection(check: &mut Checker, listen: &[Listen], tls: Option<&TlsFiles>, has_auth_file: bool) {
    let has_certificate_asked = tls.is_some_and(|tls| tls.client_ca.is_some());
    for listen in listen {
        let Some(address) = listen.address() else { continue };
        let is_protected = (has_auth_file && listen.auth) || (has_certificate_asked && listen.is_tls());
        if !is_protected && !check.is_insecure() && !is_loopback(address.ip()) {
            check.fault(format!(
                "listen = {listen} is not loopback and nobody has to say who he is there: set auth_file, or tls_client_ca \
                 and tls://{address}; or listen on 127.0.0.1 or ::1; or say --insecure if everyone who can reach the \
                 address may read and change everything"
            ));
        }
    }
    let wants_tls = listen.iter().any(Listen::is_tls);
    if wants_tls && tls.is_none() {
        check.needed("tls_cert", None::<()>, "listen has tls://, which needs a certificate and tls_key");
    }
    if !wants_tls && tls.is_some() {
        check.fault("tls_cert is set and nothing speaks TLS: write tls://ip:port in listen");
    }
    if has_auth_file && !listen.iter().any(|listen| listen.auth) {
        check.fault("auth_file is set and every listener says auth=off: drop one of them");
    }
}
