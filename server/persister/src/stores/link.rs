//! A connection that is made when it is first needed, and anew after it was lost.

use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use crate::store::StoreError;

/// How long what was sent may stay unacknowledged before a connection counts as lost: longer than a network's hiccup, shorter
/// than an operator's patience.
pub(super) const SILENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// One connection for all tasks. Whoever comes first makes it, the others wait for that, each to its own deadline.
#[derive(Debug)]
pub(super) struct Link<C> {
    state: Mutex<State<C>>,
}

#[derive(Debug)]
struct State<C> {
    /// How many were made: who lost one must not take its successor away.
    made: u64,
    connection: Option<C>,
}

impl<C> Default for Link<C> {
    fn default() -> Self {
        Self { state: Mutex::new(State { made: 0, connection: None }) }
    }
}

impl<C: Clone> Link<C> {
    /// The connection, and its number for [`Link::lost`].
    pub(super) async fn get<F>(
        &self,
        deadline: Instant,
        connect: impl FnOnce() -> F,
    ) -> Result<(u64, C), StoreError>
    where
        F: Future<Output = Result<C, StoreError>>,
    {
        let get = async {
            let mut state = self.state.lock().await;
            if let Some(connection) = &state.connection {
                return Ok((state.made, connection.clone()));
            }
            let connection = connect().await?;
            state.made += 1;
            state.connection = Some(connection.clone());
            Ok((state.made, connection))
        };
        timeout_at(deadline, get).await.unwrap_or_else(|_| Err(StoreError::timeout()))
    }

    /// Forgets this connection, so that the next one who asks makes another.
    pub(super) async fn lost(&self, number: u64) {
        let mut state = self.state.lock().await;
        if state.made == number {
            state.connection = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn connection_is_made_once_and_again_when_lost_by_the_one_who_had_it() {
        let (link, soon) = (Link::default(), Instant::now() + Duration::from_secs(5));
        assert_eq!(link.get(soon, async || Ok("first")).await, Ok((1, "first")));
        assert_eq!(link.get(soon, async || Ok("second")).await, Ok((1, "first")));
        link.lost(1).await;
        assert_eq!(link.get(soon, async || Ok("second")).await, Ok((2, "second")));
        link.lost(1).await;
        assert_eq!(link.get(soon, async || Ok("third")).await, Ok((2, "second")));
    }

    #[tokio::test(start_paused = true)]
    async fn connection_that_does_not_come_is_waited_for_to_the_deadline_only() {
        let link: Link<u8> = Link::default();
        let deadline = Instant::now() + Duration::from_secs(1);
        assert_eq!(link.get(deadline, std::future::pending).await, Err(StoreError::timeout()));
        let refused = StoreError::transient("refused");
        let later = Instant::now() + Duration::from_secs(1);
        assert_eq!(link.get(later, async || Err(refused.clone())).await, Err(refused.clone()));
        assert_eq!(link.get(later, async || Ok(7)).await, Ok((1, 7)));
    }
}
