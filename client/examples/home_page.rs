//! How is a page assembled from several namespaces in one go, and what if parts of it are missing?
//!
//! A miss and a failure are answered differently: what was missed is computed and written back, what failed is left
//! out. Computing what failed would move a cache's whole load to the services behind it at the worst moment.
//!
//! ```text
//! cargo run -p evanesce-client --example home_page
//! ```

mod cluster;

use std::time::Duration;

use anyhow::{Result, ensure};
use evanesce_client::{Client, LatchPolicy, Typed};
use serde::{Deserialize, Serialize};

use cluster::Cluster;

const ROWS: [&str; 8] =
    ["continue", "top-ten", "new", "drama", "comedy", "crime", "documentaries", "because-you-watched"];

#[derive(Debug, Serialize, Deserialize)]
struct Profile {
    name: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Row {
    movies: Vec<u32>,
}

/// The namespaces that a page needs. Cheap to clone, so make it once and keep it.
struct HomePages {
    cache: Client,
    profiles: Typed<Profile>,
    rows: Typed<Row>,
}

/// What is shown, and how it came about.
#[derive(Debug)]
struct Page {
    greeting: String,
    rows: Vec<Row>,
    /// Parts that were not in the cache, and had to be computed.
    computed: usize,
    /// Parts that no zone could answer for. The page goes without them.
    left_out: usize,
}

impl HomePages {
    fn new(cache: &Client) -> Self {
        Self {
            cache: cache.clone(),
            profiles: cache.namespace("profile").ttl(Duration::from_secs(3600)).typed(),
            rows: cache.namespace("row").ttl(Duration::from_secs(600)).typed(),
        }
    }

    async fn assemble(&self, user: &str) -> Result<Page> {
        let row_keys = ROWS.map(|row| format!("{user}:{row}"));
        // What goes to the same node travels together, whatever namespace it is in: the page takes one round trip to
        // its slowest node. Only a wrong key or a closed client is an error here.
        let mut batch = self.cache.batch();
        let profiles = batch.add(self.profiles.get_many([user]));
        let rows = batch.add(self.rows.get_many(&row_keys));
        let mut answers = batch.await;
        let (profiles, rows) = (answers.take(profiles)?, answers.take(rows)?);

        let mut page = Page { greeting: "Hello".to_owned(), rows: Vec::new(), computed: 0, left_out: 0 };
        if let Some(profile) = profiles.get(user) {
            page.greeting = format!("Hello {}", profile.name);
        } else if profiles.is_complete() {
            let profile = Profile { name: "Ada".to_owned() }; // from the account service
            page.greeting = format!("Hello {}", profile.name);
            self.profiles.set(user, &profile).latch(LatchPolicy::All).await?;
            page.computed += 1;
        } else {
            page.left_out += 1;
        }

        page.left_out += rows.failed.len();
        page.computed += rows.misses.len();
        let computed: Vec<_> = rows.misses.iter().map(|key| (key, compute_row(key))).collect();
        // The default latch is right for a page. `All` is here since this program kills a zone a moment later.
        let written =
            self.rows.set_many(computed.iter().map(|(key, row)| (key, row))).latch(LatchPolicy::All);
        // A cache that cannot be written is no reason to show no page.
        if let Some((key, error)) = written.await?.failed.first() {
            eprintln!("row {key:?} was not kept: {error}");
        }
        page.rows = rows.hits.into_iter().map(|(_, row)| row).collect();
        page.rows.extend(computed.into_iter().map(|(_, row)| row));
        Ok(page)
    }
}

/// Stands for the service that knows what a user likes.
fn compute_row(key: &[u8]) -> Row {
    Row { movies: key.iter().map(|byte| u32::from(*byte)).collect() }
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut cluster = Cluster::start().await?;
    let pages = HomePages::new(&cluster.cache);
    let user = "ada";
    pages.profiles.delete(user).await?;
    pages.rows.delete_many(ROWS.map(|row| format!("{user}:{row}"))).await?;

    let show = async |when: &str| -> Result<Page> {
        let page = pages.assemble(user).await?;
        let (rows, movies) = (page.rows.len(), page.rows.iter().map(|row| row.movies.len()).sum::<usize>());
        println!(
            "{when}: {:?}, {rows} rows of {movies} movies; {} parts computed, {} left out",
            page.greeting, page.computed, page.left_out
        );
        Ok(page)
    };
    let cold = show("cold cache").await?;
    ensure!((cold.rows.len(), cold.computed, cold.left_out) == (ROWS.len(), ROWS.len() + 1, 0));
    let warm = show("warm cache").await?;
    ensure!((warm.rows.len(), warm.computed, warm.left_out) == (ROWS.len(), 0, 0));

    if cluster.kill(|zone, _| zone == "a").await {
        let page = show("local zone dead").await?;
        ensure!((page.rows.len(), page.computed, page.left_out) == (ROWS.len(), 0, 0), "others answer");
    }
    if cluster.kill(|_, name| name == "n2").await {
        let page = show("half of all nodes dead in every zone").await?;
        ensure!(page.computed == 0 && page.left_out > 0 && page.rows.len() < ROWS.len(), "a partial page");
    }
    cluster.cache.close().await;
    Ok(())
}
