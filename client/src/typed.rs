//! Operations on values of a type.

use std::error::Error;
use std::marker::PhantomData;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::{Codec, CodecError, Postcard, encode_marked};
use crate::error::LoadError;
use crate::item::LoadedItem;
use crate::load::{Loaded, Loader, ManyLoaded, loader_error};
use crate::namespace::Namespace;
use crate::op::{
    CompareAndSet, Delete, Get, GetAndTouch, GetForCas, GetMany, GetOrLoad, GetOrLoadMany, Set, Store, Touch,
    WriteMany,
};
use crate::policy::LatchPolicy;
use crate::ttl::Ttl;
use crate::value::Compression;
use crate::view::{Decoded, DecodedItem};

/// A namespace whose values are of type `T`, encoded by `C`. Cheap to clone.
pub struct Typed<T, C = Postcard> {
    pub(crate) namespace: Namespace,
    pub(crate) codec: Arc<C>,
    pub(crate) value: PhantomData<fn() -> T>,
}

impl<T, C> Clone for Typed<T, C> {
    fn clone(&self) -> Self {
        Self { namespace: self.namespace.clone(), codec: Arc::clone(&self.codec), value: PhantomData }
    }
}

impl<T, C: Codec> Typed<T, C> {
    /// How long items live that are written through this.
    #[must_use]
    pub fn ttl(mut self, ttl: impl Into<Ttl>) -> Self {
        self.namespace.ttl = ttl.into();
        self
    }

    /// How many acknowledgements writes through this wait for.
    #[must_use]
    pub fn latch(mut self, latch: LatchPolicy) -> Self {
        self.namespace.latch = latch;
        self
    }

    /// Which values are compressed that are written through this. Default those from 4 KiB on.
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> Self {
        self.namespace = self.namespace.compression(compression);
        self
    }

    /// Keeps what is read often in this process, as [`Namespace::near_cache`] does: as bytes, which are decoded anew for each read.
    #[cfg(feature = "near-cache")]
    #[must_use]
    pub fn near_cache(mut self, near: crate::near::NearCache) -> Self {
        self.namespace = self.namespace.near_cache(near);
        self
    }

    /// Reads through this handle ask the nodes, whatever the near cache holds; what they answer takes its place there.
    #[must_use]
    pub fn skip_near_cache(mut self) -> Self {
        self.namespace.near = false;
        self
    }

    /// The same keys, with values as bytes.
    #[must_use]
    pub fn bytes(&self) -> &Namespace {
        &self.namespace
    }

    /// Deletes a key in every zone.
    pub fn delete(&self, key: impl AsRef<[u8]>) -> Delete<'_> {
        self.namespace.delete(key)
    }

    /// Deletes many keys in every zone.
    pub fn delete_many<K: AsRef<[u8]>>(&self, keys: impl IntoIterator<Item = K>) -> WriteMany<'_> {
        self.namespace.delete_many(keys)
    }

    /// Gives an item a new TTL in every zone.
    pub fn touch(&self, key: impl AsRef<[u8]>, ttl: impl Into<Ttl>) -> Touch<'_> {
        self.namespace.touch(key, ttl)
    }
}

impl<T: DeserializeOwned + Send, C: Codec> Typed<T, C> {
    /// Reads a value. A miss is `None`; a value that another type or codec wrote is an error.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Get<'_, Decoded<'_, T, C>> {
        Get::new(&self.namespace, key.as_ref(), self.view())
    }

    /// Reads an item: value, CAS token, remaining TTL and version.
    pub fn get_item(&self, key: impl AsRef<[u8]>) -> Get<'_, DecodedItem<'_, T, C>> {
        Get::new(&self.namespace, key.as_ref(), self.item_view())
    }

    /// Reads an item with the CAS token that [`compare_and_set`](Self::compare_and_set) wants, from the key's home zone.
    pub fn get_for_cas(&self, key: impl AsRef<[u8]>) -> GetForCas<'_, DecodedItem<'_, T, C>> {
        GetForCas::new(&self.namespace, key.as_ref(), self.item_view())
    }

    /// Reads many items.
    pub fn get_many_items<K: AsRef<[u8]>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> GetMany<'_, DecodedItem<'_, T, C>> {
        GetMany::new(&self.namespace, keys, self.item_view())
    }

    /// Reads many values, one batch for each node. One that cannot be decoded is among the failed.
    pub fn get_many<K: AsRef<[u8]>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> GetMany<'_, Decoded<'_, T, C>> {
        GetMany::new(&self.namespace, keys, self.view())
    }

    /// Reads a value and gives the item a new TTL, in every zone.
    pub fn get_and_touch(
        &self,
        key: impl AsRef<[u8]>,
        ttl: impl Into<Ttl>,
    ) -> GetAndTouch<'_, Decoded<'_, T, C>> {
        GetAndTouch::new(&self.namespace, key.as_ref(), ttl.into(), self.view())
    }

    fn item_view(&self) -> DecodedItem<'_, T, C> {
        DecodedItem { codec: &self.codec, value: PhantomData }
    }

    fn view(&self) -> Decoded<'_, T, C> {
        Decoded { codec: &self.codec, value: PhantomData }
    }
}

impl<T: Serialize + DeserializeOwned + Send + 'static, C: Codec> Typed<T, C> {
    /// Reads a value, and calls `loader` with the key when it is not there: once for all callers in all processes. See
    /// [`GetOrLoad`].
    pub fn get_or_load<F, L, E>(&self, key: impl AsRef<[u8]>, loader: F) -> GetOrLoad<'_, Decoded<'_, T, C>>
    where
        F: FnOnce(Bytes) -> L + Send + 'static,
        L: Future<Output = Result<Option<T>, E>> + Send + 'static,
        E: Into<Box<dyn Error + Send + Sync>> + Send + 'static,
    {
        let (key, codec) = (Bytes::copy_from_slice(key.as_ref()), Arc::clone(&self.codec));
        let asked = key.clone();
        let loader = Loader::Alone(Box::new(move || {
            let loading = loader(asked);
            let encoded = async move {
                let Some(value) = loading.await.map_err(loader_error)? else { return Ok(None) };
                Ok(Some(LoadedItem {
                    value: encode_marked(&*codec, &value)?,
                    flags: codec.flags(),
                    ttl: None,
                }))
            };
            Box::pin(encoded) as BoxFuture<'static, Loaded>
        }));
        GetOrLoad::new(&self.namespace, &key, self.view(), loader).typed()
    }

    /// Reads many values, and calls `loader` with the keys that are not there, all at once: it gives back a value for each key
    /// that has one. See [`GetOrLoadMany`].
    pub fn get_or_load_many<K, F, L, M, N, E>(
        &self,
        keys: impl IntoIterator<Item = K>,
        loader: F,
    ) -> GetOrLoadMany<'_, Decoded<'_, T, C>>
    where
        K: AsRef<[u8]>,
        F: Fn(Vec<Bytes>) -> L + Send + Sync + 'static,
        L: Future<Output = Result<M, E>> + Send + 'static,
        M: IntoIterator<Item = (N, T)>,
        N: AsRef<[u8]>,
        E: Into<Box<dyn Error + Send + Sync>> + Send + 'static,
    {
        let codec = Arc::clone(&self.codec);
        let loader = Arc::new(move |keys| {
            let (loading, codec) = (loader(keys), Arc::clone(&codec));
            let encoded = async move {
                let loaded = loading.await.map_err(loader_error)?.into_iter();
                let of_key = |(key, value): (N, T)| {
                    let encoded = encode_marked(&*codec, &value);
                    let encoded =
                        encoded.map(|value| Some(LoadedItem { value, flags: codec.flags(), ttl: None }));
                    (Bytes::copy_from_slice(key.as_ref()), encoded.map_err(LoadError::from))
                };
                Ok(loaded.map(of_key).collect())
            };
            Box::pin(encoded) as BoxFuture<'static, ManyLoaded>
        });
        GetOrLoadMany::new(&self.namespace, keys, self.view(), loader).typed()
    }
}

impl<T: Serialize, C: Codec> Typed<T, C> {
    /// Stores a value in every zone.
    pub fn set(&self, key: impl AsRef<[u8]>, value: &T) -> Set<'_> {
        Set::new(&self.namespace, key.as_ref(), self.encode(value)).typed(self.codec.flags())
    }

    /// Stores a value if the key is absent. The key's home zone decides.
    pub fn add(&self, key: impl AsRef<[u8]>, value: &T) -> Store<'_> {
        Store::add(&self.namespace, key.as_ref(), self.encode(value)).typed(self.codec.flags())
    }

    /// Stores a value if the key is present. The key's home zone decides.
    pub fn replace(&self, key: impl AsRef<[u8]>, value: &T) -> Store<'_> {
        Store::replace(&self.namespace, key.as_ref(), self.encode(value)).typed(self.codec.flags())
    }

    /// Stores a value if nobody changed the item since its token was read. The key's home zone decides.
    pub fn compare_and_set(&self, key: impl AsRef<[u8]>, cas: u64, value: &T) -> CompareAndSet<'_> {
        CompareAndSet::new(&self.namespace, key.as_ref(), cas, self.encode(value)).typed(self.codec.flags())
    }

    /// Stores many values in every zone, so many at a time that others get through.
    pub fn set_many<'v, K: AsRef<[u8]>>(&self, entries: impl IntoIterator<Item = (K, &'v T)>) -> WriteMany<'_>
    where
        T: 'v,
    {
        let entries = entries.into_iter().map(|(key, value)| (key, self.encode(value)));
        WriteMany::set(&self.namespace, entries).typed(self.codec.flags())
    }

    fn encode(&self, value: &T) -> Result<Bytes, CodecError> {
        encode_marked(&*self.codec, value)
    }
}
