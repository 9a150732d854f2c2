//! Key listings, as a server writes them, and the form of keys in them.

use std::borrow::Cow;

use crate::append::Append;
use crate::encode;
use crate::request::MetaKey;

/// What `lru_crawler metadump` tells of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ListedItem {
    /// When it expires, in seconds since 1970; `None` is never.
    pub expires_at_secs: Option<u64>,
    /// When it was last read or written, in seconds since 1970.
    pub last_access_secs: u64,
    /// The CAS token.
    pub cas: u64,
    /// It was read before.
    pub hit_before: bool,
    /// Whatever the store calls its size class.
    pub class: u32,
    /// All the memory that it takes.
    pub size_bytes: usize,
}

/// A line of `lru_crawler metadump`, as memcached 1.6.18 writes it: it ends in `\n` alone.
pub fn metadump_line(out: &mut impl Append, key: &[u8], item: &ListedItem) {
    out.append(b"key=");
    uri(out, key);
    out.append(b" exp=");
    match item.expires_at_secs {
        Some(secs) => encode::unsigned(out, secs),
        None => out.append(b"-1"),
    }
    out.append(b" la=");
    encode::unsigned(out, item.last_access_secs);
    out.append(b" cas=");
    encode::unsigned(out, item.cas);
    out.append(if item.hit_before { b" fetch=yes cls=" } else { b" fetch=no cls=" });
    encode::unsigned(out, u64::from(item.class));
    out.append(b" size=");
    encode::unsigned(out, item.size_bytes as u64);
    out.append(b"\n");
}

/// A line of `lru_crawler mgdump`: the `mg` that reads the item.
pub fn mgdump_line(out: &mut impl Append, key: &[u8]) {
    out.append(b"mg ");
    // A key too long to be asked for as base64 goes as it is if that can be asked. Otherwise only the binary protocol
    // reads it; as it is, it would break the listing, so it is base64 all the same.
    let breaks_lines = || key.iter().any(|byte| b" \r\n".contains(byte));
    let key =
        MetaKey::new(key).unwrap_or_else(|| MetaKey { bytes: Cow::Borrowed(key), base64: breaks_lines() });
    key.encode(out);
    out.append(if key.base64 { b" b\r\n" } else { b"\r\n" });
}

/// `OK`, the first line of `lru_crawler mgdump`.
pub fn mgdump_start(out: &mut impl Append) {
    out.append(b"OK\r\n");
}

/// `EN`, the last line of `lru_crawler mgdump`.
pub fn mgdump_end(out: &mut impl Append) {
    out.append(b"EN\r\n");
}

/// A key in the listings and event lines: all but letters, digits, `-`, `.`, `_` and `~` as `%` and two hexadecimal
/// digits.
pub fn uri(out: &mut impl Append, key: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in key {
        match byte {
            b'-' | b'.' | b'_' | b'~' => out.append(&[*byte]),
            byte if byte.is_ascii_alphanumeric() => out.append(&[*byte]),
            byte => {
                out.append(&[b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The lines that memcached 1.6.18 and 1.6.45 printed for these items.
    #[test]
    fn lines_are_memcacheds() {
        let mut out = Vec::new();
        let item = ListedItem {
            expires_at_secs: Some(1_795_320_731),
            last_access_secs: 1_795_320_671,
            cas: 2,
            hit_before: false,
            class: 1,
            size_bytes: 66,
        };
        metadump_line(&mut out, b"b:%20c", &item);
        let never = ListedItem { expires_at_secs: None, hit_before: true, ..item };
        metadump_line(&mut out, "é~-._".as_bytes(), &never);
        mgdump_start(&mut out);
        mgdump_line(&mut out, b"b:%20c");
        mgdump_line(&mut out, b"a b");
        mgdump_end(&mut out);
        let expected = "key=b%3A%2520c exp=1795320731 la=1795320671 cas=2 fetch=no cls=1 size=66\n\
            key=%C3%A9~-._ exp=-1 la=1795320671 cas=2 fetch=yes cls=1 size=66\n\
            OK\r\nmg b:%20c\r\nmg YSBi b\r\nEN\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    // Whoever stored a long key with line ends by the binary protocol wrote lines of the listing.
    #[test]
    fn key_that_only_the_binary_protocol_reads_does_not_break_the_listing() {
        let listed = |key: &[u8]| {
            let mut out = Vec::new();
            mgdump_line(&mut out, key);
            out
        };
        let key = [b"x\r\nEN\r\n".as_slice(), &[b'k'; 240]].concat();
        let line = listed(&key);
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        assert!(line.starts_with(b"mg eA0KRU4NCmtr") && line.ends_with(b" b\r\n"));
        let key = [b"\t".as_slice(), &[b'k'; 240]].concat();
        assert_eq!(listed(&key), [b"mg ", &key[..], b"\r\n"].concat());
    }
}
