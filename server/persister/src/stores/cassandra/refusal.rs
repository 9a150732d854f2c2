//! What Cassandra refuses, and why: whose fault it is, and what the operator does about it.

use scylla::errors::{
    ConnectionError, ConnectionPoolError, ConnectionSetupRequestErrorKind, DbError, ExecutionError,
    MetadataError, NewSessionError, PrepareError, RequestAttemptError,
};

use super::Settings;
use crate::store::{ErrorKind, StoreError};

impl Settings {
    pub(super) fn unreachable(&self, error: &dyn std::error::Error) -> StoreError {
        let told = error.to_string().replace(['\r', '\n'], " ");
        let nodes = self.nodes.join(", ");
        StoreError::transient(format!("cassandra at {nodes} cannot be reached: {told}; is it running?"))
    }

    pub(super) fn session_error(&self, error: &NewSessionError) -> StoreError {
        if let NewSessionError::MetadataError(MetadataError::ConnectionPoolError(
            ConnectionPoolError::Broken {
                last_connection_error: ConnectionError::ConnectionSetupRequestError(error),
            },
        )) = error
            && let ConnectionSetupRequestErrorKind::DbError(error, told) = error.get_error()
        {
            return self.db_error(error, told);
        }
        self.unreachable(error)
    }

    pub(super) fn error(&self, error: &ExecutionError) -> StoreError {
        match error {
            ExecutionError::LastAttemptError(error) => self.attempt_error(error),
            ExecutionError::PrepareError(PrepareError::AllAttemptsFailed { first_attempt }) => {
                self.attempt_error(first_attempt)
            }
            ExecutionError::BadQuery(error) => {
                StoreError::permanent(format!("the driver refuses it: {error}"))
            }
            error => self.unreachable(error),
        }
    }

    pub(super) fn attempt_error(&self, error: &RequestAttemptError) -> StoreError {
        match error {
            RequestAttemptError::DbError(error, told) => self.db_error(error, told),
            error => self.unreachable(error),
        }
    }

    fn db_error(&self, error: &DbError, told: &str) -> StoreError {
        let Settings { nodes, keyspace, table, user, .. } = self;
        let (told, nodes) = (told.replace(['\r', '\n'], " "), nodes.join(", "));
        let [_, create] = self.schema();
        match error {
            DbError::AuthenticationError | DbError::Unauthorized => {
                let user = user.as_deref().unwrap_or("without a name");
                let message = format!(
                    "cassandra at {nodes} refuses user {user}: {told}; check `user` and `password`, or grant it {keyspace}.{table}"
                );
                StoreError::new(ErrorKind::Credentials, message)
            }
            DbError::Invalid if told.contains("does not exist") || told.contains("unconfigured table") => {
                StoreError::permanent(format!(
                    "cassandra at {nodes} has no table {keyspace}.{table}; set `create = true` and `replicas`, or run: {create}"
                ))
            }
            DbError::Invalid if told.contains("column") => StoreError::permanent(format!(
                "{keyspace}.{table} at {nodes} is another table: {told}; it must be as: {create}"
            )),
            DbError::Overloaded | DbError::RateLimitReached { .. } => StoreError::new(
                ErrorKind::Overload,
                format!("cassandra at {nodes} has too much to do: {told}"),
            ),
            DbError::Unavailable { .. }
            | DbError::IsBootstrapping
            | DbError::ReadTimeout { .. }
            | DbError::WriteTimeout { .. }
            | DbError::ReadFailure { .. }
            | DbError::WriteFailure { .. }
            | DbError::TruncateError
            | DbError::Unprepared { .. }
            | DbError::ServerError => {
                StoreError::transient(format!("cassandra at {nodes} could not do it now: {error} {told}"))
            }
            _ => StoreError::permanent(format!("cassandra at {nodes} refuses it: {told}")),
        }
    }
}
