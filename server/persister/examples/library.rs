//! The tier in a program of one's own, around a client and without a gateway:
//!
//! ```text
//! cargo run -p evanesce-persister --example library
//! ```
//!
//! It starts a node in its own process; a program has a cluster, and gives the client's builder its discoveries.

use std::time::Duration;

use evanesce_client::{Client, StaticNodes, Ttl};
use evanesce_node::{Node, NodeConfig};
use evanesce_persister::{Config, Persister};
use tokio::time::Instant;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let node = Node::start(NodeConfig::default()).await?;
    let nodes: StaticNodes = format!("a=n1/{}", node.memcached_addr()).parse()?;
    let client = Client::builder("HOME").nodes(nodes).zone("a").connect().await?;

    let directory = tempfile::tempdir()?;
    let config = format!(
        "[stores.main]\nkind = 'embedded'\npath = '{}'\n[namespaces.user]\nstore = 'main'\nmode = 'write-through'\n",
        directory.path().display()
    );
    let persister = Persister::start(client.clone(), Config::parse(&config)?).await?;

    // Keys have their namespace before them, values and flags are as they are.
    let users = persister.tier_of(b"user:42").ok_or("the namespace is configured")?;
    users.set(b"user:42", "Ada".into(), 0, Ttl::Never).await?;
    users.set(b"user:43", "Grace".into(), 0, Ttl::Never).await?;

    // As if the cluster had been emptied: what is not there is loaded, by one call.
    client.raw().flush_all().run().await?;
    let keys = ["user:42", "user:43", "user:44"];
    for (key, found) in keys.iter().zip(users.get_many(&keys).await?) {
        println!("{key}: {:?}", found?.map(|item| item.value));
    }
    println!("from the cluster now: {:?}", client.namespace("user").get("42").await?);

    let waiting = persister.close(Instant::now() + Duration::from_secs(5)).await;
    println!("{waiting} writes wait");
    client.close().await;
    node.drain(Duration::from_secs(5)).await;
    Ok(())
}
