//! Hashed keys as the Java client makes them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use md5::{Digest, Md5};
use siphasher::sip::SipHasher24;

/// What the Java client allows, `max.key.length`, in UTF-16 units.
const KEY_LENGTH_MAX: usize = 200;

/// The key of Guava's `sipHash24`: the bytes 0 to 15.
const SIPHASH_KEYS: (u64, u64) = (0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908);

/// Which hash: the Java client's `hash.algo`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum KeyAlgorithm {
    /// `siphash24`, the Java client's default: 64 bits.
    #[default]
    Siphash24,
    /// `murmur3`: 128 bits.
    Murmur3,
    /// `md5`: 128 bits. Also what the Java client takes for a name it does not know.
    Md5,
}

/// Which keys are hashed, and how: the properties of the Java client that must agree on both sides.
///
/// A hashed key loses its cache prefix on the wire, so that a node counts it to the namespace `default`. Its value is
/// an [`Envelope`](super::Envelope) with the key in it, to be compared on each read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyHashing {
    algorithm: KeyAlgorithm,
    length_max: usize,
    digest_bytes_max: usize,
    text_length_max: usize,
}

impl Default for KeyHashing {
    /// Keys above 200 characters, with SipHash-2-4: what `auto.hash.keys` does.
    fn default() -> Self {
        Self {
            algorithm: KeyAlgorithm::default(),
            length_max: KEY_LENGTH_MAX,
            digest_bytes_max: usize::MAX,
            text_length_max: usize::MAX,
        }
    }
}

impl KeyHashing {
    /// Hashes every key: `hash.key`.
    #[must_use]
    pub fn always(self) -> Self {
        Self { length_max: 0, ..self }
    }

    /// Hashes keys above so many UTF-16 units, prefix included: `max.key.length`. Default 200.
    #[must_use]
    pub fn above(self, length: usize) -> Self {
        Self { length_max: length, ..self }
    }

    /// The hash: `hash.algo`.
    #[must_use]
    pub fn algorithm(self, algorithm: KeyAlgorithm) -> Self {
        Self { algorithm, ..self }
    }

    /// Takes the first bytes of the hash only: `max.digest.bytes`. Zero is all of them, as in Java.
    #[must_use]
    pub fn digest_bytes_max(self, bytes: usize) -> Self {
        Self { digest_bytes_max: if bytes == 0 { usize::MAX } else { bytes }, ..self }
    }

    /// Takes the first characters of the text only: `max.hash.length`. Zero is all of them, as in Java.
    #[must_use]
    pub fn text_length_max(self, length: usize) -> Self {
        Self { text_length_max: if length == 0 { usize::MAX } else { length }, ..self }
    }

    /// What goes over the wire for a canonical key, `prefix:key` or `key`; `None` when it goes as it is.
    #[must_use]
    pub fn wire_key(self, canonical: &str) -> Option<String> {
        if canonical.encode_utf16().count() <= self.length_max && self.length_max > 0 {
            return None;
        }
        let digest = self.digest(canonical.as_bytes());
        let mut text = STANDARD_NO_PAD.encode(&digest[..digest.len().min(self.digest_bytes_max)]);
        text.truncate(self.text_length_max);
        Some(text)
    }

    fn digest(self, key: &[u8]) -> Vec<u8> {
        match self.algorithm {
            KeyAlgorithm::Siphash24 => {
                let (low, high) = SIPHASH_KEYS;
                SipHasher24::new_with_keys(low, high).hash(key).to_le_bytes().to_vec()
            }
            KeyAlgorithm::Murmur3 => {
                let hash = murmur3::murmur3_x64_128(&mut &*key, 0).expect("a slice can be read");
                hash.to_le_bytes().to_vec()
            }
            KeyAlgorithm::Md5 => Md5::digest(key).to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Netflix's own class answered.
    #[test]
    fn hashes_are_those_of_the_java_client() {
        let of = |algorithm, key| KeyHashing::default().always().algorithm(algorithm).wire_key(key);
        let long = "a".repeat(201);
        for (algorithm, key, text) in [
            (KeyAlgorithm::Siphash24, "foo", "HY1HHtTBuOA"),
            (KeyAlgorithm::Siphash24, "cid:foo", "y9xEEu9K2I4"),
            (KeyAlgorithm::Siphash24, "user:1234:home", "vNgygGRTzZI"),
            (KeyAlgorithm::Siphash24, &long, "wlZxw+x16Jo"),
            (KeyAlgorithm::Murmur3, "foo", "YUX1AVeGceKHfbor5Ievfg"),
            (KeyAlgorithm::Murmur3, "cid:foo", "NRefMNu78dKbZnLL9sOFqg"),
            (KeyAlgorithm::Murmur3, "user:1234:home", "psIq5bPePpgn1MXuiOGP1Q"),
            (KeyAlgorithm::Md5, "foo", "rL0Y20zC+Fzt72VPzMSk2A"),
        ] {
            assert_eq!(of(algorithm, key).as_deref(), Some(text), "{algorithm:?} {key}");
        }
    }

    #[test]
    fn only_keys_above_the_length_are_hashed() {
        let hashing = KeyHashing::default();
        assert_eq!(hashing.wire_key(&"a".repeat(200)), None);
        assert_eq!(hashing.wire_key(&"a".repeat(201)).as_deref(), Some("wlZxw+x16Jo"));
        assert!(hashing.above(2).wire_key("foo").is_some());
    }

    /// Java counts UTF-16 units: letters with an accent once, most pictures twice.
    #[test]
    fn length_is_counted_as_java_does() {
        assert_eq!(KeyHashing::default().wire_key(&"é".repeat(200)), None);
        assert_eq!(KeyHashing::default().wire_key(&"🦀".repeat(100)), None);
        assert!(KeyHashing::default().wire_key(&"🦀".repeat(101)).is_some());
    }

    #[test]
    fn digest_and_text_are_cut_as_java_does() {
        let hashing = KeyHashing::default().always().algorithm(KeyAlgorithm::Murmur3);
        let whole = hashing.wire_key("foo").expect("always");
        assert_eq!(hashing.digest_bytes_max(6).wire_key("foo").expect("always"), whole[..8]);
        assert_eq!(hashing.text_length_max(9).wire_key("foo").expect("always"), whole[..9]);
        assert_eq!(hashing.digest_bytes_max(0).text_length_max(0).wire_key("foo"), Some(whole));
    }
}
