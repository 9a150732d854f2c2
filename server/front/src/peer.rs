//! The other end of a connection, whatever lies between.

use std::os::fd::AsRawFd;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::connection::Endpoints;

/// The other end of a connection.
pub(crate) trait Peer: AsyncRead + AsyncWrite + Unpin {
    /// Bytes of replies that it may keep after a write took them; then it must be flushed, and told of the end.
    const KEEPS_BYTES_MAX: usize = 0;

    /// Whether a read may bring something. Asked when the last read took all there was: that costs less than to read.
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()>;

    /// Whether it holds a part of something that is no request's yet.
    fn is_partial(&self) -> bool {
        false
    }

    /// What is known of its two ends.
    fn endpoints(&self) -> Endpoints {
        Endpoints::default()
    }
}

impl Peer for TcpStream {
    #[inline]
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        // What is wrong with the connection is told by the read that follows.
        self.poll_read_ready(cx).map(|_| ())
    }

    fn endpoints(&self) -> Endpoints {
        Endpoints {
            descriptor: Some(self.as_raw_fd()),
            peer: self.peer_addr().ok(),
            local: self.local_addr().ok(),
        }
    }
}

impl Peer for UnixStream {
    #[inline]
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_read_ready(cx).map(|_| ())
    }

    fn endpoints(&self) -> Endpoints {
        Endpoints { descriptor: Some(self.as_raw_fd()), ..Endpoints::default() }
    }
}
