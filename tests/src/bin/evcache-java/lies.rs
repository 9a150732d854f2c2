//! Servers that lie, so that every check is seen to fail: a relay between the client and each node that alters requests
//! or replies of the binary protocol, and a stage that does not do as it is told.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, Ordering};

use anyhow::Context;

/// What is false.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lie {
    /// Values, counters and versions are not what they are; misses are hits; what was refused was done.
    Replies,
    /// Whatever changes an item changes another one.
    Elsewhere,
    /// Every change is refused; though the loud ones were made.
    Refused,
    /// Nothing expires.
    Forever,
    /// All expires within a second.
    Brief,
    /// Nodes are named wrongly, and neither killed nor started when that is asked for.
    Stage,
}

impl Lie {
    pub(crate) const ALL: [Lie; 6] =
        [Lie::Replies, Lie::Elsewhere, Lie::Refused, Lie::Forever, Lie::Brief, Lie::Stage];
}

/// The length of every message's header in the binary protocol.
const HEADER_BYTES: usize = 24;
const MAGIC_REQUEST: u8 = 0x80;
const GETS: [u8; 4] = [0x00, 0x09, 0x0c, 0x0d];
/// Set, add, replace, and their quiet forms.
const STORES: [u8; 6] = [0x01, 0x02, 0x03, 0x11, 0x12, 0x13];
const QUIET_STORES: [u8; 3] = [0x11, 0x12, 0x13];
const DELETE: u8 = 0x04;
/// Increment and decrement.
const COUNTS: [u8; 2] = [0x05, 0x06];
const APPEND: u8 = 0x0e;
const VERSION: u8 = 0x0b;
const STAT: u8 = 0x10;
const TOUCH: u8 = 0x1c;
const NOT_STORED: u16 = 0x05;

/// One request or reply.
struct Message {
    header: [u8; HEADER_BYTES],
    body: Vec<u8>,
}

/// Listens beside a server, for as long as this process lives.
///
/// # Errors
/// When it cannot.
pub(crate) fn relay(server: SocketAddr, lie: Lie) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((server.ip(), 0)).context("no port for a relay")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            std::thread::spawn(move || join(&client, server, lie));
        }
    });
    Ok(address)
}

/// Both ways, until either side closes.
fn join(client: &TcpStream, server: SocketAddr, lie: Lie) -> Option<()> {
    let server = TcpStream::connect(server).ok()?;
    client.set_nodelay(true).and_then(|()| server.set_nodelay(true)).ok()?;
    let mut first = [0];
    client.peek(&mut first).ok()?;
    let binary = first == [MAGIC_REQUEST];
    std::thread::scope(|scope| {
        scope.spawn(|| pass(client, &server, binary, |message| message.alter_request(lie)));
        if binary {
            pass(&server, client, true, |message| message.alter_reply(lie));
        } else {
            pass_text(&server, client, lie);
        }
    });
    Some(())
}

fn pass(mut from: &TcpStream, mut to: &TcpStream, binary: bool, alter: impl Fn(&mut Message)) {
    if binary {
        while let Some(mut message) = Message::read(from) {
            alter(&mut message);
            if to.write_all(&[&message.header, &message.body[..]].concat()).is_err() {
                break;
            }
        }
    } else {
        // It ends with the connection.
        let _ = std::io::copy(&mut from, &mut to);
    }
    close(from, to);
}

/// The dump of keys is the only text; a lie about replies changes every key.
fn pass_text(mut from: &TcpStream, mut to: &TcpStream, lie: Lie) {
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        let lied = |&byte: &u8| if lie == Lie::Replies && byte == b':' { b';' } else { byte };
        if to.write_all(&bytes[..count].iter().map(lied).collect::<Vec<u8>>()).is_err() {
            break;
        }
    }
    close(from, to);
}

fn close(from: &TcpStream, to: &TcpStream) {
    // Either may be closed already.
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

impl Message {
    fn read(mut from: &TcpStream) -> Option<Message> {
        let mut header = [0; HEADER_BYTES];
        from.read_exact(&mut header).ok()?;
        let length = u32::from_be_bytes([header[8], header[9], header[10], header[11]]);
        let mut body = vec![0; usize::try_from(length).ok()?];
        from.read_exact(&mut body).ok()?;
        Some(Message { header, body })
    }

    fn opcode(&self) -> u8 {
        self.header[1]
    }

    fn extras(&self) -> usize {
        usize::from(self.header[4])
    }

    fn key_end(&self) -> usize {
        self.extras() + usize::from(u16::from_be_bytes([self.header[2], self.header[3]]))
    }

    fn changes(&self) -> bool {
        let code = self.opcode();
        STORES.contains(&code) || COUNTS.contains(&code) || [DELETE, APPEND, TOUCH].contains(&code)
    }

    fn alter_request(&mut self, lie: Lie) {
        let end = self.key_end();
        match lie {
            Lie::Elsewhere if self.changes() => self.body[end - 1] ^= 1,
            Lie::Forever => self.expire(0),
            Lie::Brief => self.expire(1),
            // A quiet one is answered only when it failed: no item has this token.
            Lie::Refused if QUIET_STORES.contains(&self.opcode()) => self.header[16..24].fill(0x7f),
            _ => {}
        }
    }

    /// Sets the expiry, where the message has one.
    fn expire(&mut self, seconds: u32) {
        let at = match self.opcode() {
            code if STORES.contains(&code) => 4,
            code if COUNTS.contains(&code) => 16,
            TOUCH => 0,
            _ => return,
        };
        self.body[at..at + 4].copy_from_slice(&seconds.to_be_bytes());
    }

    fn alter_reply(&mut self, lie: Lie) {
        match lie {
            Lie::Refused if self.changes() => self.header[6..8].copy_from_slice(&NOT_STORED.to_be_bytes()),
            Lie::Replies if self.changes() && !COUNTS.contains(&self.opcode()) => self.header[6..8].fill(0),
            Lie::Replies => self.misreport(),
            _ => {}
        }
    }

    fn misreport(&mut self) {
        let (opcode, end) = (self.opcode(), self.key_end());
        if GETS.contains(&opcode) && self.header[6..8] != [0, 0] {
            self.header[4..8].copy_from_slice(&[4, 0, 0, 0]);
            self.header[8..12].copy_from_slice(&5_u32.to_be_bytes());
            self.body = b"\0\0\0\0!".to_vec();
        } else if GETS.contains(&opcode) && self.body.len() > end {
            self.body[end] ^= 1;
        } else if GETS.contains(&opcode) {
            // An empty value of another type.
            self.body[2] ^= 3;
        } else if opcode == VERSION {
            self.body.fill(b'x');
        } else if opcode == STAT && self.body.starts_with(b"curr_items") {
            self.body[0] = b'x';
        } else if opcode == STAT && end > 0 {
            self.body[end..].fill(b'1' + TICK.fetch_add(1, Ordering::Relaxed) % 9);
        }
    }
}

/// No counter is twice the same.
static TICK: AtomicU8 = AtomicU8::new(0);
