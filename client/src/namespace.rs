//! Operations on bytes, under a key prefix.

use std::error::Error;
use std::marker::PhantomData;
use std::sync::Arc;

use bytes::Bytes;
use evanesce_wire::request::Direction;
use futures_util::future::BoxFuture;

use crate::codec::Postcard;
use crate::core::Core;
use crate::item::LoadedItem;
use crate::key::{self, Key, KeyError, namespace_prefix};
use crate::lanes::Lane;
use crate::load::{Loaded, Loader, Loads, ManyLoaded, loader_error};
use crate::op::{
    Arithmetic, CompareAndSet, Delete, Get, GetAndTouch, GetForCas, GetMany, GetOrLoad, GetOrLoadMany, Set,
    Store, Touch, WriteMany,
};
use crate::policy::LatchPolicy;
use crate::ttl::Ttl;
use crate::typed::Typed;
use crate::value::{Compression, Form};
use crate::view::{Flagged, Number, OrAbsent, Raw, Whole};

/// The keys under one prefix, `name:`, with their defaults. Cheap to clone.
///
/// Values are bytes, with flags 0 unless told otherwise: bits 16 to 23 of them are the client's. Values too large for one
/// item go in chunks, and keys too long for the wire are hashed: see the [crate documentation](crate).
/// [`typed`](Self::typed) gives the same keys with values of a type.
#[derive(Clone)]
pub struct Namespace {
    pub(crate) core: Arc<Core>,
    pub(crate) prefix: Result<Bytes, KeyError>,
    pub(crate) ttl: Ttl,
    pub(crate) latch: LatchPolicy,
    verbatim: bool,
    /// `None` is the default, which typed values and bytes have each their own.
    compression: Option<Compression>,
    /// Whether the near cache may answer.
    pub(crate) near: bool,
    /// Whose connections reads take.
    pub(crate) lane: Option<Lane>,
    /// What is known of loads.
    pub(crate) loads: Arc<Loads>,
}

impl Namespace {
    /// All keys, as they are.
    pub(crate) fn root(core: Arc<Core>) -> Self {
        let (ttl, latch) = (core.settings.ttl, core.settings.latch);
        let prefix = Bytes::new();
        let loads = core.flights.loads(&prefix);
        let (compression, near, lane) = (None, true, None);
        Self { core, prefix: Ok(prefix), ttl, latch, verbatim: false, compression, near, lane, loads }
    }

    /// The same with keys, flags and values as they are.
    pub(crate) fn verbatim(&self) -> Self {
        Self { verbatim: true, ..self.clone() }
    }

    pub(crate) fn named(&self, name: &str) -> Self {
        let prefix = namespace_prefix(name);
        let loads = prefix.as_ref().map(|prefix| self.core.flights.loads(prefix)).unwrap_or_default();
        Self { prefix, loads, ..self.clone() }
    }

    pub(crate) fn key(&self, key: &[u8]) -> Result<Key, KeyError> {
        let prefix = self.prefix.as_ref().map_err(Clone::clone)?;
        if self.verbatim { Key::new(prefix, key) } else { Key::new_or_hashed(prefix, key) }
    }

    /// Checked keys, in their order.
    pub(crate) fn keys<K: AsRef<[u8]>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Vec<Key>, KeyError> {
        let prefix = self.prefix.as_ref().map_err(Clone::clone)?;
        key::keys(prefix, self.verbatim, keys)
    }

    /// A key that goes over the wire as it is: for what a node does to a value, which must not stand behind its full key.
    pub(crate) fn key_as_it_is(&self, key: &[u8]) -> Result<Key, KeyError> {
        Key::new(self.prefix.as_ref().map_err(Clone::clone)?, key)
    }

    /// How bytes are stored.
    pub(crate) fn form(&self) -> Form {
        self.form_with(self.compression.unwrap_or(Compression::off()))
    }

    /// How typed values are stored.
    pub(crate) fn typed_form(&self) -> Form {
        self.form_with(self.compression.unwrap_or_default())
    }

    fn form_with(&self, compression: Compression) -> Form {
        if self.verbatim { Form::verbatim() } else { Form::new(compression, self.core.settings.chunking) }
    }

    /// Which values are compressed that are written through this. Default none as bytes, and those from 4 KiB on as typed
    /// values. Reads need not say so. Without effect on [`Client::raw`](crate::Client::raw).
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = Some(compression);
        self
    }

    /// How long items live that are written through this; default the client's.
    #[must_use]
    pub fn ttl(mut self, ttl: impl Into<Ttl>) -> Self {
        self.ttl = ttl.into();
        self
    }

    /// How many acknowledgements writes through this wait for; default the client's.
    #[must_use]
    pub fn latch(mut self, latch: LatchPolicy) -> Self {
        self.latch = latch;
        self
    }

    /// Keeps what is read often in this process. The namespace has one near cache in a client, which all handles of it share:
    /// whoever asks for it first says how large it is. On [`Client::raw`](crate::Client::raw) it is that of all namespaces that
    /// have none of their own. Default none, or what [`ClientBuilder::near_cache`](crate::ClientBuilder::near_cache) gives.
    #[cfg(feature = "near-cache")]
    #[must_use]
    pub fn near_cache(self, near: crate::near::NearCache) -> Self {
        if let Ok(prefix) = &self.prefix {
            self.core.near.add(prefix, near);
        }
        self
    }

    /// Reads through this handle ask the nodes, whatever the near cache holds; what they answer takes its place there.
    #[must_use]
    pub fn skip_near_cache(mut self) -> Self {
        self.near = false;
        self
    }

    /// Reads of one key and of many through this handle go over connections of a thread's own, the `lane`th of
    /// [`ClientBuilder::lanes`](crate::ClientBuilder::lanes), counted from 0; without effect where there are not so many.
    ///
    /// For threads that each have a runtime of their own: the connections are driven by the runtime of the first read, so that
    /// a read there wakes no other thread. Whatever this client has written before is seen all the same: while a node
    /// has not answered a change, reads go to it behind that.
    #[must_use]
    pub fn in_lane(mut self, lane: usize) -> Self {
        self.lane = Some(Lane(lane));
        self
    }

    /// The same keys, with values of type `T` in the default codec.
    #[must_use]
    pub fn typed<T>(self) -> Typed<T> {
        self.typed_with(Postcard)
    }

    /// The same keys, with values of type `T` in a codec of your choice.
    #[must_use]
    pub fn typed_with<T, C>(self, codec: C) -> Typed<T, C> {
        // Typed values are compressed and split, which is not verbatim.
        let namespace = Self { verbatim: false, ..self };
        Typed { namespace, codec: Arc::new(codec), value: PhantomData }
    }

    /// Reads a value. A miss is `None`.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Get<'_, Raw> {
        Get::new(self, key.as_ref(), Raw)
    }

    /// Reads a value and its flags: what a memcached `get` answers.
    pub fn get_flagged(&self, key: impl AsRef<[u8]>) -> Get<'_, Flagged> {
        Get::new(self, key.as_ref(), Flagged)
    }

    /// Reads an item: value, flags, CAS token and remaining TTL.
    pub fn get_item(&self, key: impl AsRef<[u8]>) -> Get<'_, Whole> {
        Get::new(self, key.as_ref(), Whole)
    }

    /// Reads an item, or the one that remembers that there is none, whose flags are [`ABSENT_FLAGS`](crate::ABSENT_FLAGS).
    pub fn get_item_or_absent(&self, key: impl AsRef<[u8]>) -> Get<'_, OrAbsent> {
        Get::new(self, key.as_ref(), OrAbsent)
    }

    /// Reads the number that [`incr`](Self::incr) and [`decr`](Self::decr) count, as the local zone has it.
    pub fn get_number(&self, key: impl AsRef<[u8]>) -> Get<'_, Number> {
        Get::as_it_is(self, key.as_ref(), Number)
    }

    /// Reads many values, one batch for each node. A repeated key is answered as often.
    pub fn get_many<K: AsRef<[u8]>>(&self, keys: impl IntoIterator<Item = K>) -> GetMany<'_, Raw> {
        GetMany::new(self, keys, Raw)
    }

    /// Reads many values and their flags.
    pub fn get_many_flagged<K: AsRef<[u8]>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> GetMany<'_, Flagged> {
        GetMany::new(self, keys, Flagged)
    }

    /// Reads many items.
    pub fn get_many_items<K: AsRef<[u8]>>(&self, keys: impl IntoIterator<Item = K>) -> GetMany<'_, Whole> {
        GetMany::new(self, keys, Whole)
    }

    /// Reads many items, those that remember that there is none among them.
    pub fn get_many_items_or_absent<K: AsRef<[u8]>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> GetMany<'_, OrAbsent> {
        GetMany::new(self, keys, OrAbsent)
    }

    /// Reads a value, and calls `loader` with the key when it is not there: once for all callers in all processes. See
    /// [`GetOrLoad`].
    pub fn get_or_load<F, L, E>(&self, key: impl AsRef<[u8]>, loader: F) -> GetOrLoad<'_, Raw>
    where
        F: FnOnce(Bytes) -> L + Send + 'static,
        L: Future<Output = Result<Option<Bytes>, E>> + Send + 'static,
        E: Into<Box<dyn Error + Send + Sync>> + Send + 'static,
    {
        let key = Bytes::copy_from_slice(key.as_ref());
        let loader = alone(key.clone(), move |key| {
            let loading = loader(key);
            let item = |value| LoadedItem { value, ..LoadedItem::default() };
            async move { loading.await.map(|value| value.map(item)) }
        });
        GetOrLoad::new(self, &key, Raw, loader)
    }

    /// The same with flags, and with what remains of the item's life where it comes from.
    pub fn get_item_or_load<F, L, E>(&self, key: impl AsRef<[u8]>, loader: F) -> GetOrLoad<'_, Whole>
    where
        F: FnOnce(Bytes) -> L + Send + 'static,
        L: Future<Output = Result<Option<LoadedItem>, E>> + Send + 'static,
        E: Into<Box<dyn Error + Send + Sync>> + Send + 'static,
    {
        let key = Bytes::copy_from_slice(key.as_ref());
        GetOrLoad::new(self, &key, Whole, alone(key.clone(), loader))
    }

    /// Reads many values, and calls `loader` with the keys that are not there, all at once: it gives back a value for each key
    /// that has one. See [`GetOrLoadMany`].
    pub fn get_or_load_many<K, F, L, M, N, E>(
        &self,
        keys: impl IntoIterator<Item = K>,
        loader: F,
    ) -> GetOrLoadMany<'_, Raw>
    where
        K: AsRef<[u8]>,
        F: Fn(Vec<Bytes>) -> L + Send + Sync + 'static,
        L: Future<Output = Result<M, E>> + Send + 'static,
        M: IntoIterator<Item = (N, Bytes)>,
        N: AsRef<[u8]>,
        E: Into<Box<dyn Error + Send + Sync>> + Send + 'static,
    {
        let loader = Arc::new(move |keys| {
            let loading = loader(keys);
            let loaded = async move {
                let loaded = loading.await.map_err(loader_error)?.into_iter();
                let of_key = |(key, value): (N, _)| {
                    (
                        Bytes::copy_from_slice(key.as_ref()),
                        Ok(Some(LoadedItem { value, ..LoadedItem::default() })),
                    )
                };
                Ok(loaded.map(of_key).collect())
            };
            Box::pin(loaded) as BoxFuture<'static, ManyLoaded>
        });
        GetOrLoadMany::new(self, keys, Raw, loader)
    }

    /// The same with flags and remaining lives, and a loader that tells of each key how it fared: keys that it does not tell of
    /// are absent.
    pub fn get_items_or_load_many<K, F, L, M, N, E>(
        &self,
        keys: impl IntoIterator<Item = K>,
        loader: F,
    ) -> GetOrLoadMany<'_, Whole>
    where
        K: AsRef<[u8]>,
        F: Fn(Vec<Bytes>) -> L + Send + Sync + 'static,
        L: Future<Output = M> + Send + 'static,
        M: IntoIterator<Item = (N, Result<Option<LoadedItem>, E>)>,
        N: AsRef<[u8]>,
        E: Into<Box<dyn Error + Send + Sync>> + Send + 'static,
    {
        let loader = Arc::new(move |keys| {
            let loading = loader(keys);
            let loaded = async move {
                let of_key = |(key, loaded): (N, Result<Option<LoadedItem>, E>)| {
                    (Bytes::copy_from_slice(key.as_ref()), loaded.map_err(loader_error))
                };
                Ok(loading.await.into_iter().map(of_key).collect())
            };
            Box::pin(loaded) as BoxFuture<'static, ManyLoaded>
        });
        GetOrLoadMany::new(self, keys, Whole, loader)
    }

    /// Stores a value in every zone.
    pub fn set(&self, key: impl AsRef<[u8]>, value: impl Into<Bytes>) -> Set<'_> {
        Set::new(self, key.as_ref(), Ok(value.into()))
    }

    /// Stores many values in every zone, so many at a time that others get through.
    pub fn set_many<K: AsRef<[u8]>, V: Into<Bytes>>(
        &self,
        entries: impl IntoIterator<Item = (K, V)>,
    ) -> WriteMany<'_> {
        WriteMany::set(self, entries.into_iter().map(|(key, value)| (key, Ok(value.into()))))
    }

    /// Deletes many keys in every zone.
    pub fn delete_many<K: AsRef<[u8]>>(&self, keys: impl IntoIterator<Item = K>) -> WriteMany<'_> {
        WriteMany::delete(self, keys)
    }

    /// Stores a value if the key is absent. The key's home zone decides.
    pub fn add(&self, key: impl AsRef<[u8]>, value: impl Into<Bytes>) -> Store<'_> {
        Store::add(self, key.as_ref(), Ok(value.into()))
    }

    /// Stores a value if the key is present. The key's home zone decides.
    pub fn replace(&self, key: impl AsRef<[u8]>, value: impl Into<Bytes>) -> Store<'_> {
        Store::replace(self, key.as_ref(), Ok(value.into()))
    }

    /// Puts bytes behind the value that is there. The key's home zone decides.
    pub fn append(&self, key: impl AsRef<[u8]>, value: impl Into<Bytes>) -> Store<'_> {
        Store::append(self, key.as_ref(), value.into())
    }

    /// Puts bytes before the value that is there. The key's home zone decides.
    pub fn prepend(&self, key: impl AsRef<[u8]>, value: impl Into<Bytes>) -> Store<'_> {
        Store::prepend(self, key.as_ref(), value.into())
    }

    /// Adds to a number, as decimal digits; wraps at 64 bits. The key's home zone counts.
    pub fn incr(&self, key: impl AsRef<[u8]>, delta: u64) -> Arithmetic<'_> {
        Arithmetic::new(self, key.as_ref(), Direction::Increment, delta)
    }

    /// Takes from a number, as decimal digits; stops at 0. The key's home zone counts.
    pub fn decr(&self, key: impl AsRef<[u8]>, delta: u64) -> Arithmetic<'_> {
        Arithmetic::new(self, key.as_ref(), Direction::Decrement, delta)
    }

    /// Reads an item with the CAS token that [`compare_and_set`](Self::compare_and_set) wants, from the key's home zone.
    pub fn get_for_cas(&self, key: impl AsRef<[u8]>) -> GetForCas<'_> {
        GetForCas::new(self, key.as_ref(), Whole)
    }

    /// Stores a value if nobody changed the item since its token was read. The key's home zone decides.
    pub fn compare_and_set(
        &self,
        key: impl AsRef<[u8]>,
        cas: u64,
        value: impl Into<Bytes>,
    ) -> CompareAndSet<'_> {
        CompareAndSet::new(self, key.as_ref(), cas, Ok(value.into()))
    }

    /// Deletes a key in every zone.
    pub fn delete(&self, key: impl AsRef<[u8]>) -> Delete<'_> {
        Delete::new(self, key.as_ref())
    }

    /// Gives an item a new TTL in every zone.
    pub fn touch(&self, key: impl AsRef<[u8]>, ttl: impl Into<Ttl>) -> Touch<'_> {
        Touch::new(self, key.as_ref(), ttl.into())
    }

    /// Reads a value and gives the item a new TTL, in every zone.
    pub fn get_and_touch(&self, key: impl AsRef<[u8]>, ttl: impl Into<Ttl>) -> GetAndTouch<'_, Raw> {
        GetAndTouch::new(self, key.as_ref(), ttl.into(), Raw)
    }

    /// Reads an item and gives it a new TTL, in every zone.
    pub fn get_item_and_touch(&self, key: impl AsRef<[u8]>, ttl: impl Into<Ttl>) -> GetAndTouch<'_, Whole> {
        GetAndTouch::new(self, key.as_ref(), ttl.into(), Whole)
    }
}

/// The loader of one key.
fn alone<F, L, E>(key: Bytes, loader: F) -> Loader
where
    F: FnOnce(Bytes) -> L + Send + 'static,
    L: Future<Output = Result<Option<LoadedItem>, E>> + Send + 'static,
    E: Into<Box<dyn Error + Send + Sync>> + Send + 'static,
{
    Loader::Alone(Box::new(move || {
        let loading = loader(key);
        Box::pin(async move { loading.await.map_err(loader_error) }) as BoxFuture<'static, Loaded>
    }))
}
