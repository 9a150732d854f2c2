//! How are things counted, and what if nobody knows whether one was?
//!
//! A key's home zone counts, and the others get the number. When that zone's answer is lost, the client says
//! `MaybeApplied` and leaves to the caller what that means: counting again may count twice, not counting may lose one.
//!
//! ```text
//! cargo run -p evanesce-client --example counters
//! ```

mod cluster;

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use evanesce_client::{ArithmeticOutcome, Client, Namespace};
use tokio::task::JoinSet;

use cluster::Cluster;

const TASKS: u64 = 8;
const LIKES: u64 = 100;

const PATIENCE: Duration = Duration::from_secs(15);

/// Refused for a moment, nothing sent: so often is tried again.
const TRIES_MAX: u32 = 5;

/// What became of one like.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Counted {
    /// It is in the number.
    Yes,
    /// It may be. Here that is good enough: a number of likes may be off by one. What must be exact needs an identity
    /// of its own: see `pay_once`.
    Perhaps,
}

async fn like(likes: &Namespace, movie: &str, mut patience: Duration) -> Result<Counted> {
    let mut refused = None;
    for _ in 0..TRIES_MAX {
        // An absent number begins with `initial`, which is the first like then.
        return match likes.incr(movie, 1).initial(1).timeout(patience).await {
            Ok(ArithmeticOutcome::Counted { .. }) => Ok(Counted::Yes),
            Ok(ArithmeticOutcome::NotANumber) => bail!("somebody stored something else under {movie}"),
            Ok(ArithmeticOutcome::NotFound) => bail!("cannot be: there is an initial number"),
            Err(error) if error.maybe_applied() => Ok(Counted::Perhaps),
            // It never left this process, or nobody was in time to decide it: again, and with time, does no harm.
            Err(error) if error.may_retry() => {
                (patience, refused) = (PATIENCE, Some(error));
                continue;
            }
            Err(error) => Err(error.into()),
        };
    }
    bail!("the cluster takes no writes: {refused:?}")
}

/// What must not happen twice is marked first, under a name of its own: `add` stores it for one caller only. Where the
/// answer is lost, the mark says who was first, read where it was decided.
async fn pay_once(payments: &Namespace, payment: &str, worker: &str) -> Result<bool> {
    match payments.add(payment, worker.to_owned()).await {
        Ok(outcome) => Ok(outcome.is_stored()),
        Err(error) if error.maybe_applied() => match payments.get_for_cas(payment).await? {
            Some(mark) => Ok(mark.value == worker.as_bytes()),
            None => Err(error.into()),
        },
        Err(error) => Err(error.into()),
    }
}

/// The number that the key's home zone has.
async fn number(likes: &Namespace, movie: &str) -> Result<u64> {
    let item = likes.get_for_cas(movie).await?;
    Ok(item.map_or(Ok(0), |item| String::from_utf8_lossy(&item.value).trim().parse())?)
}

async fn count_all(cache: &Client, movie: &'static str) -> Result<(u64, u64)> {
    let likes = cache.namespace("likes").ttl(Duration::from_secs(86_400));
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let likes = likes.clone();
        tasks.spawn(async move {
            let (mut sure, mut perhaps) = (0, 0);
            for one in 0..LIKES {
                // Every tenth caller of half the tasks is far too impatient, as one is whose own deadline is near.
                let hasty = task % 2 == 0 && one % 10 == 9;
                let patience = if hasty { Duration::from_micros(50) } else { PATIENCE };
                match like(&likes, movie, patience).await? {
                    Counted::Yes => sure += 1,
                    Counted::Perhaps => perhaps += 1,
                }
            }
            anyhow::Ok((sure, perhaps))
        });
    }
    let mut totals = (0, 0);
    while let Some(done) = tasks.join_next().await {
        let (sure, perhaps) = done??;
        totals = (totals.0 + sure, totals.1 + perhaps);
    }
    Ok(totals)
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut cluster = Cluster::start().await?;
    let likes = cluster.cache.namespace("likes");
    likes.delete("42").await?;

    let (sure, perhaps) = count_all(&cluster.cache, "42").await?;
    let counted = number(&likes, "42").await?;
    println!("{sure} likes counted for sure, {perhaps} perhaps: the number is {counted}");
    ensure!((sure..=sure + perhaps).contains(&counted), "none lost, none twice");
    ensure!(sure + perhaps == TASKS * LIKES);

    // Another zone becomes the home of what this one was home of, and counts on from what it was given: all that is
    // sure. What is not may have been counted in the dead zone alone, and is gone with it.
    if cluster.kill(|zone, _| zone == "a").await {
        let last = like(&likes, "42", PATIENCE).await?;
        let went_on = number(&likes, "42").await?;
        println!("with a zone dead: one more, counted: {last:?}; the number is {went_on}");
        let least = sure + u64::from(last == Counted::Yes);
        ensure!((least..=sure + perhaps + 1).contains(&went_on), "none that is sure is lost");
    }

    let payments = cluster.cache.namespace("payment").ttl(Duration::from_secs(86_400));
    payments.delete("order-7").await?;
    let both = [pay_once(&payments, "order-7", "w1").await?, pay_once(&payments, "order-7", "w2").await?];
    println!("of two workers, those that may pay: {both:?}");
    ensure!(both == [true, false], "exactly one may");
    // Closing gives the zone that missed writes a last chance, for as long as a write may take.
    println!("{} writes are left for the zone that is away", cluster.cache.close().await);
    Ok(())
}
