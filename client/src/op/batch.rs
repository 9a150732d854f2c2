//! Operations of several namespaces in one go.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, join};
use futures_util::stream::{self, StreamExt};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::options::Limit;
use super::{
    Arithmetic, CompareAndSet, Delete, Get, GetAndTouch, GetForCas, GetMany, GetOrLoad, GetOrLoadMany,
    OpFuture, ReadOptions, Set, Store, Touch, WriteMany,
};
use crate::core::{Core, TIMEOUT_MAX};
use crate::error::{LoadError, ReadError, WriteError};
use crate::item::{self, Item};
use crate::key::{Key, KeyError};
use crate::namespace::Namespace;
use crate::near::{self, Asked};
use crate::observe::{HasOutcome, OperationOutcome, Watch};
use crate::outcome::{
    self, ArithmeticOutcome, CompareAndSetOutcome, Deleted, StoreOutcome, Touched, Written,
};
use crate::read::ReadPlan;
use crate::read_many::Terms;
use crate::request::Want;
use crate::view::View;

/// Writes of one batch under way at once: as many as [`WriteMany`] has keys, and for the same reason.
const WRITES_IN_FLIGHT: usize = 256;

/// Operations of any namespaces of a client that travel together: all reads for a node go in one write, and their
/// answers come back in one round trip, whatever namespaces the keys are in.
///
/// ```no_run
/// # use evanesce_client::{Client, Typed};
/// # async fn example(cache: &Client, users: &Typed<String>, rows: &Typed<Vec<u32>>) -> Result<(), Box<dyn std::error::Error>> {
/// let mut batch = cache.batch();
/// let user = batch.add(users.get("ada"));
/// let shown = batch.add(rows.get_many(["ada:new", "ada:drama"]));
/// let seen = batch.add(users.set("last", &"ada".to_owned()));
/// let mut answers = batch.await;
/// let user: Option<String> = answers.take(user)?;
/// let shown = answers.take(shown)?; // hits, misses, failed
/// answers.take(seen)?;
/// # _ = (user, shown);
/// # Ok(())
/// # }
/// ```
///
/// Each operation is answered as it would be alone, by the handle that it was exchanged for: nothing that goes wrong with one
/// is another's error. Reads are sent before writes, and nothing else is said of their order: do not read in a batch what
/// it writes. Each has the time and the options that it was given. The batch ends when all have: a read that travels to a
/// node with others is waited for as long as they are, and asked nowhere else after its own time.
#[must_use = "a batch does nothing until it is awaited"]
pub struct Batch<'a> {
    core: Arc<Core>,
    id: Arc<()>,
    keys: Vec<Key>,
    /// How each is read, and until when.
    asked: Vec<(Asked, Limit)>,
    want: Want,
    timeout: Option<Duration>,
    deadline: Option<Instant>,
    writes: Vec<BoxFuture<'a, ()>>,
}

/// What came of a batch, by handle.
pub struct Answers {
    id: Arc<()>,
    keys: Vec<Key>,
    found: Vec<Result<Option<Item>, ReadError>>,
}

/// An operation that can be part of a [`Batch`]. Sealed.
///
/// Those of [`Get`] and [`GetMany`] travel together, one request for each node and up to 64 keys. All others run beside them
/// as they would alone, each with requests of its own: writes of one key and of many, and the reads that may load
/// or write, [`GetOrLoad`], [`GetOrLoadMany`], [`GetAndTouch`] and [`GetForCas`]. Of these 256 are under way at once.
/// `get_at_home` and flushes are no part of a batch.
pub trait BatchOperation<'a>: sealed::Sealed {
    /// What its answer is taken with.
    type Handle: BatchHandle;

    /// Adds it.
    #[doc(hidden)]
    fn add_to(self, batch: &mut Batch<'a>) -> Self::Handle;
}

/// What the answer to an operation of a [`Batch`] is taken with. Sealed.
pub trait BatchHandle: sealed::Sealed {
    /// What the operation answers alone.
    type Answer;

    /// Takes it.
    #[doc(hidden)]
    fn take_from(self, answers: &mut Answers) -> Self::Answer;
}

mod sealed {
    pub trait Sealed {}
}

/// For the answer of a [`Get`].
#[derive(Debug)]
#[must_use = "the answer is lost with it"]
pub struct GetHandle<V> {
    batch: Arc<()>,
    place: Result<usize, KeyError>,
    view: V,
}

/// For the answer of a [`GetMany`].
#[derive(Debug)]
#[must_use = "the answer is lost with it"]
pub struct GetManyHandle<V> {
    batch: Arc<()>,
    places: Result<Range<usize>, KeyError>,
    view: V,
}

/// For the outcome of a write, or of a read that runs beside others. One of which nobody asks is executed all the same.
#[derive(Debug)]
pub struct WriteHandle<T, E = WriteError> {
    batch: Arc<()>,
    /// Lock order: alone.
    outcome: Arc<Mutex<Option<Result<T, E>>>>,
}

impl<'a> Batch<'a> {
    pub(crate) fn new(core: &Arc<Core>) -> Self {
        Self {
            core: Arc::clone(core),
            id: Arc::default(),
            keys: Vec::new(),
            asked: Vec::new(),
            want: Want::Flags,
            timeout: None,
            deadline: None,
            writes: Vec::new(),
        }
    }

    /// Adds an operation with its own options, and gives what its answer is taken with.
    pub fn add<O: BatchOperation<'a>>(&mut self, operation: O) -> O::Handle {
        operation.add_to(self)
    }

    /// How long each read of keys may take, whatever timeout it was given. Default what it was given, 50 ms unless told
    /// otherwise. What runs beside them (see [`BatchOperation`]) has its own.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// When all reads of keys end at the latest, whatever their timeout. Default none. What runs beside them has its own.
    pub fn deadline(mut self, deadline: impl Into<Instant>) -> Self {
        self.deadline = Some(deadline.into());
        self
    }

    /// Runs it; awaiting the batch does the same. What goes wrong is told with the answers.
    pub async fn run(self) -> Answers {
        match Watch::begin_batch(&self.core, self.keys.len()) {
            None => self.execute().await,
            Some(watch) => watch.over(self.execute()).await,
        }
    }

    async fn execute(self) -> Answers {
        let Self { core, id, keys, asked, want, timeout, deadline, writes } = self;
        let now = Instant::now();
        let end = |(asked, own): (Asked, Limit)| {
            let limit = Limit { timeout: timeout.unwrap_or(own.timeout), deadline };
            let timeout = limit.left(now).min(Limit { timeout: TIMEOUT_MAX, ..own }.left(now));
            Asked { terms: Terms { timeout, ..asked.terms }, ..asked }
        };
        let asked: Vec<Asked> = asked.into_iter().map(end).collect();
        let longest = asked.iter().map(|asked| asked.terms.timeout).max().unwrap_or_default();
        let plan = ReadPlan::new(&core, want, longest);
        let writes = stream::iter(writes).buffer_unordered(WRITES_IN_FLIGHT).collect::<()>();
        let (found, ()) = join(read_all(&core, &keys, &asked, &plan), writes).await;
        Answers { id, keys, found }
    }

    /// Adds keys of one namespace; where they are.
    fn read(
        &mut self,
        namespace: &Namespace,
        keys: impl IntoIterator<Item = Key>,
        (want, options): (Want, ReadOptions),
    ) -> Result<Range<usize>, KeyError> {
        if !Arc::ptr_eq(&self.core, &namespace.core) {
            return Err(KeyError::OtherClient);
        }
        let first = self.keys.len();
        self.keys.extend(keys);
        let ReadOptions { limit, near, falls_back, lane: _ } = options;
        let terms = Terms { timeout: limit.timeout, falls_back };
        self.asked.resize(self.keys.len(), (Asked { form: namespace.form(), near, terms }, limit));
        if want == Want::Item {
            self.want = want;
        }
        Ok(first..self.keys.len())
    }

    fn run_beside<T: Send + 'a, E: Send + 'a>(
        &mut self,
        operation: impl Future<Output = Result<T, E>> + Send + 'a,
    ) -> WriteHandle<T, E> {
        let handle = WriteHandle { batch: Arc::clone(&self.id), outcome: Arc::default() };
        let outcome = Arc::clone(&handle.outcome);
        self.writes.push(Box::pin(async move {
            let ended = operation.await;
            *outcome.lock() = Some(ended);
        }));
        handle
    }
}

/// Reads all keys; the answers are in their order.
async fn read_all(
    core: &Core,
    keys: &[Key],
    asked: &[Asked],
    plan: &ReadPlan,
) -> Vec<Result<Option<Item>, ReadError>> {
    if keys.is_empty() {
        return Vec::new();
    }
    let Some(cluster) = core.cluster() else { return keys.iter().map(|_| Err(ReadError::Closed)).collect() };
    near::get_many(core, &cluster, |at| asked[at], keys, plan, near::as_it_is).await
}

impl Answers {
    /// The answer to one operation: what it would have answered alone.
    ///
    /// A handle of another batch has the error [`KeyError::OtherBatch`].
    pub fn take<H: BatchHandle>(&mut self, handle: H) -> H::Answer {
        handle.take_from(self)
    }

    fn check(&self, batch: &Arc<()>) -> Result<(), KeyError> {
        if Arc::ptr_eq(&self.id, batch) { Ok(()) } else { Err(KeyError::OtherBatch) }
    }

    /// A handle is taken once, and nobody else has its place.
    fn take_place(&mut self, at: usize) -> Result<Option<Item>, ReadError> {
        std::mem::replace(&mut self.found[at], Ok(None))
    }
}

impl HasOutcome for Answers {
    fn outcome(&self) -> OperationOutcome {
        self.found.outcome()
    }
}

impl<V: View> sealed::Sealed for Get<'_, V> {}

impl<'a, V: View + 'a> BatchOperation<'a> for Get<'a, V> {
    type Handle = GetHandle<V>;

    fn add_to(self, batch: &mut Batch<'a>) -> GetHandle<V> {
        let (namespace, key, view, options) = self.into_parts();
        let place = key.and_then(|key| batch.read(namespace, [key], (V::WANT, options)));
        GetHandle { batch: Arc::clone(&batch.id), place: place.map(|places| places.start), view }
    }
}

impl<V> sealed::Sealed for GetHandle<V> {}

impl<V: View> BatchHandle for GetHandle<V> {
    type Answer = Result<Option<V::Output>, ReadError>;

    fn take_from(self, answers: &mut Answers) -> Self::Answer {
        answers.check(&self.batch)?;
        match answers.take_place(self.place?)? {
            Some(item) => Ok(self.view.show_present(item)?),
            None => Ok(None),
        }
    }
}

impl<V: View> sealed::Sealed for GetMany<'_, V> {}

impl<'a, V: View + 'a> BatchOperation<'a> for GetMany<'a, V> {
    type Handle = GetManyHandle<V>;

    fn add_to(self, batch: &mut Batch<'a>) -> GetManyHandle<V> {
        let (namespace, keys, view, options) = self.into_parts();
        let places = keys.and_then(|keys| batch.read(namespace, keys, (V::WANT, options)));
        GetManyHandle { batch: Arc::clone(&batch.id), places, view }
    }
}

impl<V> sealed::Sealed for GetManyHandle<V> {}

impl<V: View> BatchHandle for GetManyHandle<V> {
    type Answer = Result<item::GetMany<V::Output>, ReadError>;

    fn take_from(self, answers: &mut Answers) -> Self::Answer {
        answers.check(&self.batch)?;
        let mut result = item::GetMany::default();
        for at in self.places? {
            let found = answers.take_place(at);
            result.sort_in(&self.view, &answers.keys[at], found);
        }
        Ok(result)
    }
}

impl<T, E> sealed::Sealed for WriteHandle<T, E> {}

impl<T, E: From<KeyError>> BatchHandle for WriteHandle<T, E> {
    type Answer = Result<T, E>;

    fn take_from(self, answers: &mut Answers) -> Self::Answer {
        answers.check(&self.batch)?;
        self.outcome.lock().take().expect("the batch has run to its end, and the handle is taken once")
    }
}

/// Writes run as they do alone, beside each other.
macro_rules! writes {
    ($($operation:ident => $outcome:ty),+ $(,)?) => {$(
        impl sealed::Sealed for $operation<'_> {}

        impl<'a> BatchOperation<'a> for $operation<'a> {
            type Handle = WriteHandle<$outcome>;

            fn add_to(self, batch: &mut Batch<'a>) -> Self::Handle {
                batch.run_beside(self.run())
            }
        }
    )+};
}

writes! {
    Arithmetic => ArithmeticOutcome,
    CompareAndSet => CompareAndSetOutcome,
    Delete => Deleted,
    Set => Written,
    Store => StoreOutcome,
    Touch => Touched,
    WriteMany => outcome::WriteMany,
}

/// So do reads that may load or write.
macro_rules! reads {
    ($($operation:ident => $answer:ty, $error:ty);+ $(;)?) => {$(
        impl<V: View> sealed::Sealed for $operation<'_, V> {}

        impl<'a, V: View + 'a> BatchOperation<'a> for $operation<'a, V> {
            type Handle = WriteHandle<$answer, $error>;

            fn add_to(self, batch: &mut Batch<'a>) -> Self::Handle {
                batch.run_beside(self.run())
            }
        }
    )+};
}

reads! {
    GetAndTouch => Option<V::Output>, ReadError;
    GetForCas => Option<V::Output>, ReadError;
    GetOrLoad => Option<V::Output>, LoadError;
    GetOrLoadMany => item::LoadMany<V::Output>, LoadError;
}

impl<'a> IntoFuture for Batch<'a> {
    type Output = Answers;
    type IntoFuture = OpFuture<'a, Answers>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
