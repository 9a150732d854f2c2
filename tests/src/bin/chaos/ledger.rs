//! What must be in keys that one place decides: numbers that were counted, by `incr` and by compare-and-set, and words
//! that were appended. A loss is told with who was acknowledged what around it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Context;
use evanesce_client::{ArithmeticOutcome, Client, CompareAndSetOutcome, StoreOutcome, WriteError, Written};
use parking_lot::Mutex;

use evanesce_tests::clock::{ms, now_ns};

/// Counters, compare-and-set registers, and texts.
pub(crate) const KEYS: usize = 30;
/// They live as long as the run, and do not go by themselves.
const TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// Acknowledgements told of one loss: the ones lost, and those just before and after.
const TOLD_MAX: usize = 12;

/// All that was added to one key.
#[derive(Debug, Default)]
struct Account {
    acked: BTreeSet<u64>,
    /// One for each of those.
    acks: Vec<Ack>,
    maybe: BTreeSet<u64>,
    next: u64,
}

/// One addition that was acknowledged.
#[derive(Debug, Clone, Copy)]
struct Ack {
    /// Which.
    number: u64,
    /// By which client.
    client: usize,
    begun: u64,
    ended: u64,
    /// What was counted to; its own number of an append.
    value: u64,
    written: Written,
}

/// The accounts. Every addition has a number; what is counted goes up by one with each.
#[derive(Debug)]
pub(crate) struct Ledger {
    accounts: Vec<Mutex<Account>>,
}

/// What is wrong with the keys in the end.
#[derive(Debug, Default)]
pub(crate) struct Balance {
    pub(crate) acked: usize,
    pub(crate) maybe: usize,
    /// Additions that were acknowledged and are not there.
    pub(crate) lost: u64,
    /// Additions that are there and were never acknowledged, or more than once.
    pub(crate) too_many: u64,
    pub(crate) told: Vec<String>,
}

/// What a key is for.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Counter,
    Register,
    Text,
}

fn kind(key: usize) -> Kind {
    [Kind::Counter, Kind::Register, Kind::Text][key % 3]
}

fn name(key: usize) -> String {
    let kind = match kind(key) {
        Kind::Counter => "counter",
        Kind::Register => "register",
        Kind::Text => "text",
    };
    format!("{kind}-{key}")
}

impl Ledger {
    pub(crate) fn new() -> Self {
        Self { accounts: (0..KEYS).map(|_| Mutex::default()).collect() }
    }

    pub(crate) fn keys(&self) -> Vec<String> {
        (0..KEYS).map(name).collect()
    }

    /// Makes every key.
    ///
    /// # Errors
    /// When one cannot be written.
    pub(crate) async fn open(&self, client: &Client) -> anyhow::Result<()> {
        for key in 0..KEYS {
            let first = if matches!(kind(key), Kind::Text) { "begin" } else { "0" };
            client.set(name(key), first).ttl(TTL).await?;
        }
        Ok(())
    }

    /// Adds to a key through one client. Returns what failed.
    pub(crate) async fn add(&self, client: (usize, &Client), key: usize) -> Option<String> {
        let number = {
            let mut account = self.accounts[key].lock();
            account.next += 1;
            account.next
        };
        let (index, client) = client;
        let begun = now_ns();
        let outcome = match kind(key) {
            Kind::Counter => client.incr(name(key), 1).await.map(|outcome| match outcome {
                ArithmeticOutcome::Counted { number, written } => Some((number, written)),
                ArithmeticOutcome::NotFound | ArithmeticOutcome::NotANumber => None,
            }),
            Kind::Register => register(client, &name(key)).await,
            Kind::Text => client.append(name(key), format!(" {number}")).await.map(|outcome| match outcome {
                StoreOutcome::Stored(written) => Some((number, written)),
                StoreOutcome::NotStored => None,
            }),
        };
        let mut account = self.accounts[key].lock();
        match outcome {
            Ok(Some((value, written))) => {
                account.acked.insert(number);
                account.acks.push(Ack { number, client: index, begun, ended: now_ns(), value, written });
                None
            }
            Ok(None) => None,
            Err(error) => {
                if error.maybe_applied() {
                    account.maybe.insert(number);
                }
                Some(error.to_string())
            }
        }
    }

    /// Additions that were acknowledged at a time that `disturbed` names.
    pub(crate) fn acked_while(&self, disturbed: impl Fn(u64) -> bool) -> u64 {
        let of = |account: &Mutex<Account>| {
            account.lock().acks.iter().filter(|ack| disturbed(ack.ended)).count() as u64
        };
        self.accounts.iter().map(of).sum()
    }

    /// Compares what the zones have with what was added.
    ///
    /// # Errors
    /// When a key cannot be read.
    pub(crate) async fn balance(&self, client: &Client) -> anyhow::Result<Balance> {
        let mut balance = Balance::default();
        for key in 0..KEYS {
            let found = client.get(name(key)).await?;
            let found = String::from_utf8_lossy(&found.unwrap_or_default()).into_owned();
            let account = self.accounts[key].lock();
            let (lost, too_many) = match kind(key) {
                Kind::Text => words(&found, &account),
                Kind::Counter | Kind::Register => sum(&found, &account).with_context(|| name(key))?,
            };
            balance.acked += account.acked.len();
            balance.maybe += account.maybe.len();
            balance.lost += lost;
            balance.too_many += too_many;
            if lost + too_many > 0 {
                balance.told.push(format!(
                    "{}: of {} acknowledged and {} unknown {lost} are lost, {too_many} too many{}",
                    name(key),
                    account.acked.len(),
                    account.maybe.len(),
                    account.story(kind(key), &found)
                ));
            }
        }
        Ok(balance)
    }
}

impl Account {
    /// What was acknowledged around the first loss: of numbers, where one was given twice; of words, where one is missing.
    fn story(&self, kind: Kind, found: &str) -> String {
        let mut acks = self.acks.clone();
        acks.sort_by_key(|ack| ack.ended);
        let mut given: BTreeMap<u64, usize> = BTreeMap::new();
        acks.iter().for_each(|ack| *given.entry(ack.value).or_default() += 1);
        let there: BTreeSet<&str> = found.split(' ').collect();
        let is_odd = |ack: &Ack| match kind {
            Kind::Counter | Kind::Register => given[&ack.value] > 1,
            Kind::Text => !there.contains(ack.number.to_string().as_str()),
        };
        let Some(first) = acks.iter().position(is_odd) else { return String::new() };
        let around = acks.iter().skip(first.saturating_sub(TOLD_MAX / 4)).take(TOLD_MAX);
        around.map(|ack| ack.told(is_odd(ack))).collect()
    }
}

impl Ack {
    fn told(&self, odd: bool) -> String {
        let Self { number, client, begun, ended, value, written } = *self;
        let mark = if odd { '!' } else { ' ' };
        let (version, by) = (written.version.map(|v| v.as_u64()), written.superseded_by.map(|v| v.as_u64()));
        format!(
            "\n    {mark} #{number} by client {client} from {:.1} to {:.1} ms: {value}, version {version:x?}, superseded by \
             {by:x?}, {} acked, {} failed, {} pending",
            ms(begun),
            ms(ended),
            written.acked,
            written.failed,
            written.pending
        )
    }
}

/// Reads a number, and stores the next if nobody else has meanwhile.
async fn register(client: &Client, key: &str) -> Result<Option<(u64, Written)>, WriteError> {
    // A read that fails adds nothing.
    let Ok(Some(item)) = client.get_for_cas(key).await else { return Ok(None) };
    let Some(number) = std::str::from_utf8(&item.value).ok().and_then(|text| text.parse::<u64>().ok()) else {
        return Ok(None);
    };
    let outcome = client.compare_and_set(key, item.cas, (number + 1).to_string()).ttl(TTL).await?;
    Ok(match outcome {
        CompareAndSetOutcome::Stored(written) => Some((number + 1, written)),
        CompareAndSetOutcome::Exists | CompareAndSetOutcome::NotFound => None,
    })
}

/// Additions to a number that are lost, and those that are too many.
fn sum(found: &str, account: &Account) -> anyhow::Result<(u64, u64)> {
    let number: u64 = if found.is_empty() { 0 } else { found.parse()? };
    let least = account.acked.len() as u64;
    let most = least + account.maybe.len() as u64;
    Ok((least.saturating_sub(number), number.saturating_sub(most)))
}

/// Words of a text that are lost, and those that nobody, or somebody twice, put there.
fn words(found: &str, account: &Account) -> (u64, u64) {
    let all: Vec<u64> = found.split(' ').skip(1).filter_map(|word| word.parse().ok()).collect();
    let there: BTreeSet<u64> = all.iter().copied().collect();
    let lost = account.acked.difference(&there).count() as u64;
    let unasked = there.iter().filter(|word| !account.acked.contains(word) && !account.maybe.contains(word));
    (lost, unasked.count() as u64 + (all.len() - there.len()) as u64)
}

#[cfg(test)]
mod tests {
    use super::{Account, sum, words};

    #[test]
    fn additions_of_unknown_outcome_may_be_there_or_not() {
        let account = Account { acked: [1, 2].into(), maybe: [3].into(), next: 3, ..Account::default() };
        let sums = ["1", "2", "3", "4"].map(|found| sum(found, &account).expect("a number"));
        assert_eq!(sums, [(1, 0), (0, 0), (0, 0), (0, 1)]);
        let texts = ["begin 1 2", "begin 3 1 2", "begin 1", "begin 1 1 2 9", ""];
        assert_eq!(texts.map(|found| words(found, &account)), [(0, 0), (0, 0), (1, 0), (0, 2), (2, 0)]);
    }
}
