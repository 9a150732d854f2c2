//! Ends of connections that a peer tries to put off.

use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::*;

/// A stream that takes no farewell, as TLS does whose peer has stopped to read.
struct Stuck(DuplexStream);

impl Peer for Stuck {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.poll_readable(cx)
    }
}

impl AsyncRead for Stuck {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stuck {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

/// A peer that was refused and did not read the farewell kept its connection for as long as it pleased: the wait for
/// that had no limit.
#[test]
fn peer_that_takes_no_farewell_is_cut() {
    run(async || {
        let bench = Bench::new(|_| {});
        let (near, mut peer) = duplex(64 << 10);
        let session = Rc::clone(&bench.worker).serve(Stuck(near), Rc::new(Rc::clone(&bench.service)), false);
        let session = spawn_local(session);
        peer.write_all(&[b'x'; 4096]).await.unwrap();
        bench.settle().await;
        assert!(!session.is_finished(), "it waits for its peer");
        bench.sweep(1).await;
        bench.sweep(4).await;
        assert!(session.is_finished());
    });
}
