//! Where the records of TLS begin and end in what a peer sends, so that nobody can leave one half sent for ever.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Bytes of a record's head: its kind, two of a version, two of the length of the rest.
const HEAD_BYTES: u8 = 5;

/// A connection below TLS that knows whether a record has begun and not ended.
#[derive(Debug)]
pub(crate) struct Records {
    pub(crate) stream: TcpStream,
    at: At,
}

/// A place in a stream of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct At {
    /// Bytes of the head that were there.
    head: u8,
    /// Bytes of the rest that were not.
    rest: u16,
}

impl Records {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { stream, at: At::default() }
    }

    /// A record has begun and not ended.
    pub(crate) fn is_partial(&self) -> bool {
        self.at != At::default()
    }
}

impl At {
    fn pass(&mut self, mut bytes: &[u8]) {
        while let [first, behind @ ..] = bytes {
            if self.head == HEAD_BYTES {
                let some = usize::from(self.rest).min(bytes.len());
                self.rest -= some as u16;
                bytes = &bytes[some..];
            } else {
                self.head += 1;
                // The length is in the last two.
                self.rest = if self.head + 1 < HEAD_BYTES { 0 } else { self.rest << 8 | u16::from(*first) };
                bytes = behind;
            }
            if self.head == HEAD_BYTES && self.rest == 0 {
                self.head = 0;
            }
        }
    }
}

impl AsyncRead for Records {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.at.pass(&buf.filled()[before..]);
        read
    }
}

impl AsyncWrite for Records {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_between_records_is_found_however_they_are_cut() {
        let mut stream = Vec::new();
        let mut ends = vec![0];
        for bytes in [1_u16, 0, 255, 256, 700, 0] {
            stream.extend_from_slice(&[0x17, 3, 3]);
            stream.extend_from_slice(&bytes.to_be_bytes());
            stream.extend(std::iter::repeat_n(0xff, usize::from(bytes)));
            ends.push(stream.len());
        }
        for cut in 0..=stream.len() {
            let mut at = At::default();
            at.pass(&stream[..cut]);
            assert_eq!(at == At::default(), ends.contains(&cut), "{cut}");
            at.pass(&stream[cut..]);
            assert_eq!(at, At::default(), "{cut}");
        }
    }
}
