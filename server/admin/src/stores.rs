//! What a role with backing stores shows of them.

use std::pin::Pin;

use evanesce_grpc::admin::v1;

/// An answer that a store may take its time for.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoresRefusal>> + Send + 'a>>;

/// The backing stores behind a process, and the writes that wait for them.
pub trait Stores: Send + Sync {
    /// What a store has of a key.
    fn get(&self, request: v1::GetStoredRequest) -> Answer<'_, v1::GetStoredResponse>;

    /// Changes what a store has of a key.
    fn change(&self, request: v1::ChangeStoredRequest) -> Answer<'_, v1::ChangeStoredResponse>;

    /// Writes that a store does not take.
    ///
    /// # Errors
    ///
    /// A [`StoresRefusal`].
    fn dead_letters(
        &self,
        request: &v1::ListDeadLettersRequest,
    ) -> Result<v1::ListDeadLettersResponse, StoresRefusal>;

    /// Sends them again, or gives them up.
    fn settle(&self, request: v1::SettleDeadLettersRequest) -> Answer<'_, v1::SettleDeadLettersResponse>;
}

/// Why a question about stores has no answer, in a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoresRefusal {
    /// There is none of that name.
    #[error("{0}")]
    Unknown(String),
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The store did not answer, or not well.
    #[error("{0}")]
    Failed(String),
}
