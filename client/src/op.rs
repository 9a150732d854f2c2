//! Operations: each a builder that is awaited. Nothing happens before.

mod arithmetic;
mod batch;
mod compare_and_set;
mod delete;
mod flush;
mod get;
mod get_and_touch;
mod get_at_home;
mod get_for_cas;
mod get_many;
mod get_or_load;
mod get_or_load_many;
mod load_options;
mod options;
mod set;
mod store;
mod touch;
mod write_many;

use std::future::Future;
use std::pin::Pin;

pub use arithmetic::Arithmetic;
pub use batch::{Answers, Batch, BatchHandle, BatchOperation, GetHandle, GetManyHandle, WriteHandle};
pub use compare_and_set::CompareAndSet;
pub use delete::Delete;
pub use flush::Flush;
pub use get::Get;
pub use get_and_touch::GetAndTouch;
pub use get_at_home::{GetAtHome, HomeItem};
pub use get_for_cas::GetForCas;
pub use get_many::GetMany;
pub use get_or_load::GetOrLoad;
pub use get_or_load_many::GetOrLoadMany;
pub use set::Set;
pub use store::Store;
pub use touch::Touch;
pub use write_many::WriteMany;

pub(crate) use options::ReadOptions;

/// What awaiting an operation makes. Each operation also has `run`, the same without the box.
pub type OpFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
