//! Values of a type: codecs, comparing, keys that are known to have none.

use bytes::Bytes;
use evanesce_client::{
    ABSENT_FLAGS, Codec, CodecError, CompareAndSetOutcome, LatchPolicy, Postcard, ReadError, WriteError,
};

use crate::cluster::Cluster;

/// Postcard's bytes from behind.
struct Backwards(u32);

impl Codec for Backwards {
    fn flags(&self) -> u32 {
        self.0
    }

    fn encode<T: serde::Serialize>(&self, value: &T) -> Result<Bytes, CodecError> {
        Ok(Postcard.encode(value)?.iter().rev().copied().collect())
    }

    fn decode<T: serde::de::DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, CodecError> {
        Postcard.decode(&bytes.iter().rev().copied().collect::<Vec<_>>())
    }
}

#[tokio::test]
async fn codec_of_a_caller_is_used_and_not_taken_for_another() {
    let cluster = Cluster::start(&["a"]).await;
    let users = cluster.client("a").await.namespace("user");
    let own = users.clone().typed_with::<String, _>(Backwards(0x8000_0000));
    own.set("1", &"Ada".to_owned()).await.expect("well");
    assert_eq!(own.get("1").await, Ok(Some("Ada".to_owned())));
    let loaded = own.get_or_load("2", async |_| Ok::<_, CodecError>(Some("Bo".to_owned())));
    assert_eq!(loaded.await.expect("it loads"), Some("Bo".to_owned()));
    let other = users.clone().typed::<String>().get("1").await;
    assert!(matches!(other, Err(ReadError::Codec(CodecError::OtherCodec { .. }))), "{other:?}");
    for reserved in [0x0200_0000, ABSENT_FLAGS, 0x8000_0001] {
        let wrong = users.clone().typed_with::<String, _>(Backwards(reserved));
        let refused = wrong.set("1", &String::new()).await;
        assert!(matches!(refused, Err(WriteError::Codec(CodecError::Encode { .. }))), "{refused:?}");
    }
}

#[tokio::test]
async fn typed_value_is_compared_and_set() {
    let cluster = Cluster::start(&["a", "b"]).await;
    let users = cluster.client("a").await.namespace("user").typed::<String>();
    users.set("1", &"Ada".to_owned()).latch(LatchPolicy::All).await.expect("well");
    let item = users.get_for_cas("1").await.expect("it answers").expect("a hit");
    assert_eq!(item.value, "Ada");
    let stored = users.compare_and_set("1", item.cas, &"Bo".to_owned()).await.expect("well");
    assert!(matches!(stored, CompareAndSetOutcome::Stored(_)), "{stored:?}");
    let again = users.compare_and_set("1", item.cas, &"Cy".to_owned()).await.expect("well");
    assert!(matches!(again, CompareAndSetOutcome::Exists), "{again:?}");
    assert_eq!(users.get("1").await, Ok(Some("Bo".to_owned())));
    users.bytes().set("none", "").flags(ABSENT_FLAGS).await.expect("well");
    let none = users.bytes().get_for_cas("none");
    assert_eq!((users.get_for_cas("none").await, none.await), (Ok(None), Ok(None)));
    let marker =
        users.bytes().get_for_cas("none").with_absent().await.expect("it answers").expect("a marker");
    assert_eq!((marker.flags, marker.value.len()), (ABSENT_FLAGS, 0));
}
