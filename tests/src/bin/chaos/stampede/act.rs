//! What callers do together, known to the suite and to its processes.

use std::time::Duration;

use anyhow::Context;

/// What a load takes.
pub(crate) const LOAD: Duration = Duration::from_millis(200);
/// Processes, and callers in each.
pub(crate) const PROCESSES: usize = 4;
/// A thousand in all.
pub(crate) const CALLERS: usize = 250;
/// The one key.
pub(crate) const KEY: &str = "stampede";

/// Rounds in which all callers ask for the key at once, again and again.
#[derive(Debug)]
pub(crate) struct Act {
    pub(crate) name: &'static str,
    /// Rounds in the short form and in the long one.
    pub(crate) rounds: (u64, u64),
    /// Between the beginnings of two rounds.
    pub(crate) gap: Duration,
    /// When callers ask, from the round's beginning.
    pub(crate) waves: &'static [Duration],
    pub(crate) ttl: Duration,
    pub(crate) stale: Duration,
    pub(crate) load_timeout: Duration,
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Items expire between two rounds: the client rounds up to whole seconds, and nodes, which count those, tell what is left
/// up to a second late, so that a second lasts three.
pub(crate) const EXPIRY: Act = Act {
    name: "expiry",
    rounds: (3, 20),
    gap: ms(3_500),
    waves: &[ms(0), ms(100), ms(300)],
    ttl: ms(1_000),
    stale: Duration::ZERO,
    load_timeout: ms(5_000),
};

/// The same with the old value served meanwhile.
pub(crate) const STALE: Act = Act { name: "stale", stale: ms(60_000), ..EXPIRY };

/// The key is deleted in the middle of the load.
pub(crate) const DELETE: Act = Act {
    name: "delete",
    rounds: (3, 10),
    gap: ms(1_500),
    waves: &[ms(0), ms(140), ms(900)],
    ttl: ms(60_000),
    stale: Duration::ZERO,
    load_timeout: ms(5_000),
};

/// When it is, from the round's beginning.
pub(crate) const DELETE_AT: Duration = ms(100);

/// The process that loads is killed.
pub(crate) const KILL: Act = Act {
    name: "kill",
    rounds: (1, 1),
    gap: ms(5_000),
    waves: &[ms(0), ms(100)],
    load_timeout: ms(500),
    ..DELETE
};

/// After the death of its loader: what is left of the load's time and three seconds more until the lease has gone.
pub(crate) const DEATH_LIMIT: Duration = ms(500 + 3_000);

const ACTS: [&Act; 4] = [&EXPIRY, &STALE, &DELETE, &KILL];

/// The act of this name.
///
/// # Errors
/// When there is none.
pub(crate) fn act(name: &str) -> anyhow::Result<&'static Act> {
    ACTS.into_iter().find(|act| act.name == name).with_context(|| format!("no act {name}"))
}
