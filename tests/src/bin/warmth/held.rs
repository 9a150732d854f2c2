//! What nodes hold, key by key.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, ensure};
use evanesce_client::Client;
use evanesce_topology::{Placement, Topology};

use crate::talk::{connect, key};

/// How a group's nodes hold the keys of a load.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// At nodes that do not own them.
    pub(crate) foreign: Vec<String>,
    /// At no owner.
    pub(crate) missing: Vec<String>,
    /// At their owner.
    pub(crate) in_place: usize,
}

impl Held {
    /// Whether each item is where it belongs, and nowhere else.
    pub(crate) fn is_right(&self) -> bool {
        self.foreign.is_empty() && self.missing.is_empty()
    }
}

/// The rings of one group alone, as a client's topology has them.
///
/// # Errors
/// When the client has no topology, or it lacks the group.
pub(crate) fn placement(client: &Client, group: &str) -> anyhow::Result<Placement> {
    let topology = client.topology().context("no topology")?;
    let own = topology.group(group).cloned().with_context(|| format!("no group {group}"))?;
    Ok(Placement::new(Arc::new(Topology { groups: vec![own], ..(*topology).clone() }))?)
}

/// The node that a key is read from.
///
/// # Errors
/// When the ring is empty.
pub(crate) fn owner(placement: &Placement, key: &str) -> anyhow::Result<SocketAddr> {
    let owner = placement.owner(0, placement.key_hash(key.as_bytes())).context("an empty ring")?;
    Ok(placement.node(owner).memcached)
}

/// Walks through all nodes of a group's ring, and looks whose every key is.
///
/// # Errors
/// When a node does not tell.
pub(crate) fn look(client: &Client, group: &str, items: u64) -> anyhow::Result<Held> {
    let placement = placement(client, group)?;
    let (mut held, mut seen) = (Held::default(), HashSet::<u64>::new());
    for node in &placement.topology().groups[0].nodes {
        for there in keys(node.memcached)? {
            if owner(&placement, &there)? != node.memcached {
                held.foreign.push(format!("{there} at {}", node.name));
            } else if let Some(number) = there.strip_prefix("key-").and_then(|number| number.parse().ok()) {
                held.in_place += 1;
                seen.insert(number);
            }
        }
    }
    held.missing = (0..items).filter(|number| !seen.contains(number)).map(key).collect();
    Ok(held)
}

/// The keys of all items of a node.
///
/// # Errors
/// When it does not tell.
pub(crate) fn keys(address: SocketAddr) -> anyhow::Result<Vec<String>> {
    let mut stream = connect(address)?;
    stream.write_all(b"lru_crawler metadump all\r\n")?;
    let mut keys = Vec::new();
    for line in BufReader::new(stream).lines() {
        let line = line?;
        if line.trim_end() == "END" {
            return Ok(keys);
        }
        let key = line.split(' ').find_map(|word| word.strip_prefix("key=")).and_then(decoded);
        keys.push(key.with_context(|| format!("an item is told as {line:?}"))?);
    }
    ensure!(false, "the node closed the connection");
    Ok(keys)
}

/// A key as it is, of one whose bytes may be told as `%` and two digits.
fn decoded(told: &str) -> Option<String> {
    let mut pieces = told.split('%');
    let mut key = pieces.next()?.as_bytes().to_vec();
    for piece in pieces {
        let (digits, rest) = piece.split_at_checked(2)?;
        key.push(u8::from_str_radix(digits, 16).ok()?);
        key.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(key).ok()
}

#[cfg(test)]
mod tests {
    use super::decoded;

    #[test]
    fn key_is_told_with_some_of_its_bytes_as_digits() {
        assert_eq!(decoded("key-7").as_deref(), Some("key-7"));
        assert_eq!(decoded("p%3Ajava-0060%25").as_deref(), Some("p:java-0060%"));
        assert_eq!((decoded("a%3"), decoded("a%zz")), (None, None));
    }
}
