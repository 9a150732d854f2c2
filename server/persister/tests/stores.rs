//! Every backing store that needs no server, held to the one suite.

use evanesce_persister::conformance;
use evanesce_persister::stores;

async fn open(settings: &str) -> std::sync::Arc<dyn evanesce_persister::BackingStore> {
    let settings = stores::settings(settings.parse().expect("good TOML")).expect("good settings");
    settings.open().await.expect("it opens")
}

#[tokio::test]
async fn memory_store_passes_the_suite() {
    let store = open("kind = 'memory'").await;
    assert!(conformance::all(&*store, "suite:").await.is_empty());
}

#[cfg(feature = "embedded")]
mod embedded {
    use std::time::Duration;

    use bytes::Bytes;
    use evanesce_persister::{Applied, Change, KeyChange, StoreItem};
    use tokio::time::Instant;

    use super::*;

    #[tokio::test]
    async fn embedded_store_passes_the_suite() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = open(&format!("kind = 'embedded'\npath = '{}'", directory.path().display())).await;
        assert!(conformance::all(&*store, "suite:").await.is_empty());
    }

    #[tokio::test]
    async fn embedded_store_that_is_opened_again_has_everything_and_is_one_process_at_a_time() {
        let directory = tempfile::tempdir().expect("a directory");
        let settings = format!("kind = 'embedded'\npath = '{}'", directory.path().display());
        let soon = Instant::now() + Duration::from_secs(20);
        let keys = [Bytes::from("kept")];
        let first = open(&settings).await;
        let item = StoreItem { value: Bytes::from("v"), flags: 7, expires_at: None, version: None };
        let put = KeyChange { key: keys[0].clone(), version: 9, change: Change::Put(item.clone()) };
        assert_eq!(first.write(&[put], soon).await, [Ok(Applied::Yes)]);
        let table = settings.parse().expect("good TOML");
        let second = stores::settings(table).expect("good settings").open().await;
        assert!(second.err().expect("it is locked").to_string().contains("open in another process"));
        first.close().await;
        drop(first);
        let again = open(&settings).await;
        assert_eq!(again.load(&keys, soon).await, [Ok(Some(StoreItem { version: Some(9), ..item }))]);
    }
}
