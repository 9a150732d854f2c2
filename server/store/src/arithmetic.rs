//! Arithmetic on decimal numbers, with memcached's ways of reading and writing them.

use crate::item::{self, Marks};
use crate::room::NeedRoom;
use crate::shard::{Hash, NewItem, Shard};
use crate::{Arithmetic, ArithmeticOutcome, Direction, Time, WriteOutcome};

impl Shard {
    /// Carries arithmetic out.
    pub(crate) fn arithmetic(
        &mut self,
        hash: Hash,
        op: &Arithmetic<'_>,
        now: Time,
    ) -> Result<ArithmeticOutcome, NeedRoom> {
        let old = self.live(hash, op.key, now);
        if !self.may_decide(hash, op.key, old, op.decides) {
            return Ok(ArithmeticOutcome::DecidedElsewhere);
        }
        let Some((location, header)) = old else {
            return self.start_number(hash, op, now);
        };
        let old = self.value(location, &header);
        let (old, old_bytes) = (parse(&old.contiguous()), old.len());
        if old_bytes > 0 && op.compare.is_some_and(|cas| cas != 0 && cas != header.token()) {
            return Ok(ArithmeticOutcome::Exists);
        }
        let Some(old) = old else { return Ok(ArithmeticOutcome::NotANumber) };
        let number = match op.direction {
            Direction::Increment => old.wrapping_add(op.delta),
            Direction::Decrement => old.saturating_sub(op.delta),
        };
        // A shorter number is padded, as memcached does to keep it in place; a longer one is a new item.
        let mut text = number.to_string().into_bytes();
        let mut marks = if text.len() <= old_bytes { header.marks } else { Marks::default() };
        marks.set(Marks::DECIDED, op.decides.is_some());
        text.resize(text.len().max(old_bytes), b' ');
        let expires_ms = op.touch.map_or(header.expires_ms, item::expires_ms);
        let new = NewItem {
            key: op.key,
            value: &text,
            flags: header.flags,
            expires_ms,
            marks,
            cas: op.cas_override,
            version: op
                .decides
                .map(|decides| self.stamp_decided(hash, op.key, Some((location, header)), decides)),
            old: Some((location, header)),
        };
        self.store_number(hash, new, number, false, now)
    }

    fn start_number(
        &mut self,
        hash: Hash,
        op: &Arithmetic<'_>,
        now: Time,
    ) -> Result<ArithmeticOutcome, NeedRoom> {
        let Some((number, expiry)) = op.initial else { return Ok(ArithmeticOutcome::NotFound) };
        let text = number.to_string();
        let mut marks = Marks::default();
        marks.set(Marks::DECIDED, op.decides.is_some());
        let new = NewItem {
            key: op.key,
            value: text.as_bytes(),
            flags: 0,
            expires_ms: item::expires_ms(expiry),
            marks,
            cas: op.cas_override,
            version: op.decides.map(|decides| self.stamp_decided(hash, op.key, None, decides)),
            old: None,
        };
        self.store_number(hash, new, number, true, now)
    }

    fn store_number(
        &mut self,
        hash: Hash,
        new: NewItem<'_>,
        number: u64,
        created: bool,
        now: Time,
    ) -> Result<ArithmeticOutcome, NeedRoom> {
        let expiry = item::expiry(new.expires_ms);
        let WriteOutcome::Stored { cas, version, .. } = self.store(hash, new, now)? else {
            return Ok(ArithmeticOutcome::OutOfMemory);
        };
        Ok(ArithmeticOutcome::Number { number, cas, version, expiry, created })
    }
}

/// Reads a number as C's `strtoull` does: white space, a sign, digits, then the end or white space. A minus
/// is taken only where the result is a positive number all the same.
fn parse(text: &[u8]) -> Option<u64> {
    let text = &text[text.iter().take_while(|byte| is_space(**byte)).count()..];
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if count == 0 || digits.get(count).is_some_and(|byte| !is_space(*byte)) {
        return None;
    }
    let add = |sum: u64, digit: &u8| sum.checked_mul(10)?.checked_add(u64::from(digit - b'0'));
    let number = digits[..count].iter().try_fold(0, add)?;
    if !negative {
        return Some(number);
    }
    let number = number.wrapping_neg();
    (number <= i64::MAX as u64).then_some(number)
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn numbers_are_read_as_memcached_reads_them() {
        let cases: [(&str, Option<u64>); 14] = [
            ("0", Some(0)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("000000000000000000000012", Some(12)),
            (" 12", Some(12)),
            ("12 ab", Some(12)),
            ("12\tx", Some(12)),
            ("12x", None),
            ("+7", Some(7)),
            ("-0", Some(0)),
            ("-5", None),
            ("", None),
            (" ", None),
            ("-", None),
        ];
        for (text, number) in cases {
            assert_eq!(parse(text.as_bytes()), number, "{text:?}");
        }
    }
}
