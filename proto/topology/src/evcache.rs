//! The profile `evcache`: MD5 ketama, byte for byte as Netflix's Java client lays it.
//!
//! - **Points.** A node with 160 points takes 40 digests. Digest `i` is MD5 of `<ring text>-<i>`, `i` in decimal
//!   from 0. Each digest gives four points: bytes 0-3, 4-7, 8-11 and 12-15, each a little-endian unsigned 32-bit
//!   number.
//! - **Keys.** The first four bytes of MD5 over the key's bytes as they go over the wire, little-endian.
//! - **Ring text.** `<host name>/<ip>:11211`, whatever port the node really has: see [`ring_text`]. It names an
//!   address, so where Java clients share a cluster a ring name needs a stable IP.
//! - **Collisions.** With 32 bits, points of two nodes meet: on one ring in 30 of those with 100 nodes. The node
//!   listed later gets the point. The Java client lists nodes in the order of its own discovery, a topology by name;
//!   where the two orders differ, the keys of such a point's arc, 1 in 16,000 there, find another owner.
//!
//! Sources: `Netflix/EVCache`, `EVCacheKetamaNodeLocatorConfiguration`, `DefaultHashAlgorithm.KETAMA_HASH` of
//! spymemcached 2.11.4.

use std::fmt::Write as _;
use std::net::IpAddr;

use md5::{Digest as _, Md5};

/// The port in every ring text, whatever port the node really has.
const RING_TEXT_PORT: u16 = 11211;

/// How many points one digest gives.
const POINTS_PER_DIGEST: u32 = 4;

/// The ring text of a node as Netflix's client writes it: `<host>/<ip>:11211`.
///
/// An IPv6 address is written as Java does, its eight groups in full and without brackets; an IPv4 address mapped
/// into IPv6 is written as the IPv4 address.
///
/// ```
/// let text = evanesce_topology::evcache_ring_text("n1", [10, 0, 0, 1].into());
/// assert_eq!(text, "n1/10.0.0.1:11211");
/// ```
pub fn ring_text(host: &str, ip: IpAddr) -> String {
    match ip.to_canonical() {
        IpAddr::V4(ip) => format!("{host}/{ip}:{RING_TEXT_PORT}"),
        IpAddr::V6(ip) => {
            let groups = ip.segments().map(|group| format!("{group:x}")).join(":");
            format!("{host}/{groups}:{RING_TEXT_PORT}")
        }
    }
}

/// Calls `point` with each position of a node. `points` is a multiple of 4.
pub(crate) fn lay(ring_text: &str, points: u32, mut point: impl FnMut(u64)) {
    let mut text = String::with_capacity(ring_text.len() + 8);
    for number in 0..points / POINTS_PER_DIGEST {
        text.clear();
        write!(text, "{ring_text}-{number}").expect("a String takes whatever is written");
        let digest = Md5::digest(text.as_bytes());
        for part in digest.chunks_exact(4) {
            point(u64::from(little_endian(part)));
        }
    }
}

/// Where on the ring a key is.
pub(crate) fn key_hash(key: &[u8]) -> u64 {
    u64::from(little_endian(&Md5::digest(key)))
}

fn little_endian(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}
