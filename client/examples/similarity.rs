//! How does a batch job publish what it computed, and how is that served online?
//!
//! A nightly job computes for each movie those most alike, and writes all of them; a service reads one for a movie's
//! page, and many for a row of recommendations.
//!
//! ```text
//! cargo run -p evanesce-client --example similarity
//! ```

mod cluster;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use evanesce_client::{LatchPolicy, Typed};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use cluster::Cluster;

const MOVIES: u32 = 1000;
const TRAITS: usize = 8;

/// Written together. The client keeps only some of them under way at a time, so that others get through; this bounds what
/// the job encodes ahead.
const PART: usize = 250;

/// A part of a cluster that does not take writes for so many rounds is ill: better fail than run into the morning.
const ROUNDS_MAX: usize = 3;

/// Until every zone that is there has what was written: milliseconds, but on a machine that is busy with a build.
const SPREAD_MAX: Duration = Duration::from_secs(15);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Similar {
    movie: u32,
    score: f32,
}

/// Writes the whole table, and again what did not meet its latch: a set may be repeated.
async fn publish(similar: &Typed<Vec<Similar>>, table: &BTreeMap<String, Vec<Similar>>) -> Result<()> {
    let mut left: Vec<&str> = table.keys().map(String::as_str).collect();
    for round in 1..=ROUNDS_MAX {
        let (mut failed, mut superseded) = (Vec::new(), 0);
        for part in left.chunks(PART) {
            let outcome = similar.set_many(part.iter().map(|key| (key, &table[*key]))).await?;
            // Another run wrote later: its value stays, in every zone, whichever write arrived last.
            superseded += outcome.written.iter().filter(|(_, written)| written.is_superseded()).count();
            failed.extend(outcome.failed);
        }
        println!(
            "round {round}: {} written, {superseded} superseded, {} failed",
            left.len() - failed.len(),
            failed.len()
        );
        let Some((key, error)) = failed.first() else { return Ok(()) };
        if !error.may_retry() {
            bail!("movie {key:?}: {error}");
        }
        left.retain(|wanted| failed.iter().any(|(key, _)| key == wanted.as_bytes()));
    }
    bail!("{} movies could not be published", left.len())
}

/// Each movie's traits, as a model might have learnt them.
fn traits(movie: u32) -> [f32; TRAITS] {
    std::array::from_fn(|at| ((movie as f32 + 1.0) * (at as f32 + 1.0) * 0.618).fract() - 0.5)
}

/// The ten most alike.
fn most_alike(movie: u32) -> Vec<Similar> {
    let own = traits(movie);
    let score = |other: u32| own.iter().zip(traits(other)).map(|(a, b)| a * b).sum::<f32>();
    let others = (0..MOVIES).filter(|other| *other != movie);
    let mut alike: Vec<_> = others.map(|other| Similar { movie: other, score: score(other) }).collect();
    alike.sort_by(|a, b| b.score.total_cmp(&a.score));
    alike.truncate(10);
    alike
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut cluster = Cluster::start().await?;
    // The name has the model's version: a new model publishes beside the old one, readers change over when it is whole,
    // and back if it was no good. Two days, so that a night without a run is survived. Nothing computes these anew on a
    // miss, so more than one zone shall have each.
    let similar = cluster.cache.namespace("similar-v7").ttl(Duration::from_secs(2 * 86_400));
    let similar: Typed<Vec<Similar>> = similar.latch(LatchPolicy::Quorum).typed();

    // The batch job.
    let table: BTreeMap<_, _> = (0..MOVIES).map(|movie| (movie.to_string(), most_alike(movie))).collect();
    let begun = Instant::now();
    publish(&similar, &table).await?;
    println!("published {} movies in {:?}", table.len(), begun.elapsed());

    // Online: one movie's page.
    let alike = similar.get("42").await?.context("42 was published")?;
    ensure!(Some(&alike) == table.get("42"), "what is read is what was written");
    println!("like 42: {:?}", alike.iter().map(|similar| similar.movie).collect::<Vec<_>>());

    // Online: what is like the movies that a user has seen, one of which is new since the job ran.
    let seen = ["7", "42", "99", "100000"];
    let found = similar.get_many(seen).await?;
    println!(
        "{} seen: {} known, {} too new, {} unanswered",
        seen.len(),
        found.hits.len(),
        found.misses.len(),
        found.failed.len()
    );
    ensure!((found.hits.len(), found.misses.len()) == (3, 1));

    // A zone is lost: what was published is served from the others, all of it.
    if cluster.kill(|zone, _| zone == "a").await {
        // Of a quorum of two the lost zone may be one: what only one more has the last is still being given.
        let (least, lost) = (table.len() * 99 / 100, Instant::now());
        let mut all = similar.get_many(table.keys()).await?;
        while all.hits.len() < least && lost.elapsed() < SPREAD_MAX {
            sleep(Duration::from_millis(10)).await;
            all = similar.get_many(table.keys()).await?;
        }
        ensure!(all.is_complete() && all.hits.len() >= least, "{} hits", all.hits.len());
        println!("without the local zone: {} of {} movies", all.hits.len(), table.len());
    }
    cluster.cache.close().await;
    Ok(())
}
