//! A front, its files, and peers of every kind.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroUsize;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use evanesce_front::{Flow, Front, FrontConfig, FrontStats, Listen, Output, Running, Service, TlsFiles};
use evanesce_wire::request::Request;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tempfile::TempDir;

/// How long anything may take that should happen at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// Answers keys with as many bytes as they say, and everything else with a word.
struct Sizes;

impl Service for Sizes {
    async fn call(&self, batch: &[Request<'_>], out: &mut Output<'_>) -> io::Result<Flow> {
        for request in batch {
            let Request::Get(get) = request else {
                out.buf().extend_from_slice(b"OK\r\n");
                continue;
            };
            for key in get.keys.iter() {
                let bytes = std::str::from_utf8(key).unwrap().parse().unwrap_or(0);
                out.push(vec![b'.'; bytes].into());
                out.buf().extend_from_slice(b"\r\n");
                if out.is_full() {
                    out.flush().await?;
                }
            }
        }
        Ok(Flow::Continue)
    }
}

/// An authority, and what it signs.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key.
pub(crate) struct Identity {
    pub(crate) cert: Vec<u8>,
    pub(crate) key: Vec<u8>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn cert(&self) -> Vec<u8> {
        self.0.der().to_vec()
    }

    pub(crate) fn sign(&self) -> Identity {
        self.sign_with(|_| {})
    }

    pub(crate) fn sign_expired(&self) -> Identity {
        self.sign_with(|params| params.not_after = rcgen::date_time_ymd(2001, 2, 3))
    }

    fn sign_with(&self, change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.0).unwrap();
        Identity { cert: cert.der().to_vec(), key: key.serialize_der() }
    }
}

/// Writes a PEM file.
pub(crate) fn write_pem(path: &Path, kind: &str, der: &[u8]) {
    let text = format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", BASE64_STANDARD.encode(der));
    std::fs::write(path, text).unwrap();
}

/// A directory with what a front needs.
pub(crate) struct Place {
    pub(crate) dir: TempDir,
    pub(crate) authority: Authority,
}

impl Place {
    pub(crate) fn new() -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap(), authority: Authority::new() };
        place.write_identity(&place.authority.sign());
        write_pem(&place.path("ca.pem"), "CERTIFICATE", &place.authority.cert());
        std::fs::write(place.path("users"), "ann:secret\nbob:other\n").unwrap();
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write_identity(&self, identity: &Identity) {
        write_pem(&self.path("cert.pem"), "CERTIFICATE", &identity.cert);
        write_pem(&self.path("key.pem"), "PRIVATE KEY", &identity.key);
    }

    pub(crate) fn config(&self, listen: &[&str]) -> FrontConfig {
        let listen: Vec<Listen> = listen.iter().map(|text| text.parse().unwrap()).collect();
        let mut config = FrontConfig::new(listen, NonZeroUsize::new(2).unwrap());
        config.tls =
            Some(TlsFiles { cert: self.path("cert.pem"), key: self.path("key.pem"), client_ca: None });
        config
    }

    /// A front that asks for certificates of the authority.
    pub(crate) fn mutual(&self) -> Running {
        let mut config = self.config(&["tls://127.0.0.1:0"]);
        config.tls.as_mut().unwrap().client_ca = Some(self.path("ca.pem"));
        start(config)
    }

    /// A front that asks for passwords.
    pub(crate) fn with_passwords(&self, listen: &[&str]) -> Running {
        start(FrontConfig { auth_file: Some(self.path("users")), ..self.config(listen) })
    }

    /// What a peer that trusts the authority shows.
    pub(crate) fn client(&self, shown: Option<&Identity>) -> Arc<ClientConfig> {
        client(&self.authority, shown)
    }
}

/// What a peer that trusts this authority shows.
pub(crate) fn client(authority: &Authority, shown: Option<&Identity>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(authority.cert())).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.unwrap().with_root_certificates(roots);
    Arc::new(match shown {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let key = PrivateKeyDer::try_from(identity.key.clone()).unwrap();
            builder.with_client_auth_cert(vec![CertificateDer::from(identity.cert.clone())], key).unwrap()
        }
    })
}

pub(crate) fn start(config: FrontConfig) -> Running {
    Front::bind(config).unwrap().start(|_| Sizes).unwrap()
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

pub(crate) fn connect_unix(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

pub(crate) fn connect_tls(
    address: SocketAddr,
    config: &Arc<ClientConfig>,
) -> StreamOwned<ClientConnection, TcpStream> {
    let name = ServerName::try_from("localhost").unwrap();
    StreamOwned::new(ClientConnection::new(Arc::clone(config), name).unwrap(), connect(address))
}

/// Sends a request and reads so many bytes back.
pub(crate) fn ask(stream: &mut (impl Read + Write), request: &[u8], bytes: usize) -> io::Result<String> {
    stream.write_all(request)?;
    let mut reply = vec![0; bytes];
    stream.read_exact(&mut reply)?;
    Ok(String::from_utf8_lossy(&reply).into_owned())
}

/// It is served.
pub(crate) fn is_served(stream: &mut (impl Read + Write)) {
    assert_eq!(ask(stream, b"mn\r\n", 4).unwrap(), "OK\r\n");
}

/// What comes until the other side closes, in order or not.
pub(crate) fn rest(stream: &mut impl Read) -> String {
    let mut rest = Vec::new();
    // However it ended, what came before counts.
    let _ = stream.read_to_end(&mut rest);
    String::from_utf8_lossy(&rest).into_owned()
}

pub(crate) fn drain(running: Running) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    assert_eq!(runtime.block_on(running.drain(PATIENCE)).cut_connections, 0);
}

pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "{what} does not come true");
        std::thread::yield_now();
    }
}

/// Refused handshakes by reason, those that were.
pub(crate) fn refusals(stats: &FrontStats) -> Vec<(&'static str, u64)> {
    stats.tls_refusals().filter(|(_, count)| *count > 0).collect()
}

/// Open descriptors that are sockets bound to one of these addresses: other tests of this process have theirs.
pub(crate) fn sockets_at(address: SocketAddr) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let port = format!(":{:04X}", address.port());
    let own = |line: &&str| line.split_whitespace().nth(1).is_some_and(|local| local.ends_with(&port));
    // The inode is 0 once no process holds the socket, whatever the kernel still waits for.
    let is_held = |line: &&str| line.split_whitespace().nth(9).is_some_and(|inode| inode != "0");
    table.lines().skip(1).filter(own).filter(is_held).count()
}
