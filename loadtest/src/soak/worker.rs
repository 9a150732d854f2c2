//! One connection after the other: batches of operations, answers judged, killed when its turn comes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::BytesMut;
use evanesce_wire::ReplyDecoder;
use rand::RngExt;
use rand::rngs::SmallRng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::ReadHalf;
use tokio::time::timeout;

use super::kill;
use super::operation::{Domain, Key, Operation, Verdict};
use super::tally::{Fault, Shared};

/// Most operations sent at once.
const BATCH_MAX: usize = 16;
/// An answer that takes longer is not coming.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// A server that takes no connection for so long is gone.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Between two tries to connect.
const CONNECT_PAUSE: Duration = Duration::from_millis(20);
/// Bytes asked for at once.
const READ_BYTES: usize = 64 << 10;

/// What drives one connection.
pub(super) struct Worker {
    pub(super) server: SocketAddr,
    pub(super) domain: Domain,
    pub(super) random: SmallRng,
    pub(super) shared: Arc<Shared>,
    /// What the last `gets` told.
    pub(super) token: Option<(Key, u64)>,
}

/// Why a connection is of no more use.
enum End {
    /// Time is up, or it was killed on purpose.
    Wanted,
    /// Not our doing.
    Fault(Fault),
}

impl Worker {
    /// Works until told to stop.
    ///
    /// # Errors
    /// When the server takes no more connections.
    pub(super) async fn work(mut self) -> anyhow::Result<()> {
        while !self.shared.is_stopping() {
            let stream = self.connect().await?;
            if let End::Fault(fault) = self.drive(stream).await {
                self.shared.change(|tally| tally.ended(&fault));
            }
        }
        Ok(())
    }

    async fn connect(&self) -> anyhow::Result<TcpStream> {
        let try_often = async {
            loop {
                match TcpStream::connect(self.server).await {
                    Ok(stream) => return stream,
                    Err(_) => tokio::time::sleep(CONNECT_PAUSE).await,
                }
            }
        };
        let stream = timeout(CONNECT_LIMIT, try_often).await;
        let stream = stream.with_context(|| format!("{} takes no more connections", self.server))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Batches on one connection until its end.
    async fn drive(&mut self, mut stream: TcpStream) -> End {
        let mut input = BytesMut::new();
        while !self.shared.is_stopping() {
            let batch = self.batch();
            let mut out = BytesMut::new();
            batch.iter().for_each(|operation| operation.encode(&mut out));
            if self.shared.take_kill() {
                let way = kill::Way::draw(&mut self.random, out.len());
                kill::kill(stream, way, &out).await;
                self.shared.change(|tally| tally.killed(way));
                return End::Wanted;
            }
            match timeout(ANSWER_LIMIT, self.exchange(&mut stream, &mut input, &out, &batch)).await {
                Ok(Ok(())) => {}
                Ok(Err(fault)) => return End::Fault(fault),
                Err(_) => return End::Fault(Fault::Wrong(format!("no answer within {ANSWER_LIMIT:?}"))),
            }
        }
        End::Wanted
    }

    fn batch(&mut self) -> Vec<Operation> {
        let count = self.random.random_range(1..=BATCH_MAX);
        (0..count).map(|_| self.domain.draw(&mut self.random, &mut self.token)).collect()
    }

    /// Sends a batch and judges the answers, both at once: a server need not read on while nobody reads its answers.
    async fn exchange(
        &mut self,
        stream: &mut TcpStream,
        input: &mut BytesMut,
        out: &[u8],
        batch: &[Operation],
    ) -> Result<(), Fault> {
        let (mut reader, mut writer) = stream.split();
        let cannot = |error| Fault::Broken(format!("cannot send: {error}"));
        let write = async { writer.write_all(out).await.map_err(cannot) };
        let (shared, token) = (&self.shared, &mut self.token);
        let ((), ()) = tokio::try_join!(write, answers(&mut reader, input, batch, shared, token))?;
        // Whatever comes beyond the answers belongs to no request.
        match input.len() {
            0 => Ok(()),
            bytes => Err(Fault::Wrong(format!("{bytes} bytes beyond the answers"))),
        }
    }
}

async fn answers(
    reader: &mut ReadHalf<'_>,
    input: &mut BytesMut,
    batch: &[Operation],
    shared: &Shared,
    token: &mut Option<(Key, u64)>,
) -> Result<(), Fault> {
    let mut decoder = ReplyDecoder::new();
    for operation in batch {
        let Some(expect) = operation.expect() else {
            shared.change(|tally| tally.requests += 1);
            continue;
        };
        let reply = loop {
            match decoder.decode(input, expect) {
                Ok(Some(reply)) => break reply,
                Ok(None) => input.reserve(READ_BYTES),
                Err(error) => return Err(Fault::Wrong(format!("malformed answer: {error}"))),
            }
            match reader.read_buf(input).await {
                Ok(0) => return Err(Fault::Broken("closed by the server".to_owned())),
                Ok(_) => {}
                Err(error) => return Err(Fault::Broken(format!("closed by the server: {error}"))),
            }
        };
        let verdict = operation.judge(&reply);
        shared.change(|tally| tally.judged(operation.gets(), &verdict));
        if let Verdict::Token { key, cas } = verdict {
            *token = Some((key, cas));
        }
    }
    Ok(())
}
