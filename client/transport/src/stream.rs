//! What a session reads and writes: bytes, in whatever they are wrapped.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// A stream as a session wants it. A session is made for each kind, so that none pays for another.
pub(crate) trait Stream {
    /// Where callers may write by themselves; `None` where only the session can.
    fn inline_writer(&self) -> Option<Arc<OwnedWriteHalf>>;

    /// Writes all of `bytes`, taking off the front what is done with. Ready when the system has everything.
    fn poll_write_all(&mut self, cx: &mut Context<'_>, bytes: &mut BytesMut) -> Poll<io::Result<()>>;

    /// Reads what is there, up to the capacity of `input`; 0 is the end.
    fn poll_read(&mut self, cx: &mut Context<'_>, input: &mut BytesMut) -> Poll<io::Result<usize>>;
}

/// A stream before there is a session: a few short lines each way.
///
/// It has ways of its own to read and write, since what only a session calls is compiled into the session: with the
/// session's own ways a call cost 2 % more instructions.
pub(crate) trait Talk {
    /// Writes all of `bytes`.
    async fn say(&mut self, bytes: BytesMut) -> io::Result<()>;

    /// Reads some bytes, up to the capacity of `input`; 0 is the end.
    async fn hear(&mut self, input: &mut BytesMut) -> io::Result<usize>;
}

impl Talk for TcpStream {
    async fn say(&mut self, mut bytes: BytesMut) -> io::Result<()> {
        while !bytes.is_empty() {
            self.writable().await?;
            match self.try_write(&bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => bytes.advance(written?),
            }
        }
        Ok(())
    }

    async fn hear(&mut self, input: &mut BytesMut) -> io::Result<usize> {
        loop {
            self.readable().await?;
            match self.try_read_buf(input) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
        }
    }
}

/// TCP and nothing above it.
pub(crate) struct Plain {
    reader: OwnedReadHalf,
    writer: Arc<OwnedWriteHalf>,
}

impl Plain {
    pub(crate) fn new(stream: TcpStream) -> Self {
        let (reader, writer) = stream.into_split();
        Self { reader, writer: Arc::new(writer) }
    }
}

impl Stream for Plain {
    fn inline_writer(&self) -> Option<Arc<OwnedWriteHalf>> {
        Some(Arc::clone(&self.writer))
    }

    fn poll_write_all(&mut self, cx: &mut Context<'_>, bytes: &mut BytesMut) -> Poll<io::Result<()>> {
        let socket: &TcpStream = self.writer.as_ref().as_ref();
        while !bytes.is_empty() {
            match socket.try_write(bytes) {
                Ok(written) => bytes.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(socket.poll_write_ready(cx))?;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, input: &mut BytesMut) -> Poll<io::Result<usize>> {
        pin!(self.reader.read_buf(input)).poll(cx)
    }
}
