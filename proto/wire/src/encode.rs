//! Replies, as a server writes them: each function appends to the output.

use crate::MEMCACHED_VERSION;
use crate::append::Append;
use crate::reply::{MetaStatus, Status};
use crate::request::{MetaArithmetic, MetaDebug, MetaDelete, MetaFlags, MetaGet, MetaKey, MetaSet};

/// What the answer to a meta request may have to tell about an item.
///
/// As they were before the request, where the protocol says so: `hit_before` and `last_access_secs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ItemFacts {
    /// The caller's flags (`f`).
    pub client_flags: u32,
    /// The CAS token (`c`).
    pub cas: u64,
    /// Seconds until it expires (`t`); `None` is never. After `T` or `N` of the same request: the new one.
    pub ttl_secs: Option<u64>,
    /// The second since 1970 in which it expires (`U`); `None` is never.
    pub until_secs: Option<u64>,
    /// Seconds since the access before this one (`l`).
    pub last_access_secs: u64,
    /// It was read before (`h`).
    pub hit_before: bool,
    /// Length of its value (`s`).
    pub value_bytes: usize,
    /// The caller has won the right to recache it (`W`).
    pub win: bool,
    /// It was marked stale (`X`).
    pub stale: bool,
    /// Another caller has won before (`Z`).
    pub win_sent: bool,
    /// The version (`V`).
    pub version: u64,
}

/// `VALUE <key> <flags> <bytes> [<cas unique>]`. The value and its line end follow from the caller.
#[inline]
pub fn value_header(out: &mut impl Append, key: &[u8], flags: u32, bytes: usize, cas: Option<u64>) {
    // One reservation for the whole line: the name, three numbers, the spaces and the line end.
    out.make_room(key.len() + 64);
    out.append(b"VALUE ");
    out.append(key);
    if flags == 0 {
        out.append(b" 0 ");
    } else {
        out.append(b" ");
        unsigned(out, u64::from(flags));
        out.append(b" ");
    }
    unsigned(out, bytes as u64);
    if let Some(cas) = cas {
        out.append(b" ");
        unsigned(out, cas);
    }
    out.append(b"\r\n");
}

/// `END`, which ends a retrieval and the statistics.
#[inline]
pub fn end(out: &mut impl Append) {
    out.append(b"END\r\n");
}

/// A classic answer of one word.
#[inline]
pub fn status(out: &mut impl Append, status: Status) {
    // By far the most common one, in one go.
    if status == Status::Stored {
        return out.append(b"STORED\r\n");
    }
    out.append(status.word().as_bytes());
    out.append(b"\r\n");
}

/// The answer of `incr` and `decr`.
pub fn number(out: &mut impl Append, number: u64) {
    unsigned(out, number);
    out.append(b"\r\n");
}

/// The answer to `version`: the memcached release we match.
pub fn version(out: &mut impl Append) {
    out.append(b"VERSION ");
    out.append(MEMCACHED_VERSION.as_bytes());
    out.append(b"\r\n");
}

/// The answer to `config get cluster`: its version, and behind it the members.
pub fn configuration(out: &mut impl Append, payload: &str) {
    out.append(b"CONFIG cluster 0 ");
    unsigned(out, payload.len() as u64);
    out.append(b"\r\n");
    out.append(payload.as_bytes());
    out.append(b"\r\nEND\r\n");
}

/// One statistic. `END` follows the last.
pub fn stat(out: &mut impl Append, name: &str, value: &str) {
    out.append(b"STAT ");
    out.append(name.as_bytes());
    out.append(b" ");
    out.append(value.as_bytes());
    out.append(b"\r\n");
}

/// An error line, of [`error_lines`](crate::error_lines) or of the caller's own; without its line end.
pub fn error_line(out: &mut impl Append, line: &str) {
    out.append(line.as_bytes());
    out.append(b"\r\n");
}

/// The first line of a hit of `mg`. True when the caller must append the value and `\r\n`.
#[inline]
pub fn meta_hit_header(out: &mut impl Append, get: &MetaGet<'_>, facts: &ItemFacts) -> bool {
    let with_value = get.value && get.compare != Some(facts.cas);
    out.make_room(get.flags.as_bytes().len() + get.key.bytes.len() * 4 / 3 + 160);
    if with_value {
        out.append(b"VA ");
        unsigned(out, facts.value_bytes as u64);
    } else {
        out.append(b"HD");
    }
    for flag in get.flags.iter() {
        match flag.letter {
            b's' => tagged(out, b's', facts.value_bytes as u64),
            b't' => ttl(out, facts.ttl_secs),
            b'c' => tagged(out, b'c', facts.cas),
            b'f' => tagged(out, b'f', u64::from(facts.client_flags)),
            b'l' => tagged(out, b'l', facts.last_access_secs),
            b'h' => tagged(out, b'h', u64::from(facts.hit_before)),
            b'V' => {
                tagged(out, b'V', facts.version);
                if let Some(secs) = facts.until_secs.filter(|_| get.flags.has_before(b't', b'V')) {
                    tagged(out, b'U', secs);
                }
            }
            letter => reflect(out, letter, flag.token, &get.key),
        }
    }
    for (letter, said) in [(b'Z', facts.win_sent), (b'X', facts.stale), (b'W', facts.win)] {
        if said {
            out.append(&[b' ', letter]);
        }
    }
    out.append(b"\r\n");
    with_value
}

/// Any meta answer without a value; `O` and `k` are reflected, and with `facts` `c` and `s` are told.
///
/// Nothing at all when the request was quiet and the status is [`MetaStatus::Done`] or [`MetaStatus::Miss`].
pub fn meta_status(
    out: &mut impl Append,
    status: MetaStatus,
    key: &MetaKey<'_>,
    flags: &MetaFlags<'_>,
    facts: Option<&ItemFacts>,
) {
    if matches!(status, MetaStatus::Done | MetaStatus::Miss) && flags.has(b'q') {
        return;
    }
    out.append(status.letters().as_bytes());
    for flag in flags.iter() {
        match (flag.letter, facts) {
            (b'c', Some(facts)) => tagged(out, b'c', facts.cas),
            (b's', Some(facts)) => tagged(out, b's', facts.value_bytes as u64),
            (letter, _) => reflect(out, letter, flag.token, key),
        }
    }
    out.append(b"\r\n");
}

/// `EN`: the answer to `mg` when there is no item. Nothing when quiet.
pub fn meta_miss(out: &mut impl Append, get: &MetaGet<'_>) {
    meta_status(out, MetaStatus::Miss, &get.key, &get.flags, None);
}

/// The answer to `ms`. `cas` is the token of the stored item and `value_bytes` its length, which append and prepend
/// change; for what was not stored memcached tells 0 and the length sent. Nothing when quiet and stored.
pub fn meta_stored(out: &mut impl Append, status: MetaStatus, set: &MetaSet<'_>, facts: Option<&ItemFacts>) {
    let refused = ItemFacts { value_bytes: set.value.len(), ..ItemFacts::default() };
    meta_status(out, status, &set.key, &set.flags, Some(facts.unwrap_or(&refused)));
}

/// The answer to `md`. Nothing when quiet and deleted.
pub fn meta_deleted(out: &mut impl Append, status: MetaStatus, delete: &MetaDelete<'_>) {
    meta_status(out, status, &delete.key, &delete.flags, None);
}

/// The answer to `ma` when it succeeded, number and all. Nothing when quiet.
///
/// When it did not succeed, [`meta_status`] answers.
pub fn meta_arithmetic(out: &mut impl Append, request: &MetaArithmetic<'_>, number: u64, facts: &ItemFacts) {
    if request.quiet {
        return;
    }
    if request.value {
        out.append(b"VA ");
        unsigned(out, u64::from(number.checked_ilog10().unwrap_or(0)) + 1);
    } else {
        out.append(b"HD");
    }
    for flag in request.flags.iter() {
        match flag.letter {
            b'c' => tagged(out, b'c', facts.cas),
            b't' => ttl(out, facts.ttl_secs),
            b'V' => tagged(out, b'V', facts.version),
            letter => reflect(out, letter, flag.token, &request.key),
        }
    }
    out.append(b"\r\n");
    if request.value {
        self::number(out, number);
    }
}

/// What a server that keeps versions has against a versioned write or delete, or how it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionTold {
    /// Nothing to tell.
    Nothing,
    /// A version (`V`): of what was stored, or with [`MetaStatus::NotStored`] of what is newer.
    Version(u64),
    /// The server's clock in milliseconds since 1970 (`K`): the version is too far ahead of it.
    Clock(u64),
    /// For how many milliseconds more the server does not decide for others (`H`).
    Settling(u64),
}

/// The answer to `ms`, `md` or a refused `ma` with `V`: as [`meta_status`], and where `V` stood the version, or the clock.
pub fn meta_versioned(
    out: &mut impl Append,
    status: MetaStatus,
    key: &MetaKey<'_>,
    flags: &MetaFlags<'_>,
    facts: Option<&ItemFacts>,
    told: VersionTold,
) {
    if status == MetaStatus::Done && flags.has(b'q') {
        return;
    }
    out.append(status.letters().as_bytes());
    for flag in flags.iter() {
        match (flag.letter, facts, told) {
            (b'V', _, VersionTold::Version(version)) => tagged(out, b'V', version),
            (b'V', _, VersionTold::Clock(ms)) => tagged(out, b'K', ms),
            (b'V', _, VersionTold::Settling(ms)) => tagged(out, b'H', ms),
            (b'c', Some(facts), _) => tagged(out, b'c', facts.cas),
            (b's', Some(facts), _) => tagged(out, b's', facts.value_bytes as u64),
            (letter, ..) => reflect(out, letter, flag.token, key),
        }
    }
    out.append(b"\r\n");
}

/// What a server knows of a key when it is asked for a promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyTold {
    /// An item of this version.
    Item(u64),
    /// A delete or a flush of this version.
    Deleted(u64),
    /// Nothing.
    Nothing,
}

/// The answer to `mg` with `H`: where `V` stood the item's version, or that of a delete (`D`), if either is known, and the version
/// below which no decision is agreed to (`H`).
pub fn meta_promised(out: &mut impl Append, get: &MetaGet<'_>, known: KeyTold, floor: u64) {
    out.append(MetaStatus::Done.letters().as_bytes());
    for flag in get.flags.iter() {
        match (flag.letter, known) {
            (b'V', KeyTold::Item(version)) => tagged(out, b'V', version),
            (b'V', KeyTold::Deleted(version)) => tagged(out, b'D', version),
            (b'V', KeyTold::Nothing) => {}
            (b'H', _) => tagged(out, b'H', floor),
            (letter, _) => reflect(out, letter, flag.token, &get.key),
        }
    }
    out.append(b"\r\n");
}

/// `MN V K<clock>`, the answer to `mn V` of a server that keeps versions; the clock is in milliseconds since 1970. While
/// it settles there is `H<milliseconds>` behind it, for how much longer.
pub fn meta_noop_versions(out: &mut impl Append, clock_ms: u64, settling_ms: Option<u64>) {
    out.append(b"MN V");
    tagged(out, b'K', clock_ms);
    settling_ms.into_iter().for_each(|left| tagged(out, b'H', left));
    out.append(b"\r\n");
}

/// `MN`, the answer to `mn`.
pub fn meta_noop(out: &mut impl Append) {
    out.append(b"MN\r\n");
}

/// `ME`, the answer to `me` when the item is there. `class` is whatever the store calls its size class, `size_bytes` is
/// all the memory the item takes.
pub fn meta_debug(
    out: &mut impl Append,
    debug: &MetaDebug<'_>,
    facts: &ItemFacts,
    class: u32,
    size_bytes: usize,
) {
    out.append(b"ME ");
    debug.key.encode(out);
    out.append(b" exp=");
    match facts.ttl_secs {
        Some(secs) => unsigned(out, secs),
        None => out.append(b"-1"),
    }
    out.append(b" la=");
    unsigned(out, facts.last_access_secs);
    out.append(b" cas=");
    unsigned(out, facts.cas);
    out.append(if facts.hit_before { b" fetch=yes cls=" } else { b" fetch=no cls=" });
    unsigned(out, u64::from(class));
    out.append(b" size=");
    unsigned(out, size_bytes as u64);
    if debug.version {
        out.append(b" version=");
        unsigned(out, facts.version);
    }
    out.append(b"\r\n");
}

/// `EN`, the answer to `me` when the item is not there.
pub fn meta_debug_miss(out: &mut impl Append) {
    out.append(b"EN\r\n");
}

/// A flag that an answer repeats whatever the command: the opaque and the key.
fn reflect(out: &mut impl Append, letter: u8, token: &[u8], key: &MetaKey<'_>) {
    match letter {
        b'O' => {
            out.append(b" O");
            out.append(token);
        }
        b'k' => {
            out.append(b" k");
            key.encode(out);
            if key.base64 {
                out.append(b" b");
            }
        }
        _ => {}
    }
}

fn tagged(out: &mut impl Append, letter: u8, number: u64) {
    out.append(&[b' ', letter]);
    unsigned(out, number);
}

fn ttl(out: &mut impl Append, secs: Option<u64>) {
    match secs {
        Some(secs) => tagged(out, b't', secs),
        None => out.append(b" t-1"),
    }
}

/// Ends a classic line, with `noreply` where asked for.
pub(crate) fn noreply(out: &mut impl Append, noreply: bool) {
    out.append(if noreply { b" noreply\r\n" } else { b"\r\n" });
}

/// The two digits of each number below a hundred.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[b'0'; 2]; 100];
    let mut number = 0;
    while number < pairs.len() {
        pairs[number] = [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        number += 1;
    }
    pairs
};

/// Appends a number in decimal. Client flags and the sizes of small values are short, and go the short ways.
#[inline]
pub(crate) fn unsigned(out: &mut impl Append, number: u64) {
    match number {
        0..=9 => out.append(&[b'0' + number as u8]),
        10..=99 => out.append(&PAIRS[number as usize]),
        100..=999 => {
            let number = number as u32;
            let [tens, ones] = PAIRS[(number % 100) as usize];
            out.append(&[b'0' + (number / 100) as u8, tens, ones]);
        }
        _ => unsigned_long(out, number),
    }
}

fn unsigned_long(out: &mut impl Append, mut number: u64) {
    // 2^64 - 1 has twenty digits.
    let mut digits = [0_u8; 20];
    let mut start = digits.len();
    while number >= 100 {
        start -= 2;
        digits[start..start + 2].copy_from_slice(&PAIRS[(number % 100) as usize]);
        number /= 100;
    }
    let [tens, ones] = PAIRS[number as usize];
    start -= 1;
    digits[start] = ones;
    if number >= 10 {
        start -= 1;
        digits[start] = tens;
    }
    out.append(&digits[start..]);
}

/// Appends a number in decimal, with its sign when below 0.
pub(crate) fn signed(out: &mut impl Append, number: i64) {
    if number < 0 {
        out.append(b"-");
    }
    unsigned(out, number.unsigned_abs());
}
