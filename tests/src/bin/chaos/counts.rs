//! Numbers that all processes count up while some of them do not reach some zone: new ones each second, so that what was
//! lost tells when.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

use evanesce_client::{ArithmeticOutcome, Client};

use crate::copies::{Copies, Copy};
use crate::verdict::Verdict;
use evanesce_tests::clock::{now_ns, ns};

/// Numbers of each second: enough that every zone is home of some.
const NUMBERS: usize = 6;
/// How long one is counted.
const SECOND: Duration = Duration::from_secs(1);
/// Time for a number's last addition to end: a write's time-out.
const ENDED_AFTER: Duration = Duration::from_millis(500);
/// So long after a cut was healed all clients have found the zone again, and sent what it missed.
const FOUND_AFTER: Duration = Duration::from_secs(4);

/// One addition as printed: `count KEY fate`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) key: String,
    /// `counted`, `maybe` or `failed`.
    pub(crate) fate: String,
}

/// While this lasted, or shortly after, some client did not reach these zones.
#[derive(Debug, Clone)]
pub(crate) struct Away {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) zones: Vec<String>,
}

/// All that was added to one number, and what it is.
#[derive(Debug, Default, Clone, Copy)]
struct Sum {
    counted: u64,
    maybe: u64,
    /// The largest of all zones.
    found: u64,
    differs: bool,
}

/// Of many numbers.
#[derive(Debug, Default)]
struct Total {
    counted: u64,
    maybe: u64,
    lost: u64,
    differing: u64,
    /// Those that something was lost of.
    lacking: Vec<String>,
}

/// Adds one to a number of this second. Returns a line that tells so.
pub(crate) async fn count(client: &Client, random: usize) -> String {
    let begun = now_ns();
    let key = key(begun / ns(SECOND), random % NUMBERS);
    let fate = match client.incr(&key, 1).initial(1).await {
        Ok(ArithmeticOutcome::Counted { .. }) => "counted",
        Ok(ArithmeticOutcome::NotFound | ArithmeticOutcome::NotANumber) => "failed",
        Err(error) if error.maybe_applied() => "maybe",
        Err(_) => "failed",
    };
    format!("count {key} {fate}")
}

/// A line of [`count`].
pub(crate) fn parse(line: &str) -> Option<Count> {
    let (key, fate) = line.strip_prefix("count ")?.split_once(' ')?;
    Some(Count { key: key.to_owned(), fate: fate.to_owned() })
}

fn key(second: u64, number: usize) -> String {
    format!("count-{second}-{number}")
}

fn second(key: &str) -> Option<u64> {
    key.strip_prefix("count-")?.split('-').next()?.parse().ok()
}

/// The numbers that were counted between two instants.
pub(crate) fn keys_between(span: Range<u64>) -> Vec<String> {
    let seconds = span.start / ns(SECOND)..=span.end / ns(SECOND);
    seconds.flat_map(|second| (0..NUMBERS).map(move |number| key(second, number))).collect()
}

/// Nothing is counted twice, and nothing is lost, whoever reached the zone that decides. Numbers may differ between zones
/// after an addition whose outcome is not known: the zone that decided has it, and nobody told the others.
pub(crate) fn judge(
    verdict: &mut Verdict,
    counts: &[Count],
    all: &[Copies],
    homes: &BTreeMap<String, String>,
    aways: &[Away],
) {
    let (mut apart, mut together) = (Total::default(), Total::default());
    let (mut too_many, mut differing) = (Vec::new(), Vec::new());
    for (key, sum) in sums(counts, all) {
        let home = homes.get(key);
        let is_apart = home.is_none_or(|home| aways.iter().any(|away| away.touches(key, home)));
        let total = if is_apart { &mut apart } else { &mut together };
        let what = || format!("{key}, home {home:?}: {sum:?}");
        total.add(&sum, what);
        if sum.found > sum.counted + sum.maybe {
            too_many.push(what());
        }
        if sum.differs && sum.maybe == 0 {
            differing.push(what());
        }
    }
    verdict.figure(format!("counts with a home that all reached: {together}"));
    verdict.figure(format!("with a home that some did not reach: {apart}"));
    verdict.must(together.counted > 0, "nothing was counted with a home that all reached");
    verdict.must(apart.counted > 0, "nothing was counted with a home that some did not reach");
    verdict.none("numbers lack additions", &[&together.lacking[..], &apart.lacking[..]].concat());
    verdict.none("numbers have additions that nobody made", &too_many);
    verdict.none("numbers differ between zones, and all outcomes are known", &differing);
}

/// By number.
fn sums<'a>(counts: &'a [Count], all: &[Copies]) -> BTreeMap<&'a str, Sum> {
    let mut sums: BTreeMap<&str, Sum> = BTreeMap::new();
    for count in counts {
        let sum = sums.entry(&count.key).or_default();
        match count.fate.as_str() {
            "counted" => sum.counted += 1,
            "maybe" => sum.maybe += 1,
            _ => {}
        }
    }
    for copies in all {
        let Some(sum) = sums.get_mut(copies.key.as_str()) else { continue };
        let number =
            |copy: &Copy| String::from_utf8_lossy(&copy.value).trim_end().parse().unwrap_or(u64::MAX);
        let found: Vec<u64> = copies.zones.iter().filter_map(|(_, copy)| copy.as_ref().map(number)).collect();
        sum.found = found.iter().copied().max().unwrap_or(0);
        sum.differs = found.iter().any(|number| *number != sum.found);
    }
    sums
}

impl Total {
    fn add(&mut self, sum: &Sum, what: impl FnOnce() -> String) {
        self.counted += sum.counted;
        self.maybe += sum.maybe;
        self.differing += u64::from(sum.differs);
        let lost = sum.counted.saturating_sub(sum.found);
        self.lost += lost;
        if lost > 0 {
            self.lacking.push(what());
        }
    }
}

impl fmt::Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { counted, maybe, lost, differing, .. } = self;
        write!(f, "{counted} acked, {maybe} unknown, {lost} lost, {differing} numbers differ")
    }
}

impl Away {
    /// Whether a number may have been counted while its home was away from somebody.
    fn touches(&self, key: &str, home: &str) -> bool {
        let Some(second) = second(key) else { return true };
        let (from, to) = (second * ns(SECOND), (second + 1) * ns(SECOND) + ns(ENDED_AFTER));
        self.zones.iter().any(|zone| zone == home) && from <= self.to + ns(FOUND_AFTER) && to >= self.from
    }
}

#[cfg(test)]
mod tests {
    use super::{Away, Count, keys_between, ns, parse};
    use std::time::Duration;

    #[test]
    fn additions_are_read_back() {
        let count = Count { key: "count-7-1".to_owned(), fate: "maybe".to_owned() };
        assert_eq!(parse("count count-7-1 maybe"), Some(count));
        assert_eq!(parse("write k v 1 2 acked"), None);
    }

    #[test]
    fn number_is_apart_while_its_home_is_away_and_a_while_after() {
        let at = |secs| ns(Duration::from_secs(secs));
        let away = Away { from: at(10), to: at(13), zones: vec!["b".to_owned()] };
        let touched: Vec<u64> =
            (7..20).filter(|second| away.touches(&format!("count-{second}-0"), "b")).collect();
        assert_eq!(touched, [9, 10, 11, 12, 13, 14, 15, 16, 17]);
        assert!(!away.touches("count-11-0", "a"));
        assert_eq!(keys_between(at(3)..at(4)).len(), 12);
    }
}
