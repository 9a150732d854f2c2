//! Bytes in, batches of requests out: the pure part of a session.

use evanesce_wire::limits::Limits;
use evanesce_wire::request::Request;
use evanesce_wire::{BinaryCommand, BinaryHead, BinaryRequest, Decoded, Refusal, RequestDecoder};

use crate::BATCH_REQUESTS_MAX;

/// The answer to a request whose pieces exceed the input budget; memcached's own words.
pub(crate) const INPUT_EXHAUSTED: &str = "SERVER_ERROR out of memory reading request";

/// Decodes one connection's input.
#[derive(Debug)]
pub(crate) struct Intake {
    decoder: RequestDecoder,
    limits: Limits,
    /// The decoder skips a value that was refused for want of memory, and knows no other limit than 0.
    skipping: bool,
}

/// What a look at the input brought, besides the batch.
#[derive(Debug)]
pub(crate) struct Taken {
    /// Bytes of the input done with.
    pub(crate) consumed: usize,
    /// Why the batch ends here.
    pub(crate) end: BatchEnd,
}

/// Why a batch ends. Whatever it holds is answered first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BatchEnd {
    /// It is full; look again.
    Full,
    /// The input ends, with or without a part of a request; at least this many bytes are missing.
    Incomplete {
        /// Bytes, 1 or more.
        missing: usize,
    },
    /// A request is answered with an error line; look again.
    Refused(Refusal),
    /// The same, and the connection ends.
    Fatal(Refusal),
    /// The peer said `quit`; the binary protocol answers it.
    Quit(Option<BinaryHead>),
}

impl Intake {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { decoder: RequestDecoder::new(limits), limits, skipping: false }
    }

    /// Moves requests from the front of `input` into `batch`.
    pub(crate) fn take<'a>(&mut self, input: &'a [u8], batch: &mut Vec<Request<'a>>) -> Taken {
        let mut at = 0;
        while batch.len() < BATCH_REQUESTS_MAX {
            if self.skipping && self.decoder.to_swallow() == 0 {
                (self.decoder, self.skipping) = (self.decoder.with_limits(self.limits), false);
            }
            if at == input.len() {
                return Taken { consumed: at, end: BatchEnd::Incomplete { missing: 1 } };
            }
            let end = match self.decoder.decode(&input[at..]) {
                Decoded::Request { request: Request::Quit, consumed } => {
                    at += consumed;
                    BatchEnd::Quit(None)
                }
                Decoded::Request {
                    request: Request::Binary(BinaryRequest { command: BinaryCommand::Quit, head, .. }),
                    consumed,
                } => {
                    at += consumed;
                    BatchEnd::Quit((!head.is_quiet()).then_some(head))
                }
                Decoded::Request { request, consumed } => {
                    at += consumed;
                    batch.push(request);
                    continue;
                }
                Decoded::Skipped { consumed } => {
                    at += consumed;
                    continue;
                }
                Decoded::Refused { refusal, consumed } => {
                    at += consumed;
                    BatchEnd::Refused(refusal)
                }
                Decoded::Incomplete { missing } => BatchEnd::Incomplete { missing },
                Decoded::Fatal { refusal } => BatchEnd::Fatal(refusal),
            };
            return Taken { consumed: at, end };
        }
        Taken { consumed: at, end: BatchEnd::Full }
    }

    /// Refuses the request that `input` begins with, though it is within its limits, and skips its value as it comes.
    /// The service hears of it, because what the request was to replace must not stay. Returns the bytes done with;
    /// `None` if the request has no value: then its end is not known.
    pub(crate) fn refuse_value<'a>(
        &mut self,
        input: &'a [u8],
        batch: &mut Vec<Request<'a>>,
    ) -> Option<usize> {
        let mut decoder = self.decoder.with_limits(Limits { value_bytes_max: 0, ..self.limits });
        match decoder.decode(input) {
            Decoded::Request { request: Request::TooLarge(mut refused), consumed } => {
                refused.refusal = refused.refusal.for_want_of_memory(INPUT_EXHAUSTED);
                batch.push(Request::TooLarge(refused));
                (self.decoder, self.skipping) = (decoder, true);
                Some(consumed)
            }
            _ => None,
        }
    }
}
