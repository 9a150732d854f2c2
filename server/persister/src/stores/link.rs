//! A connection that is made when it is first needed, and anew after it was lost.

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use tokio::time::{Duration, Instant, timeout, timeout_at};

use crate::store::StoreError;

/// How long what was sent may stay unacknowledged before a connection counts as lost, and how long making one may take: longer
/// than a network's hiccup, shorter than an operator's patience.
pub(super) const SILENCE: Duration = Duration::from_secs(10);

type Attempt<C> = Shared<BoxFuture<'static, Result<C, StoreError>>>;

/// One connection for all tasks. Whoever comes first begins to make it, and all wait for that, each to its own deadline. It is
/// made by a task of its own, so that it comes about even where it takes longer than anybody waits.
#[derive(Debug)]
pub(super) struct Link<C> {
    state: Mutex<State<C>>,
}

#[derive(Debug)]
struct State<C> {
    /// How many attempts there were: who lost a connection must not take its successor away.
    attempts: u64,
    /// The last attempt, under way or made. One that failed is not kept.
    attempt: Option<Attempt<C>>,
}

impl<C> Default for Link<C> {
    fn default() -> Self {
        Self { state: Mutex::new(State { attempts: 0, attempt: None }) }
    }
}

impl<C: Clone + Send + Sync + 'static> Link<C> {
    /// The connection, and its number for [`Link::lost`].
    pub(super) async fn get<F>(
        &self,
        deadline: Instant,
        connect: impl FnOnce() -> F,
    ) -> Result<(u64, C), StoreError>
    where
        F: Future<Output = Result<C, StoreError>> + Send + 'static,
    {
        let (number, attempt) = self.attempt(connect);
        match timeout_at(deadline, attempt).await {
            Err(_) => Err(StoreError::timeout()),
            Ok(Ok(connection)) => Ok((number, connection)),
            Ok(Err(error)) => {
                self.lost(number);
                Err(error)
            }
        }
    }

    fn attempt<F>(&self, connect: impl FnOnce() -> F) -> (u64, Attempt<C>)
    where
        F: Future<Output = Result<C, StoreError>> + Send + 'static,
    {
        let mut state = self.state.lock();
        if let Some(attempt) = &state.attempt {
            return (state.attempts, attempt.clone());
        }
        let making = tokio::spawn(timeout(SILENCE, connect()));
        let made = async {
            match making.await {
                Ok(Ok(made)) => made,
                Ok(Err(_)) => Err(StoreError::timeout()),
                Err(_) => Err(StoreError::transient("the connection was given up; it is made again")),
            }
        };
        let attempt = made.boxed().shared();
        state.attempts += 1;
        state.attempt = Some(attempt.clone());
        (state.attempts, attempt)
    }

    /// The connection, if there is one already.
    #[cfg(any(feature = "memcached", feature = "mysql", test))]
    pub(super) fn there(&self) -> Option<C> {
        self.state.lock().attempt.as_ref()?.peek()?.clone().ok()
    }

    /// Forgets this connection where it was refused for who we are: the next one reads the secret anew, which may have been
    /// replaced. Whether it was there to forget: one caller of many is told so, and ends it where it does not end by itself.
    #[cfg(any(
        feature = "dynamodb",
        feature = "http",
        feature = "memcached",
        feature = "mysql",
        feature = "s3",
        test
    ))]
    pub(super) fn heard<T>(&self, number: u64, answers: &[Result<T, StoreError>]) -> bool {
        let refused = |answer: &Result<T, StoreError>| {
            answer.as_ref().is_err_and(|error| error.kind == crate::store::ErrorKind::Credentials)
        };
        answers.iter().any(refused) && self.lost(number)
    }

    /// Forgets this connection, so that the next one who asks makes another. Whether it was there to forget.
    pub(super) fn lost(&self, number: u64) -> bool {
        let mut state = self.state.lock();
        state.attempts == number && state.attempt.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;
    use crate::store::ErrorKind;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(1)
    }

    #[tokio::test]
    async fn connection_is_made_once_and_again_when_lost_by_the_one_who_had_it() {
        let link = Link::default();
        assert_eq!(link.there(), None);
        assert_eq!(link.get(soon(), async || Ok("first")).await, Ok((1, "first")));
        assert_eq!(link.get(soon(), async || Ok("second")).await, Ok((1, "first")));
        link.lost(1);
        assert_eq!(link.get(soon(), async || Ok("second")).await, Ok((2, "second")));
        link.lost(1);
        assert_eq!(link.get(soon(), async || Ok("third")).await, Ok((2, "second")));
        assert_eq!(link.there(), Some("second"));
    }

    /// What was seen: a store that was opened with a secret that was replaced since was refused until the gateway was restarted.
    #[tokio::test]
    async fn connection_that_is_refused_for_its_secret_is_made_again_and_no_other_is() {
        let link = Link::default();
        assert_eq!(link.get(soon(), async || Ok("old")).await, Ok((1, "old")));
        let others = [Ok(()), Err(StoreError::transient("busy")), Err(StoreError::permanent("no"))];
        assert!(!link.heard(1, &others));
        assert_eq!(link.there(), Some("old"));
        let refused = [Ok(()), Err(StoreError::new(ErrorKind::Credentials, "who?"))];
        assert_eq!([link.heard(1, &refused), link.heard(1, &refused)], [true, false]);
        assert_eq!(link.get(soon(), async || Ok("new")).await, Ok((2, "new")));
    }

    #[tokio::test(start_paused = true)]
    async fn connection_that_takes_longer_than_anybody_waits_is_made_all_the_same() {
        let link = Link::default();
        let slow = || async {
            tokio::time::sleep(Duration::from_millis(2_500)).await;
            Ok(7)
        };
        assert_eq!(link.get(soon(), slow).await, Err(StoreError::timeout()));
        assert_eq!(link.get(soon(), slow).await, Err(StoreError::timeout()));
        assert_eq!(link.get(soon(), slow).await, Ok((1, 7)));
    }

    #[tokio::test(start_paused = true)]
    async fn attempt_that_fails_or_does_not_end_is_made_again() {
        let link = Link::default();
        let refused = StoreError::transient("refused");
        let refuse = refused.clone();
        assert_eq!(link.get(soon(), || async { Err(refuse) }).await, Err(refused));
        let far = Instant::now() + 2 * SILENCE;
        assert_eq!(link.get(far, pending).await, Err(StoreError::timeout()));
        assert_eq!(link.get(soon(), async || Ok(7)).await, Ok((3, 7)));
    }
}
