//! A node without threads, sockets and a clock of its own, for simulations. Only of the feature `simulation`.
//!
//! Requests go the way they go in a node: decoded in batches, executed by the service against the store, settling
//! included. What is missing is the front: limits of connections, TLS, passwords.

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use evanesce_front::{BATCH_REQUESTS_MAX, Duplex, Flow, Output, ReplyBuffer, Service};
use evanesce_store::{Expiry, Store, Time};
use evanesce_wire::limits::Limits;
use evanesce_wire::request::Request;
use evanesce_wire::{Decoded, RequestDecoder};
use tokio::io::AsyncReadExt;
use tokio::time::sleep;

use crate::clock::Clock;
use crate::config::NodeConfig;
use crate::node::StartError;
use crate::service::NodeService;
use crate::settings::{Facts, Protection};
use crate::shared::Shared;

/// One read: a few dozen small requests.
const READ_BYTES: usize = 16 << 10;

/// Between two notes that the node runs, as those of a node.
const NOTE_EVERY: Duration = Duration::from_millis(100);

/// A node that a simulation runs.
pub struct SimulatedNode {
    service: NodeService,
    is_frozen: Cell<bool>,
}

/// An item as it lies in a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimulatedItem {
    /// Its key, namespace included.
    pub key: Bytes,
    /// Its value.
    pub value: Bytes,
    /// The caller's flags.
    pub flags: u32,
    /// What replicas are ordered by.
    pub version: u64,
    /// When it expires by the node's clock, in milliseconds since the Unix epoch.
    pub expires_ms: Option<u64>,
}

impl SimulatedNode {
    /// A node that starts empty, at this time in milliseconds since the Unix epoch. From then on tokio's clock counts.
    ///
    /// # Errors
    ///
    /// When the memory cannot hold a store.
    pub fn start(config: &NodeConfig, wall_ms: u64) -> Result<Self, StartError> {
        let facts = Facts {
            memcached: ([127, 0, 0, 1], 11_211).into(),
            item_bytes_max: config.item_bytes_max,
            connections_max: config.connections_max,
            idle_timeout: None,
            protection: Protection::default(),
            shutdown_command: false,
            configuration: None,
        };
        let store = Store::new(config.store())?;
        let shared = Shared::new(store, Clock::at(wall_ms), 1, None, facts);
        Ok(Self { service: NodeService::new(Arc::new(shared), 0), is_frozen: Cell::new(false) })
    }

    /// Does what a node does besides answering: notes that it runs. Never ends.
    pub async fn run(&self) {
        let shared = &self.service.shared;
        loop {
            if !self.is_frozen.get() {
                shared.note_request(shared.clock.now());
            }
            sleep(NOTE_EVERY).await;
        }
    }

    /// Whether the process stands still. Whoever says so keeps all messages from it meanwhile.
    pub fn freeze(&self, is_frozen: bool) {
        self.is_frozen.set(is_frozen);
    }

    /// Answers one connection until it ends.
    ///
    /// # Errors
    ///
    /// Those of the stream.
    pub async fn serve(&self, stream: &mut (impl Duplex + 'static)) -> io::Result<()> {
        let mut decoder = RequestDecoder::new(Limits::default());
        let (mut input, mut replies) = (BytesMut::new(), ReplyBuffer::new());
        loop {
            input.reserve(READ_BYTES);
            if stream.read_buf(&mut input).await? == 0 {
                return Ok(());
            }
            let whole = input.split().freeze();
            let mut rest = &whole[..];
            while let Some(batch) = batch(&mut decoder, &mut rest, &mut replies) {
                let mut out = Output::new(&mut replies, stream);
                if !batch.is_empty() && self.service.call(&batch, &mut out).await? == Flow::Close {
                    return Ok(());
                }
                out.flush().await?;
            }
            let consumed = whole.len() - rest.len();
            input.extend_from_slice(&whole[consumed..]);
        }
    }

    /// All items, at this time in milliseconds since the Unix epoch by this node's clock.
    #[must_use]
    pub fn items(&self, wall_ms: u64) -> Vec<SimulatedItem> {
        let (mut items, mut from) = (Vec::new(), Some(0));
        while let Some(next) = from {
            from = self.service.shared.store.walk(next, Time(wall_ms), |walked| {
                items.push(SimulatedItem {
                    key: Bytes::copy_from_slice(walked.key),
                    value: walked.hit.value.contiguous().into_owned().into(),
                    flags: walked.hit.flags,
                    version: walked.hit.version.0,
                    expires_ms: match walked.hit.expiry {
                        Expiry::Never => None,
                        Expiry::At(at) => Some(at.0),
                    },
                });
            });
        }
        items
    }

    /// For how many milliseconds more it leaves decisions to others; `None` when it may decide.
    #[must_use]
    pub fn settles_for_ms(&self, wall_ms: u64) -> Option<u64> {
        self.service.shared.settling.left_ms(Time(wall_ms))
    }
}

/// The next requests, none when there is only a refusal to be told; `None` where no whole one is there.
fn batch<'a>(
    decoder: &mut RequestDecoder,
    rest: &mut &'a [u8],
    replies: &mut ReplyBuffer,
) -> Option<Vec<Request<'a>>> {
    let mut batch = Vec::new();
    let mut consumed_any = false;
    while batch.len() < BATCH_REQUESTS_MAX && !rest.is_empty() {
        let consumed = match decoder.decode(rest) {
            Decoded::Request { request, consumed } => {
                batch.push(request);
                consumed
            }
            Decoded::Skipped { consumed } => consumed,
            // What was asked before is answered before.
            Decoded::Refused { .. } | Decoded::Fatal { .. } if !batch.is_empty() => return Some(batch),
            Decoded::Refused { refusal, consumed } => {
                refusal.encode(replies.buf());
                *rest = &rest[consumed..];
                return Some(batch);
            }
            Decoded::Fatal { refusal } => {
                refusal.encode(replies.buf());
                *rest = &[];
                return Some(batch);
            }
            Decoded::Incomplete { .. } => break,
        };
        consumed_any = true;
        *rest = &rest[consumed..];
    }
    consumed_any.then_some(batch)
}
