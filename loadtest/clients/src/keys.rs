//! Keys, and the values that belong to them.

/// Bytes of a key: what applications have.
pub(crate) const KEY_BYTES: usize = 32;

/// Far from each other, so that neighbours of one caller are not neighbours in the server. A prime.
const STRIDE: u32 = 7919;

/// Keys one after the other, for ever.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    number: u32,
    keys: u32,
    value_bytes: usize,
    key: [u8; KEY_BYTES],
}

impl Keys {
    /// Those of one caller.
    pub(crate) fn new(caller: usize, keys: u32, value_bytes: usize) -> Self {
        let number = u32::try_from(caller).unwrap_or(0).wrapping_mul(104_729) % keys;
        Self { number, keys, value_bytes, key: key(number) }
    }

    /// The next key.
    pub(crate) fn next(&mut self) -> [u8; KEY_BYTES] {
        self.number = (self.number + STRIDE) % self.keys;
        self.key = key(self.number);
        self.key
    }

    /// Whether this is the value of the last key.
    pub(crate) fn is_right(&self, value: &[u8]) -> bool {
        is_value_of(&self.key, value, self.value_bytes)
    }
}

/// A key by its number.
pub(crate) fn key(mut number: u32) -> [u8; KEY_BYTES] {
    let mut key = *b"key-0000000000000000000000000000";
    for digit in key[4..].iter_mut().rev() {
        if number == 0 {
            break;
        }
        *digit = b'0' + u8::try_from(number % 10).expect("a digit");
        number /= 10;
    }
    key
}

/// The value of a key: the key, and filling.
pub(crate) fn value(key: &[u8], bytes: usize) -> Vec<u8> {
    let mut value = key.to_vec();
    value.resize(bytes, b'v');
    value
}

/// Whether a value is the key's, by its beginning and its length.
pub(crate) fn is_value_of(key: &[u8], value: &[u8], bytes: usize) -> bool {
    value.len() == bytes && value.starts_with(key)
}

#[cfg(test)]
mod tests {
    use super::{Keys, key, value};

    #[test]
    fn key_has_its_number_and_value_its_key() {
        assert_eq!(&key(0), b"key-0000000000000000000000000000");
        assert_eq!(&key(90_210), b"key-0000000000000000000000090210");
        let mut keys = Keys::new(3, 1000, 100);
        let asked = keys.next();
        assert!(keys.is_right(&value(&asked, 100)));
        assert!(!keys.is_right(&value(&asked, 99)) && !keys.is_right(&value(&key(1), 100)));
    }
}
