//! The cluster, through the smart client, as a service would use it.

use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use evanesce_client::Client;

use super::{Cache, Stored};

/// A client in one zone, with the client's own defaults for everything but the TTL.
pub(crate) struct Smart {
    client: Client,
}

impl Smart {
    /// Finds the cluster.
    ///
    /// # Errors
    /// When no discovery knows it in time.
    pub(crate) async fn connect(
        discoveries: &[String],
        cluster: &str,
        zone: &str,
        ttl: Duration,
    ) -> anyhow::Result<Smart> {
        let builder = Client::builder(cluster).discovery(discoveries.iter().cloned()).zone(zone).ttl(ttl);
        let client = builder.connect().await.with_context(|| format!("cannot find cluster {cluster}"))?;
        Ok(Smart { client })
    }
}

impl Cache for Smart {
    async fn get(&self, key: &[u8]) -> anyhow::Result<Option<Bytes>> {
        Ok(self.client.get(key).await?)
    }

    async fn set(&self, key: &[u8], value: &Bytes) -> anyhow::Result<Stored> {
        let written = self.client.set(key, value.clone()).await?;
        Ok(if written.failed == 0 { Stored::Full } else { Stored::Partial })
    }
}
