//! A session with Cassandra, its statements prepared.

use std::sync::Arc;

use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::errors::PrepareError;
use scylla::policies::load_balancing::DefaultPolicy;
use scylla::statement::prepared::PreparedStatement;

use super::Settings;
use crate::store::StoreError;
use crate::stores::link::SILENCE;

/// A session with its statements.
pub(super) struct Prepared {
    pub(super) session: Session,
    pub(super) load: PreparedStatement,
    pub(super) put: PreparedStatement,
    pub(super) delete: PreparedStatement,
}

impl Settings {
    pub(super) async fn connect(self) -> Result<Arc<Prepared>, StoreError> {
        let Settings { nodes, user, password, datacenter, keyspace, .. } = &self;
        let mut policy = DefaultPolicy::builder();
        if let Some(datacenter) = datacenter {
            policy = policy.prefer_datacenter(datacenter.clone());
        }
        // Deadlines are ours.
        let profile =
            ExecutionProfile::builder().request_timeout(None).load_balancing_policy(policy.build()).build();
        let mut builder = SessionBuilder::new()
            .known_nodes(nodes)
            .connection_timeout(SILENCE / 2)
            .keepalive_interval(SILENCE / 2)
            .keepalive_timeout(SILENCE)
            .keyspaces_to_fetch([keyspace])
            .default_execution_profile_handle(profile.into_handle());
        if let (Some(user), Some(password)) = (user, password) {
            builder = builder.user(user, password.reveal().await?);
        }
        let session = builder.build().await.map_err(|error| self.session_error(&error))?;
        if self.create {
            for statement in self.schema() {
                session.query_unpaged(statement, ()).await.map_err(|error| self.error(&error))?;
            }
        }
        self.prepare(session).await.map_err(|error| match error {
            PrepareError::AllAttemptsFailed { first_attempt } => self.attempt_error(&first_attempt),
            error => self.unreachable(&error),
        })
    }

    /// What makes keyspace and table.
    pub(super) fn schema(&self) -> [String; 2] {
        let Settings { keyspace, table, datacenter, replicas, .. } = self;
        let replicas = replicas.unwrap_or(3);
        let replication = match datacenter {
            Some(datacenter) => format!("{{'class': 'NetworkTopologyStrategy', '{datacenter}': {replicas}}}"),
            None => format!("{{'class': 'SimpleStrategy', 'replication_factor': {replicas}}}"),
        };
        [
            format!("CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = {replication}"),
            format!(
                "CREATE TABLE IF NOT EXISTS {keyspace}.{table} \
                 (key blob PRIMARY KEY, value blob, flags bigint, expires_at bigint)"
            ),
        ]
    }

    async fn prepare(&self, session: Session) -> Result<Arc<Prepared>, PrepareError> {
        let Settings { keyspace, table, read_consistency, write_consistency, .. } = self;
        let table = format!("{keyspace}.{table}");
        let load = format!("SELECT value, flags, expires_at, WRITETIME(value) FROM {table} WHERE key = ?");
        let put = format!(
            "INSERT INTO {table} (key, value, flags, expires_at) VALUES (?, ?, ?, ?) USING TIMESTAMP ? AND TTL ?"
        );
        let delete = format!("DELETE FROM {table} USING TIMESTAMP ? WHERE key = ?");
        let mut prepared =
            [session.prepare(load).await?, session.prepare(put).await?, session.prepare(delete).await?];
        for (statement, level) in
            prepared.iter_mut().zip([read_consistency, write_consistency, write_consistency])
        {
            statement.set_consistency((*level).into());
            statement.set_is_idempotent(true);
        }
        let [load, put, delete] = prepared;
        Ok(Arc::new(Prepared { session, load, put, delete }))
    }
}
