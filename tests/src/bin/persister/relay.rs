//! Between a store and its server: passes bytes on, or holds them back.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use evanesce_tests::pause;

/// Between two looks whether bytes may go on: short beside any deadline.
const PAUSE: Duration = Duration::from_millis(5);

/// A relay; its threads end with the connections through it.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    held: Arc<AtomicBool>,
}

impl Relay {
    /// One that passes everything on.
    pub(crate) fn to(server: SocketAddr) -> anyhow::Result<Relay> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let held = Arc::new(AtomicBool::new(false));
        let hold = Arc::clone(&held);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(server) else { continue };
                let (Ok(from_client), Ok(from_server)) = (client.try_clone(), server.try_clone()) else {
                    continue;
                };
                let (up, down) = (Arc::clone(&hold), Arc::clone(&hold));
                thread::spawn(move || pass(from_client, server, &up));
                thread::spawn(move || pass(from_server, client, &down));
            }
        });
        Ok(Relay { address, held })
    }

    /// Whether bytes wait.
    pub(crate) fn hold(&self, held: bool) {
        self.held.store(held, Ordering::Relaxed);
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, held: &AtomicBool) {
    let mut bytes = [0; 16 << 10];
    while let Ok(read @ 1..) = from.read(&mut bytes) {
        while held.load(Ordering::Relaxed) {
            pause(PAUSE);
        }
        if to.write_all(&bytes[..read]).is_err() {
            break;
        }
    }
    // Both fail only when the other side is gone already.
    let _ = from.shutdown(std::net::Shutdown::Both);
    let _ = to.shutdown(std::net::Shutdown::Both);
}
