//! TLS below memcached's protocol: what it goes by, how a connection begins, and what a session reads and writes.
//!
//! An idle connection keeps what rustls keeps: its state with both ciphers, the 4 KiB it reads into, and a certificate that
//! was shown. 2,000 idle ones took 9.8 KB each, 10.9 KB with a certificate, where plain TCP took 1.9 KB. While its peer does
//! not read, [`OUT_BYTES_MAX`] on top; with a part of a record, up to 20 KiB for as long as that may take.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::connection::Endpoints;
use crate::peer::Peer;
use crate::records::Records;
use crate::refusal::Refused;
use crate::secrets::{Files, SecretsError, Text};
use crate::serve::poll_on;
use crate::slot::{Phase, Slot};

/// Bytes that TLS keeps of replies its peer does not take: two records, so that one is made while one is sent.
pub(crate) const OUT_BYTES_MAX: usize = 32 << 10;

/// Handshakes of one thread under way at once; others wait their turn. rustls puts up with 64 KiB of a handshake, so that
/// strangers hold 8 MiB of a thread at most.
pub(crate) const HANDSHAKES_MAX: usize = 128;

/// Where a front's certificate comes from, and who vouches for its clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, and those between it and a root, in PEM form.
    pub cert: PathBuf,
    /// Its private key, in PEM form.
    pub key: PathBuf,
    /// Authorities, in PEM form, one of which must have signed a client's certificate. `None` asks clients for none.
    pub client_ca: Option<PathBuf>,
}

impl Files for TlsFiles {
    fn paths(&self) -> Vec<&Path> {
        let ca = self.client_ca.as_deref();
        [self.cert.as_path(), self.key.as_path()].into_iter().chain(ca).collect()
    }

    fn secret(&self) -> &Path {
        &self.key
    }
}

/// Makes what handshakes go by from the files' texts.
pub(crate) fn server_config(files: &TlsFiles, texts: Vec<Text>) -> Result<ServerConfig, SecretsError> {
    let mut texts = texts.into_iter();
    let mut next = || texts.next().expect("each file has a text");
    let pem = |path: &Path, what| SecretsError::Pem { path: path.to_owned(), what };
    let wrong = |error: &dyn std::fmt::Display| SecretsError::Certificate {
        cert: files.cert.clone(),
        key: files.key.clone(),
        why: format!("{error}; give a certificate and the key it was made for"),
    };
    let chain = certificates(&next()?).ok_or_else(|| pem(&files.cert, "certificate"))?;
    let key = PrivateKeyDer::from_pem_slice(&next()?).map_err(|_| pem(&files.key, "private key"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| wrong(&error))?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mistrust = |why: String| SecretsError::ClientCa { path: path.clone(), why };
            let mut roots = RootCertStore::empty();
            for root in certificates(&next()?).ok_or_else(|| pem(path, "certificate"))? {
                roots.add(root).map_err(|error| mistrust(error.to_string()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().map_err(|error| mistrust(error.to_string()))?)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| wrong(&error))?;
    // A session taken up again would not show its certificate again, and memcached connections live long.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// All certificates of a text; `None` when there are none, or one is broken.
fn certificates(text: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(text).collect::<Result<_, _>>().ok()?;
    (!found.is_empty()).then_some(found)
}

/// A connection in TLS.
pub(crate) struct Tls(Box<TlsStream<Records>>);

/// Why there is no connection in TLS, `None` when the worker drains; and what is left of it, to be closed decently.
pub(crate) type Unshaken = (Option<Refused>, Option<TcpStream>);

/// Shakes hands within the deadline that the slot keeps.
///
/// # Errors
///
/// Why the peer was refused.
pub(crate) async fn handshake(
    slot: &Slot,
    config: Arc<ServerConfig>,
    stream: TcpStream,
) -> Result<Tls, Unshaken> {
    let acceptor = TlsAcceptor::from(config);
    let accept = acceptor.accept_with(Records::new(stream), |tls| tls.set_buffer_limit(Some(OUT_BYTES_MAX)));
    let mut accept = Box::pin(accept.into_fallible());
    poll_fn(|cx| match accept.as_mut().poll(cx) {
        Poll::Ready(Ok(stream)) => Poll::Ready(Ok(Tls(Box::new(stream)))),
        Poll::Ready(Err((error, stream))) => Poll::Ready(Err((Some(error.into()), Some(stream.stream)))),
        Poll::Pending => poll_on(slot, Phase::Handshaking, cx).map_err(|refused| (refused, None)),
    })
    .await
}

impl Peer for Tls {
    const KEEPS_BYTES_MAX: usize = OUT_BYTES_MAX;

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        let (stream, tls) = self.0.get_ref();
        if tls.wants_read() { stream.stream.poll_readable(cx) } else { Poll::Ready(()) }
    }

    fn is_partial(&self) -> bool {
        self.0.get_ref().0.is_partial()
    }

    fn endpoints(&self) -> Endpoints {
        self.0.get_ref().0.stream.endpoints()
    }
}

impl AsyncRead for Tls {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Tls {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0).poll_write_vectored(cx, bufs)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_shutdown(cx)
    }
}
