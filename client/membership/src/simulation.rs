//! Streams to discoveries that a simulation opens, in place of TCP. Only of the feature `simulation`.

use std::future::Future;
use std::io;
use std::pin::Pin;

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::transport::{Channel, Endpoint, Error, Uri};
use tower::service_fn;

/// Opens a stream to a discovery, which is named as `host:port`. A function and no closure, so that options stay what
/// they are.
pub type Connector = fn(String) -> Opening;

/// A stream on its way.
pub type Opening = Pin<Box<dyn Future<Output = io::Result<Box<dyn Duplex>>> + Send>>;

/// Both ways of a stream.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<IO: AsyncRead + AsyncWrite + Send + Unpin> Duplex for IO {}

/// Opens a connection as [`Endpoint::connect`] does.
pub(crate) async fn connect(endpoint: &Endpoint, open: Connector) -> Result<Channel, Error> {
    let connector = service_fn(move |uri: Uri| {
        let opening = open(uri.authority().map(ToString::to_string).unwrap_or_default());
        async move { opening.await.map(TokioIo::new) }
    });
    endpoint.connect_with_connector(connector).await
}
