//! A service that answers to GET: it counts what it is asked for, and is slow, silent or gone when it is told to be.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep};

/// Who asks may have gone after so long, which a service cannot know.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(1);

/// What is at a key.
pub(crate) fn value(key: &str) -> String {
    format!("of {key}")
}

/// A service. Its tasks end with it.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    mood: watch::Sender<Mood>,
    serving: Option<JoinHandle<()>>,
}

#[derive(Debug, Clone, Copy)]
struct Mood {
    delay: Duration,
    silent: bool,
}

#[derive(Default)]
struct Shared {
    /// Lock order: alone.
    seen: Mutex<Seen>,
}

/// What it was asked for.
#[derive(Default, Clone)]
pub(crate) struct Seen {
    under_way: HashMap<usize, Instant>,
    /// The most requests that were under way at once, less those that whoever asked has given up by then.
    pub(crate) most: usize,
    /// When each request came.
    pub(crate) came: Vec<Instant>,
    /// How often each key was asked for, as the URL says it.
    pub(crate) by_key: HashMap<String, u32>,
    number: usize,
}

impl Origin {
    /// One that answers after so long.
    pub(crate) async fn start(delay: Duration) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::<Shared>::default();
        let mood = watch::Sender::new(Mood { delay, silent: false });
        let serving = Some(tokio::spawn(serve(listener, Arc::clone(&shared), mood.subscribe())));
        Ok(Self { address, shared, mood, serving })
    }

    /// What it has seen since the last time.
    pub(crate) fn take(&self) -> Seen {
        let mut seen = self.shared.seen.lock();
        let (under_way, number) = (seen.under_way.clone(), seen.number);
        std::mem::replace(&mut *seen, Seen { under_way, number, ..Seen::default() })
    }

    /// Answers after so long.
    pub(crate) fn delay(&self, delay: Duration) {
        self.mood.send_modify(|mood| mood.delay = delay);
    }

    /// Takes requests and does not answer them.
    pub(crate) fn silent(&self, silent: bool) {
        self.mood.send_modify(|mood| mood.silent = silent);
    }

    /// Nobody listens any more, and all connections are closed.
    pub(crate) async fn stop(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
            // That it was ended.
            let _ = serving.await;
        }
    }

    /// Listens again where it did.
    pub(crate) async fn again(&mut self) -> anyhow::Result<()> {
        let listener = TcpListener::bind(self.address).await.context("the store's port was taken")?;
        self.serving = Some(tokio::spawn(serve(listener, Arc::clone(&self.shared), self.mood.subscribe())));
        Ok(())
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.serving.iter().for_each(JoinHandle::abort);
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>, mood: watch::Receiver<Mood>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (shared, mood) = (Arc::clone(&shared), mood.clone());
        connections.spawn(async move {
            // It ends when the other side does.
            let _ = talk(stream, &shared, mood).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

/// A request that was not answered yet.
struct UnderWay<'a>(&'a Shared, usize);

impl<'a> UnderWay<'a> {
    fn of(shared: &'a Shared, key: &str) -> Self {
        let mut seen = shared.seen.lock();
        let now = Instant::now();
        seen.number += 1;
        let number = seen.number;
        seen.under_way.insert(number, now);
        let waited_for = seen.under_way.values().filter(|came| now - **came < GIVEN_UP_AFTER).count();
        seen.most = seen.most.max(waited_for);
        seen.came.push(now);
        *seen.by_key.entry(key.to_owned()).or_default() += 1;
        Self(shared, number)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.seen.lock().under_way.remove(&self.1);
    }
}

async fn talk(stream: TcpStream, shared: &Shared, mut mood: watch::Receiver<Mood>) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 0 {
        let key = line.split(' ').nth(1).and_then(|path| path.strip_prefix('/')).context("no GET")?;
        // The one byte of our keys that URLs do not hold as it is.
        let key = key.replace("%3A", ":");
        while line.trim_end() != "" {
            line.clear();
            stream.read_line(&mut line).await?;
        }
        let under_way = UnderWay::of(shared, &key);
        let delay = mood.borrow().delay;
        if !delay.is_zero() {
            sleep(delay).await;
        }
        mood.wait_for(|mood| !mood.silent).await?;
        // Before the answer: whoever has it may ask for more at once.
        drop(under_way);
        let value = value(&key);
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{value}", value.len());
        stream.write_all(answer.as_bytes()).await?;
        line.clear();
    }
    Ok(())
}
