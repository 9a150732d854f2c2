//! What a soak counts.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use serde::Serialize;

use super::kill::{Moment, Way};
use super::operation::Verdict;

/// Why a connection ended that was not killed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// What came is no answer, or none came.
    Wrong(String),
    /// The server or the system closed it.
    Broken(String),
}

/// Different texts kept; the rest is counted only.
const TEXTS_MAX: usize = 10;

/// Counts of a run.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Tally {
    pub(super) requests: u64,
    /// Keys asked for.
    pub(super) gets: u64,
    pub(super) hits: u64,
    /// Answers that must not be.
    pub(super) wrong: u64,
    /// Answers that say that the server could not.
    pub(super) refused: u64,
    /// Connections that broke without our doing.
    pub(super) broken: u64,
    pub(super) kills: BTreeMap<Moment, u64>,
    /// Of them, with a reset.
    pub(super) resets: u64,
    /// What was wrong, refused or broken, and how often.
    pub(super) texts: BTreeMap<String, u64>,
}

impl Tally {
    /// Records an answer to a request for `gets` keys.
    pub(super) fn judged(&mut self, gets: u64, verdict: &Verdict) {
        self.requests += 1;
        self.gets += gets;
        match verdict {
            Verdict::Right { hits } => self.hits += hits,
            Verdict::Token { .. } => self.hits += 1,
            Verdict::Refused(text) => {
                self.refused += 1;
                self.text(format!("refused: {text}"));
            }
            Verdict::Wrong(text) => {
                self.wrong += 1;
                self.text(format!("wrong: {text}"));
            }
        }
    }

    /// Records the end of a connection that was not our doing.
    pub(super) fn ended(&mut self, fault: &Fault) {
        match fault {
            Fault::Wrong(what) => {
                self.wrong += 1;
                self.text(format!("wrong: {what}"));
            }
            Fault::Broken(what) => {
                self.broken += 1;
                self.text(format!("broken: {what}"));
            }
        }
    }

    /// Records one that was killed.
    pub(super) fn killed(&mut self, way: Way) {
        *self.kills.entry(way.moment).or_default() += 1;
        self.resets += u64::from(way.reset);
    }

    /// Whether nothing happened that must not.
    pub(super) fn is_clean(&self) -> bool {
        self.wrong + self.refused + self.broken == 0
    }

    fn text(&mut self, text: String) {
        let known = self.texts.contains_key(&text) || self.texts.len() < TEXTS_MAX;
        *self.texts.entry(if known { text } else { "others".to_owned() }).or_default() += 1;
    }
}

/// What workers share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    tally: Mutex<Tally>,
    /// Kills that are due and that nobody has taken.
    kills: AtomicU64,
    stopping: AtomicBool,
}

impl Shared {
    /// Records something.
    pub(super) fn change(&self, change: impl FnOnce(&mut Tally)) {
        change(&mut self.tally.lock());
    }

    /// The counts so far.
    pub(super) fn tally(&self) -> Tally {
        self.tally.lock().clone()
    }

    /// Makes a kill due.
    pub(super) fn order_kill(&self) {
        self.kills.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes one that is due; whoever gets it kills its connection.
    pub(super) fn take_kill(&self) -> bool {
        let less = |due: u64| due.checked_sub(1);
        self.kills.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    /// Tells workers to end.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Whether workers are to end.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}
