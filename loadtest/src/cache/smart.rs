//! The cluster, through the smart client, as a service would use it.

use std::path::Path;

use anyhow::Context;
use bytes::Bytes;
use evanesce_client::{Client, Credentials, TlsOptions};

use super::{Cache, Stored};
use crate::args::Replay;

/// A client in one zone, with the client's own defaults for everything but the TTL.
pub(crate) struct Smart {
    client: Client,
}

impl Smart {
    /// Finds the cluster.
    ///
    /// # Errors
    /// When no discovery knows it in time, or a file cannot be used.
    pub(crate) async fn connect(options: &Replay, zone: &str) -> anyhow::Result<Smart> {
        let Replay { cluster, discovery, ttl, .. } = options;
        let mut builder = Client::builder(cluster).discovery(discovery.iter().cloned()).zone(zone).ttl(*ttl);
        if let Some(tls) = tls(options)? {
            builder = builder.tls(tls);
        }
        if let Some(credentials) = credentials(options)? {
            builder = builder.credentials(credentials);
        }
        let client = builder.connect().await.with_context(|| format!("cannot find cluster {cluster}"))?;
        Ok(Smart { client })
    }
}

fn tls(options: &Replay) -> anyhow::Result<Option<TlsOptions>> {
    let Some(path) = &options.tls_ca else { return Ok(None) };
    let tls = TlsOptions::new().root_pem(&read(path)?).with_context(|| path.display().to_string())?;
    Ok(Some(match &options.tls_server_name {
        Some(name) => tls.server_name(name).context("--tls-server-name")?,
        None => tls,
    }))
}

fn credentials(options: &Replay) -> anyhow::Result<Option<Credentials>> {
    let Some((user, path)) = options.user.as_ref().zip(options.password_file.as_ref()) else {
        return Ok(None);
    };
    let text = String::from_utf8(read(path)?).with_context(|| path.display().to_string())?;
    let password = text.trim_end_matches(['\r', '\n']);
    Ok(Some(Credentials::new(user, password).with_context(|| format!("user {user}"))?))
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
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
