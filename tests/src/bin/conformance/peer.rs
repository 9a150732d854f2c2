//! memcache-async: a Rust client that is not ours.
//!
//! It does one request at a time and sends `set`, `append` and `delete` with `noreply`, so each of these is
//! followed by a read that shows its effect.

use std::fmt::Debug;

use memcache_async::ascii::Protocol;
use tokio::io::BufWriter;
use tokio::net::TcpStream;

use crate::run::Server;

/// A second past 30 days: by the protocol's rule an instant, in 1970.
const PAST: u32 = 60 * 60 * 24 * 30 + 1;

type Client = Protocol<BufWriter<TcpStream>>;

/// Runs the script; one printed line per result.
///
/// # Errors
/// When the server cannot be reached.
pub(crate) fn run(server: &Server, profile: &str) -> anyhow::Result<Vec<String>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut script = Script::connect(server).await?;
        script.retrievals().await;
        if profile != "gateway" {
            script.in_place().await;
        }
        Ok(script.lines)
    })
}

struct Script {
    client: Client,
    lines: Vec<String>,
}

impl Script {
    async fn connect(server: &Server) -> anyhow::Result<Script> {
        let stream = TcpStream::connect(server.address).await?;
        stream.set_nodelay(true)?;
        Ok(Script { client: Protocol::new(BufWriter::new(stream)), lines: Vec::new() })
    }

    fn note<T: Debug>(&mut self, what: &str, result: Result<T, impl Into<std::io::Error>>) {
        let text = match result {
            Ok(value) => format!("{value:?}"),
            Err(error) => format!("error {:?}", error.into().kind()),
        };
        self.lines.push(format!("{what}: {text}"));
    }

    /// What a gateway has too.
    async fn retrievals(&mut self) {
        let version = self.client.version().await;
        self.note("version", version);
        for (key, value) in [("ma:1", &b"one"[..]), ("ma:2", b""), ("ma:3", b"\r\nEND\r\n\0\xff")] {
            let set = self.client.set(key, value, 60).await;
            self.note("set", set);
            let got = self.client.get(key).await;
            self.note("get", got);
        }
        let large = vec![b'x'; 900_000];
        let set = self.client.set("ma:large", &large, 0).await;
        self.note("set large", set);
        let got = self.client.get("ma:large").await.map(|value| value == large);
        self.note("get large", got);
        let got = self.client.get("ma:absent").await;
        self.note("get absent", got);
        let got = self.client.get_multi(&["ma:1", "ma:absent", "ma:3"]).await.map(|items| {
            let mut items: Vec<_> = items.into_iter().collect();
            items.sort();
            items
        });
        self.note("get_multi", got);
        for name in ["ma:1", "ma:new"] {
            let added = self.client.add(name, b"added", 60).await;
            self.note("add", added);
            let got = self.client.get(name).await;
            self.note("get", got);
        }
        for name in ["ma:1", "ma:new", "ma:large"] {
            let deleted = self.client.delete(name).await;
            self.note("delete", deleted);
            let got = self.client.get(name).await;
            self.note("get deleted", got);
        }
        let set = self.client.set("ma:gone", b"x", PAST).await;
        self.note("set with an expiry in the past", set);
        let got = self.client.get("ma:gone").await;
        self.note("get expired", got);
    }

    /// What only a node has so far.
    async fn in_place(&mut self) {
        let set = self.client.set("ma:list", b"b", 60).await;
        self.note("set", set);
        let appended = self.client.append("ma:list", b"cd").await;
        self.note("append", appended);
        let got = self.client.get("ma:list").await;
        self.note("get", got);
        let set = self.client.set("ma:n", b"10", 60).await;
        self.note("set", set);
        for (delta, up) in [(5_u64, true), (14, false), (2, false), (u64::MAX, true)] {
            let number = match up {
                true => self.client.increment("ma:n", delta).await,
                false => self.client.decrement("ma:n", delta).await,
            };
            self.note("number", number);
        }
        let number = self.client.increment("ma:list", 1).await;
        self.note("increment text", number);
        self.compare_and_set().await;
        let flushed = self.client.flush().await;
        self.note("flush", flushed);
        let got = self.client.get("ma:list").await;
        self.note("get flushed", got);
    }

    async fn compare_and_set(&mut self) {
        let absent = self.client.gets_cas("ma:absent").await.map(|(value, _)| value);
        self.note("gets_cas absent", absent);
        let got = self.client.gets_cas("ma:list").await;
        let token = got.as_ref().map_or(0, |(_, token)| *token);
        self.note("gets_cas", got.map(|(value, _)| value));
        for name in ["fresh token", "spent token"] {
            let stored = self.client.cas("ma:list", b"swapped", token, 60).await;
            self.note(name, stored);
        }
    }
}
