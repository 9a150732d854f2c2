//! What happened, and what of it must not have.

use std::collections::{BTreeMap, BTreeSet};

/// Violations that are kept: the first ones tell.
const VIOLATIONS_MAX: usize = 20;

/// A write, from its beginning on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Write {
    /// In milliseconds of the run.
    pub(crate) begun_ms: u64,
    /// `None` while its caller waits.
    pub(crate) ended_ms: Option<u64>,
    /// What it does.
    pub(crate) what: What,
    /// What came of it.
    pub(crate) outcome: Outcome,
    /// Who made it.
    pub(crate) who: String,
    /// Whoever made it has ended since, and repairs it no more.
    pub(crate) is_orphan: bool,
}

/// What a write does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// Puts this value.
    Set(String),
    /// Deletes the key.
    Delete,
    /// Adds to a number.
    Add(u64),
    /// Appends this token, or puts it when nothing is there.
    Append(String),
}

/// What came of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It may be anywhere.
    Unknown,
    /// It has not been done, nor will it be.
    NotDone,
    /// It is done, with this version where one is known.
    Done(Option<u64>),
    /// It has lost to a newer one, and says so.
    Superseded,
}

/// All that happened in a run. Pure.
#[derive(Debug, Default)]
pub(crate) struct History {
    now_ms: u64,
    trace: Vec<String>,
    /// Of this millisecond: who did it, and the line.
    lines: Vec<(String, String)>,
    hash: u64,
    writes: BTreeMap<String, Vec<Write>>,
    violations: Vec<String>,
    next: u64,
    /// When what was written or touched with a short life has expired by right clocks, at the latest: by key, and by value.
    ends_ms: BTreeMap<String, u64>,
    /// Operations ended, and those of them that failed.
    pub(crate) operations: u64,
    pub(crate) failed: u64,
}

/// A write of a history.
#[derive(Debug, Clone)]
pub(crate) struct WriteId {
    key: String,
    at: usize,
}

impl History {
    /// From now on it is this time, in milliseconds of the run.
    pub(crate) fn at(&mut self, now_ms: u64) {
        if now_ms == self.now_ms {
            return;
        }
        self.now_ms = now_ms;
        // Whom tokio wakes first of those who wait for one thing is left to chance that no seed governs.
        self.lines.sort_by(|(one, _), (other, _)| one.cmp(other));
        for (_, line) in std::mem::take(&mut self.lines) {
            // FNV-1a: the same everywhere.
            self.hash = line.bytes().fold(self.hash ^ 0xcbf2_9ce4_8422_2325, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
            self.trace.push(line);
        }
    }

    /// The time, in milliseconds of the run.
    #[must_use]
    pub(crate) fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// Something happened: its first word says to whom.
    pub(crate) fn note(&mut self, event: impl AsRef<str>) {
        let event = event.as_ref();
        let who = event.split(' ').next().unwrap_or_default().to_owned();
        self.lines.push((who, format!("{:>6} {event}", self.now_ms)));
    }

    /// Something happened that must not.
    pub(crate) fn violated(&mut self, what: impl AsRef<str>) {
        let what = what.as_ref();
        self.note(format!("violation: {what}"));
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(format!("{:>6} {what}", self.now_ms));
        }
    }

    /// A number that no other has.
    pub(crate) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// A write begins.
    pub(crate) fn begin(&mut self, who: &str, key: &str, what: What) -> WriteId {
        self.note(format!("{who} {key} {what:?}"));
        let writes = self.writes.entry(key.to_owned()).or_default();
        let (begun_ms, who) = (self.now_ms, who.to_owned());
        let outcome = Outcome::Unknown;
        writes.push(Write { begun_ms, ended_ms: None, what, outcome, who, is_orphan: false });
        WriteId { key: key.to_owned(), at: writes.len() - 1 }
    }

    /// A client has ended.
    pub(crate) fn died(&mut self, name: &str, pending: usize) {
        self.note(format!("{name} ends with {pending} repairs pending"));
        let is_of = |who: &str| who.split_once('.').is_some_and(|(client, _)| client == name);
        let writes = self.writes.values_mut().flatten();
        writes.filter(|write| is_of(&write.who)).for_each(|write| write.is_orphan = true);
    }

    /// A key, or a value, is given so long a life from now on.
    pub(crate) fn lives(&mut self, of: &str, secs: u64) {
        let end_ms = self.now_ms + secs * 1_000;
        let known = self.ends_ms.entry(of.to_owned()).or_default();
        *known = end_ms.max(*known);
    }

    /// When a key or a value that was given a short life has ended at the latest, in milliseconds of the run.
    pub(crate) fn ends_ms(&self, of: &str) -> Option<u64> {
        self.ends_ms.get(of).copied()
    }

    /// Its caller was told this.
    pub(crate) fn end(&mut self, who: &str, id: &WriteId, outcome: Outcome, told: &str) {
        let write = &mut self.writes.get_mut(&id.key).expect("it has begun")[id.at];
        (write.outcome, write.ended_ms) = (outcome, Some(self.now_ms));
        let line = format!("{who} {} {:?}: {told}", id.key, write.what);
        self.note(line);
        self.operations += 1;
        self.failed += u64::from(outcome == Outcome::Unknown);
    }

    /// A read ended so.
    pub(crate) fn read(&mut self, who: &str, key: &str, found: Option<&str>) {
        self.note(format!("{who} {key} read {:?}", found.map(brief)));
        self.operations += 1;
        if let Some(found) = found
            && let Some(fault) = self.fault_of(key, found)
        {
            self.violated(format!("{who} read {key} = {:?}: {fault}", brief(found)));
        }
    }

    /// Why the key cannot have this value; `None` when it can.
    #[must_use]
    pub(crate) fn fault_of(&self, key: &str, value: &str) -> Option<String> {
        let writes = self.writes.get(key).map(Vec::as_slice).unwrap_or_default();
        match key.as_bytes().first() {
            Some(b'n') => {
                let most: u64 = writes.iter().map(|write| write.what.added()).sum();
                let number = value.parse::<u64>().ok();
                (number.is_none_or(|number| number > most)).then(|| format!("more than {most} ever added"))
            }
            Some(b's') => {
                let appended: BTreeSet<&str> = writes.iter().filter_map(|write| write.what.token()).collect();
                let mut seen = BTreeSet::new();
                let mut tokens = value.split_terminator(',');
                let odd = tokens.find(|token| !seen.insert(*token) || !appended.contains(token));
                odd.map(|token| format!("{token} was never appended, or is there twice"))
            }
            _ => {
                let known = writes.iter().any(|write| write.what == What::Set(value.to_owned()));
                (!known).then(|| "it was never written".to_owned())
            }
        }
    }

    /// The writes of each key, in the order in which they began.
    #[must_use]
    pub(crate) fn writes(&self) -> &BTreeMap<String, Vec<Write>> {
        &self.writes
    }

    /// What must not have happened.
    #[must_use]
    pub(crate) fn violations(&self) -> &[String] {
        &self.violations
    }

    /// Line by line.
    #[must_use]
    pub(crate) fn trace(&self) -> &[String] {
        &self.trace
    }

    /// Of the whole trace.
    #[must_use]
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }
}

impl What {
    /// What it adds.
    #[must_use]
    pub(crate) fn added(&self) -> u64 {
        if let Self::Add(number) = self { *number } else { 0 }
    }

    fn token(&self) -> Option<&str> {
        if let Self::Append(token) = self { Some(token.trim_end_matches(',')) } else { None }
    }
}

/// Whether what a key has lives for seconds only.
pub(crate) fn expires(key: &str) -> bool {
    matches!(key.as_bytes().first(), Some(b't' | b'u'))
}

/// A value as the trace shows it: of one of many tokens how many there are, and the last.
pub(crate) fn brief(value: &str) -> String {
    match value.trim_end_matches(',').rsplit_once(',') {
        Some((_, last)) => format!("{} tokens to {last}", value.split_terminator(',').count()),
        None => value.to_owned(),
    }
}
