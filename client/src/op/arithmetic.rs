//! `incr` and `decr`: the home zone counts.

use evanesce_wire::request::Direction;
use tokio::time::Instant;

use super::OpFuture;
use super::options::{Limit, latch_option, limit_options};
use crate::error::WriteError;
use crate::home::{HomeWrite, change_at_home};
use crate::key::{Key, KeyError};
use crate::namespace::Namespace;
use crate::observe::{Operation, Watch};
use crate::outcome::ArithmeticOutcome;
use crate::policy::LatchPolicy;
use crate::request::{Change, Done};
use crate::ttl::Ttl;

/// Adds to a number (`incr`, wraps at 64 bits) or takes from it (`decr`, stops at 0).
///
/// The key's home zone counts, or the next in its order while that cannot be reached; the item it then has goes to the
/// other server groups as a set. The number's TTL stays as it is. Cancel-safe: once polled, it runs to its end. Never
/// retried after an unanswered attempt: that might count twice. Its key must not be above 250 bytes.
#[must_use = "an operation does nothing until it is awaited"]
pub struct Arithmetic<'a> {
    namespace: &'a Namespace,
    key: Result<Key, KeyError>,
    direction: Direction,
    delta: u64,
    initial: Option<u64>,
    ttl: Ttl,
    latch: LatchPolicy,
    limit: Limit,
}

impl<'a> Arithmetic<'a> {
    pub(crate) fn new(namespace: &'a Namespace, key: &[u8], direction: Direction, delta: u64) -> Self {
        let (ttl, latch) = (namespace.ttl, namespace.latch);
        let limit = Limit::of_write(namespace);
        Self {
            namespace,
            key: namespace.key_as_it_is(key),
            direction,
            delta,
            initial: None,
            ttl,
            latch,
            limit,
        }
    }

    /// Makes an absent number: it begins with this one, without the delta. Default none.
    pub fn initial(mut self, number: u64) -> Self {
        self.initial = Some(number);
        self
    }

    /// How long a number lives that [`initial`](Self::initial) makes. Default the namespace's.
    pub fn ttl(mut self, ttl: impl Into<Ttl>) -> Self {
        self.ttl = ttl.into();
        self
    }

    latch_option!();

    limit_options!("How long all of it may take. Default the client's, 500 ms.", limit);

    /// Runs it; awaiting the operation does the same.
    ///
    /// # Errors
    ///
    /// [`WriteError`]; [`WriteError::MaybeApplied`] when the home zone did not say whether it counted, or counted and
    /// could not be read back for the others.
    pub async fn run(self) -> Result<ArithmeticOutcome, WriteError> {
        match Watch::begin(self.namespace, self.operation(), 1) {
            None => self.execute().await,
            Some(watch) => watch.over(self.execute()).await,
        }
    }

    fn operation(&self) -> Operation {
        match self.direction {
            Direction::Increment => Operation::Increment,
            Direction::Decrement => Operation::Decrement,
        }
    }

    async fn execute(self) -> Result<ArithmeticOutcome, WriteError> {
        let exptime = self.ttl.exptime(self.namespace.core.nodes_now());
        let initial = self.initial.map(|number| (number, exptime));
        let change = Change::Arithmetic { direction: self.direction, delta: self.delta, initial };
        let now = Instant::now();
        let timeout = self.limit.end_of_write(now)?.saturating_duration_since(now);
        let write = HomeWrite { key: self.key?, change, latch: self.latch, timeout };
        let decided = change_at_home(&self.namespace.core, write).await?;
        Ok(match (decided.done, decided.number) {
            (Done::Yes, Some(number)) => ArithmeticOutcome::Counted { number, written: decided.written },
            (Done::NotFound, _) => ArithmeticOutcome::NotFound,
            _ => ArithmeticOutcome::NotANumber,
        })
    }
}

impl<'a> IntoFuture for Arithmetic<'a> {
    type Output = Result<ArithmeticOutcome, WriteError>;
    type IntoFuture = OpFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
