//! A tiny memcached for tests of the harness: a map behind a listener, which can be told to misbehave.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use evanesce_wire::{Decoded, Request, RequestDecoder};
use parking_lot::Mutex;

/// What the server holds.
pub(crate) type Map = HashMap<Vec<u8>, Vec<u8>>;

/// How it misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// It forgets what it is given.
    Forgets,
    /// One bit of each value is wrong.
    Flips,
    /// It closes a connection at the first `get`.
    Closes,
    /// It answers with the value, but under its own name, of the key asked for before.
    Lags,
}

/// Starts one, which lives as long as the test's process; where it listens.
pub(crate) fn start(fault: Fault) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let map = Arc::new(Mutex::new(Map::new()));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let map = map.clone();
            std::thread::spawn(move || serve(stream, &map, fault));
        }
    });
    address
}

/// Answers until the peer goes or the fault says so.
fn serve(mut stream: TcpStream, map: &Mutex<Map>, fault: Fault) {
    let (mut input, mut part, mut last) = (Vec::new(), vec![0; 1 << 16], Vec::new());
    while let Ok(bytes @ 1..) = stream.read(&mut part) {
        input.extend_from_slice(&part[..bytes]);
        let (mut out, mut taken) = (Vec::new(), 0);
        while let Decoded::Request { request, consumed } = RequestDecoder::default().decode(&input[taken..]) {
            taken += consumed;
            if fault == Fault::Closes && matches!(request, Request::Get(_)) {
                return;
            }
            execute(&request, &mut map.lock(), fault, &mut last, &mut out);
        }
        input.drain(..taken);
        if stream.write_all(&out).is_err() {
            return;
        }
    }
}

fn execute(request: &Request<'_>, map: &mut Map, fault: Fault, last: &mut Vec<u8>, out: &mut Vec<u8>) {
    match request {
        Request::Version => out.extend_from_slice(b"VERSION tiny\r\n"),
        Request::Set(set) => {
            if fault != Fault::Forgets {
                map.insert(set.key.to_vec(), set.value.to_vec());
            }
            out.extend_from_slice(b"STORED\r\n");
        }
        Request::Get(get) => {
            for key in get.keys.iter() {
                let held = if fault == Fault::Lags && !last.is_empty() { last.as_slice() } else { key };
                let Some(value) = map.get(held) else { continue };
                let header = format!("VALUE {} 0 {}\r\n", String::from_utf8_lossy(key), value.len());
                out.extend_from_slice(header.as_bytes());
                let start = out.len();
                out.extend_from_slice(value);
                if fault == Fault::Flips {
                    out[start + value.len() / 2] ^= 1;
                }
                out.extend_from_slice(b"\r\n");
                *last = key.to_vec();
            }
            out.extend_from_slice(b"END\r\n");
        }
        other => panic!("the tiny server has no {other:?}"),
    }
}

/// Answers whole requests out of a map, without a socket.
pub(crate) fn answer(map: &mut Map, mut input: &[u8]) -> Vec<u8> {
    let mut decoder = RequestDecoder::default();
    let (mut out, mut last) = (Vec::new(), Vec::new());
    while !input.is_empty() {
        let Decoded::Request { request, consumed } = decoder.decode(input) else { panic!("not a request") };
        execute(&request, map, Fault::None, &mut last, &mut out);
        input = &input[consumed..];
    }
    out
}
