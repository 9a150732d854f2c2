//! Connections over streams that a simulation opens, in place of TCP. Only of the feature `simulation`.
//!
//! All else is what it is over TCP, but for the write of an idle connection's caller: the session writes, as in TLS.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::tcp::OwnedWriteHalf;

use crate::stream::{Stream, Talk};

/// Opens a stream to a node. A function and no closure, so that options stay what they are.
pub type Connector = fn(SocketAddr) -> Opening;

/// A stream on its way.
pub type Opening = Pin<Box<dyn Future<Output = io::Result<Box<dyn Duplex>>> + Send>>;

/// Both ways of a stream.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<IO: AsyncRead + AsyncWrite + Send + Unpin> Duplex for IO {}

/// A stream that a [`Connector`] opened.
pub(crate) struct Simulated(pub(crate) Box<dyn Duplex>);

impl Talk for Simulated {
    async fn say(&mut self, bytes: BytesMut) -> io::Result<()> {
        self.0.write_all(&bytes).await
    }

    async fn hear(&mut self, input: &mut BytesMut) -> io::Result<usize> {
        self.0.read_buf(input).await
    }
}

impl Stream for Simulated {
    fn inline_writer(&self) -> Option<std::sync::Arc<OwnedWriteHalf>> {
        None
    }

    fn poll_write_all(&mut self, cx: &mut Context<'_>, bytes: &mut BytesMut) -> Poll<io::Result<()>> {
        while !bytes.is_empty() {
            match ready!(Pin::new(&mut self.0).poll_write(cx, bytes))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => bytes.advance(written),
            }
        }
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, input: &mut BytesMut) -> Poll<io::Result<usize>> {
        std::pin::pin!(self.0.read_buf(input)).poll(cx)
    }
}
