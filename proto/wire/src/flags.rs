//! The flags of meta requests: as sent, and what they mean.

use crate::append::Append;
use crate::encode;
use crate::error_lines::{
    BAD_FORMAT, BAD_TOKEN, DUPLICATE_FLAG, INVALID_FLAG, INVALID_INITIAL, INVALID_META_DELTA,
    OPAQUE_TOO_LONG, TOO_MANY_FLAGS,
};
use crate::exptime::Exptime;
use crate::limits::OPAQUE_BYTES_MAX;
use crate::request::{MetaFlag, MetaFlags, MetaKey};
use crate::token;

impl<'a> MetaFlags<'a> {
    /// The flags one by one, in the order sent.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = MetaFlag<'a>> + use<'a> {
        let mut rest = self.0;
        std::iter::from_fn(move || match token::next_short(&mut rest) {
            [] => None,
            [letter, token @ ..] => Some(MetaFlag { letter: *letter, token }),
        })
    }

    /// The flags as sent, without the leading space.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    /// The token of the first flag of this letter; empty when the flag has none, `None` when it was not sent.
    pub fn get(&self, letter: u8) -> Option<&'a [u8]> {
        self.iter().find(|flag| flag.letter == letter).map(|flag| flag.token)
    }

    /// True when the flag of this letter was sent.
    pub fn has(&self, letter: u8) -> bool {
        self.get(letter).is_some()
    }

    /// True when both flags were sent, this letter's in front of the other's.
    pub fn has_before(&self, letter: u8, other: u8) -> bool {
        let mut both = self.iter().map(|flag| flag.letter).filter(|sent| [letter, other].contains(sent));
        both.next() == Some(letter) && both.any(|sent| sent == other)
    }
}

// A key's, a value's, a TTL's, a version's and an opaque's flags, with their numbers: requests of clients allocate nothing.
const FLAGS_BYTES_USUAL: usize = 64;

/// Flags under construction, for a client.
///
/// ```
/// use evanesce_wire::MetaFlagsBuf;
///
/// let flags = MetaFlagsBuf::new().flag(b'v').number(b'T', 60).token(b'O', b"12");
/// assert_eq!(flags.as_flags().as_bytes(), b"v T60 O12");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MetaFlagsBuf(FlagBytes);

impl MetaFlagsBuf {
    /// No flags yet.
    pub fn new() -> MetaFlagsBuf {
        MetaFlagsBuf::default()
    }

    /// The flags every request with this key needs: `b` when it goes as base64.
    pub fn for_key(key: &MetaKey<'_>) -> MetaFlagsBuf {
        let flags = MetaFlagsBuf::new();
        if key.base64 { flags.flag(b'b') } else { flags }
    }

    /// Adds a flag without a token.
    ///
    /// # Panics
    ///
    /// When the letter is a space or a control character, which is none on the wire.
    #[must_use]
    pub fn flag(mut self, letter: u8) -> MetaFlagsBuf {
        self.letter(letter);
        self
    }

    /// Adds a flag with a number.
    ///
    /// # Panics
    ///
    /// When the letter is a space or a control character, which is none on the wire.
    #[must_use]
    pub fn number(mut self, letter: u8, number: impl Into<i128>) -> MetaFlagsBuf {
        self.letter(letter);
        let number = number.into();
        if number < 0 {
            self.0.append(b"-");
        }
        encode::unsigned(&mut self.0, u64::try_from(number.unsigned_abs()).unwrap_or(u64::MAX));
        self
    }

    /// Adds a flag with a token.
    ///
    /// # Panics
    ///
    /// When the letter is a space or a control character, or the token holds one, which would end it on the wire.
    #[must_use]
    pub fn token(mut self, letter: u8, token: &[u8]) -> MetaFlagsBuf {
        assert!(token.iter().all(|byte| *byte > b' '), "a token must hold no space and no control character");
        self.letter(letter);
        self.0.append(token);
        self
    }

    /// The flags, for a request.
    pub fn as_flags(&self) -> MetaFlags<'_> {
        MetaFlags(self.0.as_slice())
    }

    fn letter(&mut self, letter: u8) {
        assert!(letter > b' ', "a flag's letter must be no space and no control character");
        if self.0.length > 0 {
            self.0.append(b" ");
        }
        self.0.append(&[letter]);
    }
}

/// Bytes in place while they are few, on the heap once they are many.
#[derive(Debug, Clone)]
struct FlagBytes {
    /// All of them.
    length: usize,
    few: [u8; FLAGS_BYTES_USUAL],
    /// All of them when there are more than fit.
    many: Vec<u8>,
}

impl FlagBytes {
    fn as_slice(&self) -> &[u8] {
        self.few.get(..self.length).unwrap_or(&self.many)
    }
}

impl Append for FlagBytes {
    #[inline]
    fn append(&mut self, bytes: &[u8]) {
        let before = self.length;
        self.length += bytes.len();
        match self.few.get_mut(before..self.length) {
            Some(room) => room.copy_from_slice(bytes),
            None => {
                if self.many.is_empty() {
                    self.many.extend_from_slice(&self.few[..before]);
                }
                self.many.extend_from_slice(bytes);
            }
        }
    }

    fn make_room(&mut self, _more: usize) {}
}

impl Default for FlagBytes {
    fn default() -> Self {
        Self { length: 0, few: [0; FLAGS_BYTES_USUAL], many: Vec::new() }
    }
}

impl PartialEq for FlagBytes {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for FlagBytes {}

/// Reads flags that only say what to answer and how: whether `v` and `q` are among them. `None` when there are others,
/// too many, or any is at fault.
#[inline]
pub(crate) fn plain(flags: MetaFlags<'_>, words_max: usize) -> Option<(bool, bool)> {
    let mut seen = 0_u64;
    for (count, MetaFlag { letter, token }) in flags.iter().enumerate() {
        let known = match letter {
            b'v' | b'q' | b'k' | b's' | b't' | b'c' | b'f' | b'h' | b'l' => true,
            b'O' => token.len() <= OPAQUE_BYTES_MAX,
            _ => false,
        };
        let bit = 1 << (letter & 63);
        if !known || seen & bit != 0 || count == words_max {
            return None;
        }
        seen |= bit;
    }
    let has = |letter: u8| seen & 1 << (letter & 63) != 0;
    Some((has(b'v'), has(b'q')))
}

/// The meaning of the flags, those of all meta commands together: memcached accepts any flag on any of them.
#[derive(Debug, Default)]
pub(crate) struct Meaning {
    pub(crate) base64: bool,
    pub(crate) value: bool,
    pub(crate) quiet: bool,
    pub(crate) not_an_access: bool,
    pub(crate) invalidate: bool,
    pub(crate) drop_value: bool,
    pub(crate) touch: Option<Exptime>,
    pub(crate) vivify: Option<Exptime>,
    pub(crate) recache_below: Option<i64>,
    pub(crate) compare: Option<u64>,
    pub(crate) cas_override: Option<u64>,
    pub(crate) client_flags: u32,
    pub(crate) mode: Option<u8>,
    pub(crate) initial: u64,
    pub(crate) delta: Option<u64>,
    pub(crate) version: Option<u64>,
    pub(crate) repair: bool,
    pub(crate) decides: Option<u64>,
    opaque_too_long: bool,
    fault: Option<&'static str>,
}

impl Meaning {
    /// Reads the flags. A flag that is unknown or repeated ends the reading; of other faults the
    /// last one is told, `F` and `O` coming first.
    #[inline]
    pub(crate) fn read(flags: MetaFlags<'_>, words_max: usize) -> Result<Meaning, &'static str> {
        let mut meaning = Meaning::default();
        let mut seen = 0_u64;
        for (count, MetaFlag { letter, token }) in flags.iter().enumerate() {
            if count == words_max {
                return Err(TOO_MANY_FLAGS);
            }
            if let Err(fault) = meaning.see(&mut seen, letter, token) {
                let too_many = flags.iter().nth(words_max).is_some();
                return Err(if too_many { TOO_MANY_FLAGS } else { fault });
            }
        }
        match meaning.fault {
            Some(fault) => Err(fault),
            None if meaning.opaque_too_long => Err(OPAQUE_TOO_LONG),
            None => Ok(meaning),
        }
    }

    #[inline]
    fn see(&mut self, seen: &mut u64, letter: u8, token: &[u8]) -> Result<(), &'static str> {
        match letter {
            // What memcached's splitting into words takes for flags.
            b'A'..=b'z' => {}
            b'0'..=b'9' => return Err(INVALID_FLAG),
            _ => return Err(BAD_FORMAT),
        }
        let bit = 1 << (letter & 63);
        if *seen & bit != 0 {
            return Err(DUPLICATE_FLAG);
        }
        *seen |= bit;
        self.take(letter, token)
    }

    #[inline]
    fn take(&mut self, letter: u8, token: &[u8]) -> Result<(), &'static str> {
        match letter {
            b'v' => self.value = true,
            b'q' => self.quiet = true,
            b'b' => self.base64 = true,
            b'u' => self.not_an_access = true,
            b'I' => self.invalidate = true,
            b'x' => self.drop_value = true,
            b'O' if token.len() > OPAQUE_BYTES_MAX => self.opaque_too_long = true,
            // Asked for in the answer, or a hint to a proxy: nothing to understand.
            b'k' | b'O' | b's' | b't' | b'c' | b'f' | b'h' | b'l' | b'P' | b'L' => {}
            b'T' => self.touch = self.checked(token::plain_i64(token), BAD_TOKEN).map(Exptime),
            b'N' => self.vivify = self.checked(token::plain_i64(token), BAD_TOKEN).map(Exptime),
            b'R' => self.recache_below = self.checked(token::plain_i64(token), BAD_TOKEN),
            b'C' => self.compare = self.checked(token::plain_u64(token), BAD_TOKEN),
            // 0 is none, as in memcached: the item gets a token of the server's.
            b'E' => {
                self.cas_override = self.checked(token::plain_u64(token), BAD_TOKEN).filter(|&cas| cas != 0);
            }
            b'F' => match token::plain_u64(token).and_then(|flags| u32::try_from(flags).ok()) {
                Some(flags) => self.client_flags = flags,
                None => _ = self.fault.get_or_insert(BAD_FORMAT),
            },
            b'J' => self.initial = self.checked(token::plain_u64(token), INVALID_INITIAL).unwrap_or(0),
            b'D' => self.delta = self.checked(token::plain_u64(token), INVALID_META_DELTA),
            // Ours: with a token the version of a write, without one a question.
            b'V' if token.is_empty() => {}
            b'V' => self.version = self.checked(token::u64(token), BAD_TOKEN),
            // Ours; without a version it is a letter like any other that is none.
            b'H' => match token::u64(token) {
                Some(version) => self.decides = Some(version),
                None => return Err(INVALID_FLAG),
            },
            b'r' => self.repair = true,
            // Further bytes are not looked at; none at all is no mode, which the command tells.
            b'M' => self.mode = Some(token.first().copied().unwrap_or(b' ')),
            _ => return Err(INVALID_FLAG),
        }
        Ok(())
    }

    fn checked<T>(&mut self, number: Option<T>, fault: &'static str) -> Option<T> {
        if number.is_none() {
            self.fault = Some(fault);
        }
        number
    }
}
