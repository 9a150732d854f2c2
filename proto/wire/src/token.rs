//! Words of a line and the numbers in them.
//!
//! Numbers are read as memcached reads them (the C library's `strtol` family): a sign is allowed, and a number ends
//! at the end of its word or at any white space inside it. Plain digits take the short way.

/// A space in every byte; the lowest bit of every byte; the highest.
const SPACES: u64 = u64::from_ne_bytes([b' '; 8]);
const LOWS: u64 = u64::from_ne_bytes([1; 8]);
const HIGHS: u64 = LOWS << 7;

/// Where the first space of `text` is, or its end. Eight bytes at a time: words are short, and a call to `memchr` costs
/// more than most of them take.
#[inline]
pub(crate) fn word_end(text: &[u8]) -> usize {
    // The lowest marked byte is the first space; marks above it may be wrong, by a borrow.
    let spaces = |eight: u64| {
        let differs = eight ^ SPACES;
        differs.wrapping_sub(LOWS) & !differs & HIGHS
    };
    end(text, spaces, |byte| byte == b' ')
}

/// Where the first space or control character of `text` is, or its end. `DEL` is taken for a letter.
#[inline]
pub(crate) fn graphic_end(text: &[u8]) -> usize {
    // As above: the lowest mark is right.
    let others = |eight: u64| eight.wrapping_sub(SPACES + LOWS) & !eight & HIGHS;
    end(text, others, |byte| byte <= b' ')
}

/// Where the first byte of `text` is that `marks` marks with its highest bit, in eight bytes, the first one lowest; or its
/// end. `is_end` says the same of one byte.
#[inline]
fn end(text: &[u8], marks: impl Fn(u64) -> u64, is_end: impl Fn(u8) -> bool) -> usize {
    let first = |eight: [u8; 8]| {
        let marks = marks(u64::from_le_bytes(eight));
        (marks != 0).then(|| (marks.trailing_zeros() / 8) as usize)
    };
    let (eights, rest) = text.as_chunks::<8>();
    for (index, eight) in eights.iter().enumerate() {
        if let Some(within) = first(*eight) {
            return index * 8 + within;
        }
    }
    match text.last_chunk::<8>() {
        _ if rest.is_empty() => text.len(),
        // Its bytes before the rest are no ends: they were looked at.
        Some(last) => first(*last).map_or(text.len(), |within| text.len() - last.len() + within),
        None => rest.iter().position(|byte| is_end(*byte)).unwrap_or(rest.len()),
    }
}

/// Takes the first word off `text`. Empty when there is none left.
#[inline]
pub(crate) fn next<'a>(text: &mut &'a [u8]) -> &'a [u8] {
    while let [b' ', rest @ ..] = *text {
        *text = rest;
    }
    let (word, rest) = text.split_at(word_end(text));
    // The space that ended the word is done with, too.
    *text = rest.get(1..).unwrap_or_default();
    word
}

/// Takes the first word off `text`, for words of a few bytes.
#[inline]
pub(crate) fn next_short<'a>(text: &mut &'a [u8]) -> &'a [u8] {
    while let [b' ', rest @ ..] = *text {
        *text = rest;
    }
    let end = text.iter().position(|byte| *byte == b' ').unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    *text = rest;
    word
}

/// Nine digits always fit into 32 bits.
const PLAIN_DIGITS_MAX: usize = 9;

/// Takes a space and a number of up to nine digits off `text`. What follows the digits is not looked at.
#[inline]
pub(crate) fn next_plain(text: &mut &[u8]) -> Option<u32> {
    let [b' ', digits @ ..] = *text else { return None };
    let (mut number, mut count) = (0_u32, 0);
    while let Some(digit) = digits.get(count).map(|byte| byte.wrapping_sub(b'0'))
        && digit <= 9
    {
        number = number.wrapping_mul(10).wrapping_add(u32::from(digit));
        count += 1;
    }
    *text = &digits[count..];
    (1..=PLAIN_DIGITS_MAX).contains(&count).then_some(number)
}

/// Splits `text` into at most `N` words: a key, which may be long, then short ones. The count is `N + 1` when there are
/// more.
#[inline]
pub(crate) fn words<const N: usize>(mut text: &[u8]) -> ([&[u8]; N], usize) {
    let mut found = [&[][..]; N];
    for (count, slot) in found.iter_mut().enumerate() {
        *slot = if count == 0 { next(&mut text) } else { next_short(&mut text) };
        if slot.is_empty() {
            return (found, count);
        }
    }
    let surplus = !next_short(&mut text).is_empty();
    (found, N + usize::from(surplus))
}

/// Drops the spaces at both ends.
pub(crate) fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ', rest @ ..] = text {
        text = rest;
    }
    while let [rest @ .., b' '] = text {
        text = rest;
    }
    text
}

/// Reads an unsigned number of 64 bits.
#[inline]
pub(crate) fn u64(word: &[u8]) -> Option<u64> {
    match digits(word) {
        Some(number) => Some(number),
        None => match signed_digits(word)? {
            (false, number) | (true, number @ 0) => Some(number),
            (true, _) => None,
        },
    }
}

/// Reads an unsigned number of 64 bits of digits and nothing else: as a server writes it, and as newer memcached reads
/// those of meta commands.
#[inline]
pub(crate) fn plain_u64(word: &[u8]) -> Option<u64> {
    if word.iter().all(u8::is_ascii_digit) { u64(word) } else { None }
}

/// Reads a signed number of 64 bits of digits, perhaps a minus, and nothing else.
#[inline]
pub(crate) fn plain_i64(word: &[u8]) -> Option<i64> {
    if word.strip_prefix(b"-").unwrap_or(word).iter().all(u8::is_ascii_digit) { i64(word) } else { None }
}

/// Reads client flags. What is above 32 bits is cut off, as memcached 1.6.18 does.
#[inline]
pub(crate) fn client_flags(word: &[u8]) -> Option<u32> {
    u64(word).map(|number| number as u32)
}

/// Reads a signed number of 64 bits.
#[inline]
pub(crate) fn i64(word: &[u8]) -> Option<i64> {
    let (negative, number) = match digits(word) {
        Some(number) => (false, number),
        None => signed_digits(word)?,
    };
    if negative { 0i64.checked_sub_unsigned(number) } else { i64::try_from(number).ok() }
}

/// Nineteen digits always fit, so the short way needs no overflow check.
const DIGITS_SAFE: usize = 19;

#[inline]
fn digits(word: &[u8]) -> Option<u64> {
    if word.is_empty() || word.len() > DIGITS_SAFE {
        return None;
    }
    let mut number = 0u64;
    for byte in word {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number * 10 + u64::from(digit);
    }
    Some(number)
}

/// The long way: white space, sign, digits, then the end or white space. True is negative.
#[cold]
fn signed_digits(word: &[u8]) -> Option<(bool, u64)> {
    let start = word.iter().position(|byte| !is_space(*byte))?;
    let (negative, rest) = match &word[start..] {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let end = rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
    if end == 0 || rest.get(end).is_some_and(|byte| !is_space(*byte)) {
        return None;
    }
    let mut number = 0u64;
    for byte in &rest[..end] {
        number = number.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?;
    }
    Some((negative, number))
}

/// The C library's `isspace`, less the two bytes that end words and lines.
fn is_space(byte: u8) -> bool {
    matches!(byte, b'\t' | 0x0b | 0x0c | b'\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_the_c_library_reads_them() {
        assert_eq!(u64(b"0"), Some(0));
        assert_eq!(u64(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(u64(b"18446744073709551616"), None);
        assert_eq!(u64(b"+5"), Some(5));
        assert_eq!(u64(b"-0"), Some(0));
        assert_eq!(u64(b"-1"), None);
        assert_eq!(u64(b"5\t6"), Some(5));
        assert_eq!(u64(b"\t5"), Some(5));
        assert_eq!(
            (u64(b""), u64(b"+"), u64(b"0x5"), u64(b"2.0"), u64(b"\t")),
            (None, None, None, None, None)
        );
        assert_eq!(i64(b"-9223372036854775808"), Some(i64::MIN));
        assert_eq!(i64(b"9223372036854775807"), Some(i64::MAX));
        assert_eq!(i64(b"9223372036854775808"), None);
        assert_eq!(client_flags(b"4294967296"), Some(0));
    }

    #[test]
    fn numbers_of_meta_commands_have_digits_alone() {
        assert_eq!((plain_u64(b"05"), plain_i64(b"-5"), plain_i64(b"05")), (Some(5), Some(-5), Some(5)));
        for other in [&b""[..], b"+5", b"5\t", b"\t5", b"0x5", b"-"] {
            assert_eq!((plain_u64(other), plain_i64(other)), (None, None), "{other:?}");
        }
    }

    #[test]
    fn plain_numbers_are_digits_behind_one_space() {
        let take = |mut text: &'static [u8]| (next_plain(&mut text), text);
        assert_eq!(take(b" 0"), (Some(0), &b""[..]));
        assert_eq!(take(b" 999999999 x"), (Some(999_999_999), &b" x"[..]));
        for other in [&b""[..], b"1", b" ", b"  1", b" -1", b" +1", b" x", b" 1234567890"] {
            assert_eq!(take(other).0, None, "{other:?}");
        }
    }

    #[test]
    fn word_ends_at_the_first_space_wherever_it_is() {
        for length in 0..40 {
            for space in 0..=length {
                // A byte one above a space is what a borrow marks wrongly.
                let mut text = vec![b'!'; length];
                text[space..].fill(b' ');
                assert_eq!(word_end(&text), space, "of {length}");
            }
        }
    }

    #[test]
    fn graphic_text_ends_at_the_first_space_or_control_character_wherever_it_is() {
        for byte in 0..=u8::MAX {
            for length in 0..20 {
                for place in 0..length {
                    let mut text = vec![b'!'; length];
                    text[place] = byte;
                    let end = text.iter().position(|byte| *byte <= b' ').unwrap_or(length);
                    assert_eq!(graphic_end(&text), end, "{text:?}");
                }
            }
        }
    }

    #[test]
    fn words_are_counted_up_to_one_too_many() {
        assert_eq!(words::<2>(b""), ([&b""[..], b""], 0));
        assert_eq!(words::<2>(b"  a "), ([&b"a"[..], b""], 1));
        assert_eq!(words::<2>(b"a  b  "), ([&b"a"[..], b"b"], 2));
        assert_eq!(words::<2>(b"a b c d").1, 3);
    }
}
