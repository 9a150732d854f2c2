//! What is logged of attempts to connect.

use std::sync::Arc;

use evanesce_transport::Connection;
use parking_lot::Mutex;
use tokio::io::AsyncWriteExt;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::peer::{eventually, listen, quick, welcome, welcome_with};

/// Keeps the words of warnings.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

impl Warnings {
    fn of(&self, word: &str) -> usize {
        self.0.lock().iter().filter(|warning| warning.contains(word)).count()
    }
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut words = Words(String::new());
        event.record(&mut words);
        self.0.lock().push(words.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Words(String);

impl Visit for Words {
    fn record_debug(&mut self, _: &Field, value: &dyn std::fmt::Debug) {
        self.0.push_str(&format!("{value:?} "));
    }
}

#[tokio::test]
async fn wrong_configuration_is_logged_once_until_it_is_mended() {
    let warnings = Warnings::default();
    let _here = tracing::subscriber::set_default(warnings.clone());
    let (listener, address) = listen().await;
    let connection = Connection::spawn(address, quick());
    for _ in 0..5 {
        welcome_with(&listener, "CLIENT_ERROR unauthenticated\r\n").await;
    }
    assert_eq!(warnings.of("give credentials"), 1, "{:?}", warnings.0.lock());
    let mut stream = welcome(&listener).await;
    eventually("it is up", || connection.is_up()).await;
    stream.shutdown().await.expect("it is open");
    for _ in 0..3 {
        welcome_with(&listener, "CLIENT_ERROR unauthenticated\r\n").await;
    }
    eventually("it is down", || {
        connection.failure().is_some_and(|failure| failure.detail.contains("unauth"))
    })
    .await;
    assert_eq!(warnings.of("give credentials"), 2);
}
