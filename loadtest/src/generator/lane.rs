//! One connection of an open loop: requests go out when they are due, however many answers are still to come.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::BytesMut;
use evanesce_wire::{Expect, ReplyDecoder};
use mio::net::TcpStream;

use super::connection::{read_some, write_some};
use super::{Fault, SAMPLE};
use crate::traffic::{Batch, Faults, Items};

/// Most requests on their way on one connection: at half a server's peak there are a handful, so this is a server
/// that does not come back, and more would only fill memory.
pub(super) const PENDING_MAX: usize = 1024;

/// A connection and the requests on it, oldest first.
pub(super) struct Lane {
    stream: TcpStream,
    out: Vec<u8>,
    sent: usize,
    pending: VecDeque<Asked>,
    /// The beginning of a reply that has not all come.
    partial: Vec<u8>,
}

/// One request on its way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    /// When it was due; `None` before the measured part.
    pub(super) due: Option<Instant>,
    pub(super) number: u64,
    /// Which key.
    pub(super) index: u64,
}

impl Asked {
    /// The same as a batch, to say what is wrong about its answer.
    fn as_batch(&self, items: &Items) -> Batch {
        Batch { number: self.number, gets: 1, sets: 0, reply_bytes: items.hit_bytes() }
    }
}

/// What came of the requests that were answered.
pub(super) trait Answers {
    /// One was answered; `faults` where the answer was in the sample.
    fn take(&mut self, asked: &Asked, faults: Option<Faults>);
}

impl Lane {
    pub(super) fn new(stream: TcpStream) -> Lane {
        Lane { stream, out: Vec::new(), sent: 0, pending: VecDeque::new(), partial: Vec::new() }
    }

    /// Whether it takes no more.
    pub(super) fn is_full(&self) -> bool {
        self.pending.len() >= PENDING_MAX
    }

    /// What became of the oldest request on its way, if it is overdue.
    pub(super) fn overdue(&self, items: &Items) -> Option<Fault> {
        (!self.pending.is_empty()).then(|| self.unexpected(items))
    }

    /// Sends a `get`, as far as the socket takes it now.
    pub(super) fn ask(&mut self, items: &Items, asked: Asked) -> Result<(), Fault> {
        if self.sent == self.out.len() {
            self.out.clear();
            self.sent = 0;
        }
        items.get(asked.index, &mut self.out);
        self.pending.push_back(asked);
        write_some(&mut self.stream, &self.out, &mut self.sent)
    }

    /// Goes on after an event.
    pub(super) fn advance(
        &mut self,
        items: &Items,
        buffer: &mut [u8],
        answers: &mut impl Answers,
    ) -> Result<(), Fault> {
        write_some(&mut self.stream, &self.out, &mut self.sent)?;
        while let Some(bytes) = read_some(&mut self.stream, buffer)? {
            self.take(items, &buffer[..bytes], answers)?;
            // Less than there was room for: the socket is empty, and the next bytes raise the next event.
            if bytes < buffer.len() {
                break;
            }
        }
        Ok(())
    }

    /// Splits what came into replies, all of which have one length.
    fn take(&mut self, items: &Items, mut input: &[u8], answers: &mut impl Answers) -> Result<(), Fault> {
        let whole = items.hit_bytes();
        if !self.partial.is_empty() {
            let missing = (whole - self.partial.len()).min(input.len());
            self.partial.extend_from_slice(&input[..missing]);
            input = &input[missing..];
            if self.partial.len() < whole {
                return self.look_at_beginning(items);
            }
            let reply = std::mem::take(&mut self.partial);
            self.answered(items, &reply, answers)?;
        }
        while input.len() >= whole {
            self.answered(items, &input[..whole], answers)?;
            input = &input[whole..];
        }
        self.partial.extend_from_slice(input);
        self.look_at_beginning(items)
    }

    /// A miss is shorter than a hit and would be waited for: its first byte tells.
    fn look_at_beginning(&self, items: &Items) -> Result<(), Fault> {
        match self.partial.first() {
            None | Some(b'V') => Ok(()),
            Some(_) => Err(self.unexpected(items)),
        }
    }

    fn answered(&mut self, items: &Items, reply: &[u8], answers: &mut impl Answers) -> Result<(), Fault> {
        let Some(asked) = self.pending.front().copied() else { return Err(self.unexpected(items)) };
        if !items.is_hit_of(asked.index, reply) {
            return Err(self.unexpected(items));
        }
        self.pending.pop_front();
        let sampled = asked.number.is_multiple_of(SAMPLE);
        answers.take(&asked, sampled.then(|| check(items, asked.index, reply)));
        Ok(())
    }

    fn unexpected(&self, items: &Items) -> Fault {
        let batch = self.pending.front().map(|asked| asked.as_batch(items)).unwrap_or_default();
        Fault::Unexpected { batch, got: self.partial.len() }
    }
}

/// Checks a whole reply byte by byte.
fn check(items: &Items, index: u64, reply: &[u8]) -> Faults {
    let mut input = BytesMut::from(reply);
    match ReplyDecoder::new().decode(&mut input, Expect::Retrieval) {
        Ok(Some(reply)) if input.is_empty() => items.check(index, &reply),
        _ => Faults { misses: 0, wrong: 1 },
    }
}
