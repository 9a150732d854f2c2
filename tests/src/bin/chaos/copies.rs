//! What each zone holds, read from its nodes directly.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::{Context, bail};
use evanesce_client::Client;
use evanesce_tests::Raw;

/// Keys asked for at once.
const KEYS_AT_ONCE: usize = 200;

/// One zone's item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Copy {
    pub(crate) version: String,
    pub(crate) value: Vec<u8>,
}

/// A key in all zones.
#[derive(Debug, Clone)]
pub(crate) struct Copies {
    pub(crate) key: String,
    /// By zone; none where it is absent.
    pub(crate) zones: Vec<(String, Option<Copy>)>,
}

/// What zones have in common.
#[derive(Debug, Default)]
pub(crate) struct Compared {
    /// Keys that two zones hold with different bytes or versions.
    pub(crate) differing: Vec<String>,
    /// Keys that some zone holds and some does not.
    pub(crate) absent_somewhere: usize,
    /// Keys that no zone holds.
    pub(crate) absent: usize,
}

/// Reads `keys` from the node that holds each in every zone.
///
/// # Errors
/// When a node does not answer.
pub(crate) fn copies(client: &Client, keys: &[String]) -> anyhow::Result<Vec<Copies>> {
    let mut all: Vec<Copies> =
        keys.iter().map(|key| Copies { key: key.clone(), zones: Vec::new() }).collect();
    let mut by_node: BTreeMap<(String, SocketAddr), Vec<usize>> = BTreeMap::new();
    for (index, key) in keys.iter().enumerate() {
        for owner in client.owners(key)? {
            by_node.entry((owner.zone, owner.address)).or_default().push(index);
        }
    }
    for ((zone, address), indices) in by_node {
        let mut raw = Raw::connect(address)?;
        for part in indices.chunks(KEYS_AT_ONCE) {
            let asked: String = part.iter().map(|index| format!("mg {} v V\r\n", keys[*index])).collect();
            let received = raw.exchange(asked.as_bytes());
            if received.stuck || received.closed {
                bail!("node {address} in zone {zone} does not answer");
            }
            let mut rest = &received.bytes[..];
            for index in part {
                let copy = take(&mut rest).with_context(|| format!("{} from {address}", keys[*index]))?;
                all[*index].zones.push((zone.clone(), copy));
            }
        }
    }
    Ok(all)
}

/// One reply of `mg key v V`.
fn take(rest: &mut &[u8]) -> anyhow::Result<Option<Copy>> {
    let end = rest.windows(2).position(|two| two == b"\r\n").context("no reply")?;
    let line = String::from_utf8_lossy(&rest[..end]).into_owned();
    *rest = &rest[end + 2..];
    let mut words = line.split(' ');
    match words.next() {
        Some("EN") => Ok(None),
        Some("VA") => {
            let length: usize = words.next().context("no length")?.parse()?;
            let version = words.find_map(|word| word.strip_prefix('V')).unwrap_or_default().to_owned();
            let value = rest.get(..length).context("a short value")?.to_vec();
            *rest = rest.get(length + 2..).context("a short value")?;
            Ok(Some(Copy { version, value }))
        }
        _ => bail!("answered {line:?}"),
    }
}

/// Counts what differs.
pub(crate) fn compare(all: &[Copies]) -> Compared {
    let mut compared = Compared::default();
    for Copies { key, zones } in all {
        let present: Vec<(&String, &Copy)> =
            zones.iter().filter_map(|(zone, copy)| Some((zone, copy.as_ref()?))).collect();
        let Some((_, first)) = present.first() else {
            compared.absent += 1;
            continue;
        };
        compared.absent_somewhere += usize::from(present.len() < zones.len());
        if present.iter().any(|(_, copy)| copy != first) {
            compared.differing.push(told(key, &present));
        }
    }
    compared
}

fn told(key: &str, present: &[(&String, &Copy)]) -> String {
    let one = |(zone, copy): &(&String, &Copy)| {
        let value: String = String::from_utf8_lossy(&copy.value).chars().take(24).collect();
        format!("{zone} has {value:?} V{}", copy.version)
    };
    format!("{key}: {}", present.iter().map(one).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::{Copies, Copy, compare, take};

    #[test]
    fn replies_are_read_one_by_one() {
        let mut rest = &b"EN\r\nVA 2 V7\r\nab\r\nEN\r\n"[..];
        assert_eq!(take(&mut rest).expect("a miss"), None);
        let copy = Copy { version: "7".to_owned(), value: b"ab".to_vec() };
        assert_eq!(take(&mut rest).expect("a hit"), Some(copy));
        assert_eq!(rest, b"EN\r\n");
    }

    #[test]
    fn versions_count_as_bytes_do() {
        let copy = |version: &str| Some(Copy { version: version.to_owned(), value: b"ab".to_vec() });
        let of = |zones: Vec<Option<Copy>>| Copies {
            key: "k".to_owned(),
            zones: zones.into_iter().map(|copy| ("z".to_owned(), copy)).collect(),
        };
        let all =
            [of(vec![copy("1"), copy("1"), None]), of(vec![copy("1"), copy("2")]), of(vec![None, None])];
        let compared = compare(&all);
        assert_eq!((compared.differing.len(), compared.absent_somewhere, compared.absent), (1, 1, 1));
    }
}
