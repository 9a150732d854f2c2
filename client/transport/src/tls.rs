//! TLS below memcached's protocol: whom we trust, who we are, and what a session reads and writes.
//!
//! The provider of ciphers is ring, named explicitly: nothing is set for the whole process. Sessions are not resumed.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, BytesMut};
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{AlertDescription, ClientConfig, RootCertStore};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::cause::{Cause, Failure, Stage};
use crate::stream::{Stream, Talk};

/// How to speak TLS with nodes, 1.2 or 1.3. Trusts nobody until it is given roots.
///
/// ```no_run
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use evanesce_transport::{ConnectionOptions, TlsOptions};
///
/// let tls = TlsOptions::new()
///     .root_pem(&std::fs::read("ca.pem")?)?
///     .identity_pem(&std::fs::read("cert.pem")?, &std::fs::read("key.pem")?)?
///     .server_name("cache.internal")?;
/// let options = ConnectionOptions { tls: Some(tls), ..ConnectionOptions::default() };
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct TlsOptions {
    roots: Arc<RootCertStore>,
    identity: Option<Arc<CertifiedKey>>,
    server_name: Option<ServerName<'static>>,
}

/// An option of TLS that cannot be used.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum InvalidTls {
    /// The text holds no certificate, or a broken one.
    #[error("there is no certificate in PEM form: give the file's text")]
    NoCertificate,
    /// The text holds no private key, or a broken one.
    #[error("there is no private key in PEM form: give the file's text")]
    NoKey,
    /// A certificate that cannot be a root.
    #[error("the root certificate cannot be used: {0}")]
    Root(#[source] rustls::Error),
    /// A certificate and a key that do not belong together, or are of a kind that is not known.
    #[error("our certificate cannot be used: {0}; give a certificate and the key it was made for")]
    Identity(#[source] rustls::Error),
    /// Neither a DNS name nor an IP address.
    #[error("the server name must be a DNS name or an IP address")]
    ServerName,
}

impl TlsOptions {
    /// Options that trust nobody yet.
    #[must_use]
    pub fn new() -> Self {
        Self { roots: Arc::new(RootCertStore::empty()), identity: None, server_name: None }
    }

    /// Trusts these authorities too: one or more certificates in PEM form.
    ///
    /// # Errors
    ///
    /// [`InvalidTls::NoCertificate`], [`InvalidTls::Root`].
    pub fn root_pem(mut self, pem: &[u8]) -> Result<Self, InvalidTls> {
        let roots = Arc::make_mut(&mut self.roots);
        for root in certificates(pem)? {
            roots.add(root).map_err(InvalidTls::Root)?;
        }
        Ok(self)
    }

    /// Trusts these authorities too.
    #[must_use]
    pub fn roots(mut self, roots: RootCertStore) -> Self {
        Arc::make_mut(&mut self.roots).extend(roots.roots);
        self
    }

    /// Shows this certificate to nodes that ask for one: the chain, ours first, and its private key, in PEM form.
    ///
    /// # Errors
    ///
    /// [`InvalidTls::NoCertificate`], [`InvalidTls::NoKey`], [`InvalidTls::Identity`].
    pub fn identity_pem(mut self, chain: &[u8], key: &[u8]) -> Result<Self, InvalidTls> {
        let chain = certificates(chain)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| InvalidTls::NoKey)?;
        let identity = CertifiedKey::from_der(chain, key, &provider()).map_err(InvalidTls::Identity)?;
        self.identity = Some(Arc::new(identity));
        Ok(self)
    }

    /// The name, or address, that the certificates of all nodes must hold. Default the address that is connected to.
    ///
    /// # Errors
    ///
    /// [`InvalidTls::ServerName`].
    pub fn server_name(mut self, name: impl Into<String>) -> Result<Self, InvalidTls> {
        let name = ServerName::try_from(name.into()).map_err(|_| InvalidTls::ServerName)?;
        self.server_name = Some(name);
        Ok(self)
    }

    fn config(&self) -> ClientConfig {
        let builder = ClientConfig::builder_with_provider(Arc::new(provider()));
        let builder = builder.with_safe_default_protocol_versions().expect("ring knows both versions");
        let builder = builder.with_root_certificates(Arc::clone(&self.roots));
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let shown = SingleCertAndKey::from(Arc::clone(identity));
                builder.with_client_cert_resolver(Arc::new(shown))
            }
        };
        // Connections live long, and a node should look at our certificate each time.
        config.resumption = Resumption::disabled();
        config
    }
}

impl Default for TlsOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for TlsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsOptions")
            .field("roots", &self.roots.len())
            .field("identity", &self.identity.is_some())
            .field("server_name", &self.server_name)
            .finish()
    }
}

fn provider() -> CryptoProvider {
    ring::default_provider()
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, InvalidTls> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    found.ok().filter(|found| !found.is_empty()).ok_or(InvalidTls::NoCertificate)
}

/// How one node is shaken hands with.
pub(crate) struct Handshake {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl Handshake {
    pub(crate) fn new(options: &TlsOptions, address: SocketAddr) -> Self {
        let name = options.server_name.clone().unwrap_or_else(|| ServerName::from(address.ip()));
        Self { connector: TlsConnector::from(Arc::new(options.config())), name }
    }

    /// # Errors
    ///
    /// What failed. That a node refuses our certificate shows later, at the first read.
    pub(crate) async fn shake(&self, stream: TcpStream) -> Result<Tls, Failure> {
        let stream = self.connector.connect(self.name.clone(), stream).await;
        let stream = stream.map_err(|error| Failure::of_io(Stage::Tls, &error))?;
        Ok(Tls { stream: Box::new(stream), unflushed: false })
    }
}

/// What an error of TLS means; `None` when it is none.
pub(crate) fn cause_of(error: &io::Error) -> Option<Cause> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(match error {
        rustls::Error::InvalidCertificate(_) => Cause::CertificateNotAccepted,
        rustls::Error::AlertReceived(alert) if is_about_our_certificate(*alert) => Cause::CertificateRefused,
        _ => Cause::Tls,
    })
}

/// Whether a node says by this that it does not accept our certificate, or misses one; `DecryptError` that its signature is
/// wrong.
fn is_about_our_certificate(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::CertificateRequired
            | AlertDescription::NoCertificate
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::DecryptError
    )
}

/// A connection in TLS. It is not divided: the session alone reads and writes.
pub(crate) struct Tls {
    stream: Box<TlsStream<TcpStream>>,
    /// It may hold records that the socket did not take.
    unflushed: bool,
}

impl Stream for Tls {
    fn inline_writer(&self) -> Option<Arc<OwnedWriteHalf>> {
        None
    }

    fn poll_write_all(&mut self, cx: &mut Context<'_>, bytes: &mut BytesMut) -> Poll<io::Result<()>> {
        while !bytes.is_empty() {
            let written = ready!(Pin::new(&mut *self.stream).poll_write(cx, bytes))?;
            bytes.advance(written);
            self.unflushed = true;
        }
        if self.unflushed {
            ready!(Pin::new(&mut *self.stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// A node that closes without a word of farewell has closed: no reply is cut short by that unnoticed.
    fn poll_read(&mut self, cx: &mut Context<'_>, input: &mut BytesMut) -> Poll<io::Result<usize>> {
        match ready!(pin!(self.stream.read_buf(input)).poll(cx)) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(0)),
            read => Poll::Ready(read),
        }
    }
}

impl Talk for Tls {
    async fn say(&mut self, mut bytes: BytesMut) -> io::Result<()> {
        poll_fn(|cx| self.poll_write_all(cx, &mut bytes)).await
    }

    async fn hear(&mut self, input: &mut BytesMut) -> io::Result<usize> {
        poll_fn(|cx| self.poll_read(cx, input)).await
    }
}

/// Says farewell, as far as the socket takes it.
impl Drop for Tls {
    fn drop(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        let _ = Pin::new(&mut *self.stream).poll_shutdown(&mut cx);
    }
}
