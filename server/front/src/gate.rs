//! Before anything else, who is there: what a connection that must authenticate is answered until it has. Pure.

use evanesce_wire::binary::{self, BinaryCommand, BinaryHead, BinaryRequest, BinaryStatus, opcode};
use evanesce_wire::limits::{COMMAND_LINE_BYTES_MAX, Limits};
use evanesce_wire::request::Request;
use evanesce_wire::{Decoded, RequestDecoder};

use crate::users::Users;

/// Bytes of a name and password with the space between: as long as a line may be. It bounds what somebody unknown can
/// make a connection hold.
const CREDENTIALS_BYTES_MAX: usize = COMMAND_LINE_BYTES_MAX;

/// Bytes with which memcached starts to look for a command.
const TEXT_BYTES_MIN: usize = 2;

/// The one way to authenticate in the binary protocol.
const MECHANISM: &str = "PLAIN";

/// The answer to who comes in by the binary protocol; memcached's own word.
const AUTHENTICATED: &str = "Authenticated";

const UNAUTHENTICATED: &[u8] = b"CLIENT_ERROR unauthenticated\r\n";
const NOT_ENDED: &[u8] = b"CLIENT_ERROR bad command line termination\r\n";
const NO_PASSWORD: &[u8] = b"CLIENT_ERROR bad authentication token format\r\n";
const FAILED: &[u8] = b"CLIENT_ERROR authentication failure\r\n";
const STORED: &[u8] = b"STORED\r\n";

/// What a connection has to pass.
///
/// ```text
///   Fresh ──0x80──▶ Binary ──SASL PLAIN──▶ in
///     └───else────▶ Line ◀───▶ Value ──user password──▶ in
/// ```
#[derive(Debug, Default)]
pub(crate) enum Gate {
    /// Nothing has come yet.
    #[default]
    Fresh,
    /// Text: a line is awaited.
    Line,
    /// Text: the value of a `set` is awaited, so many bytes with its line end.
    Value(usize),
    /// The binary protocol.
    Binary(RequestDecoder),
}

/// What a look at the input brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    /// Bytes of the input done with.
    pub(crate) consumed: usize,
    pub(crate) verdict: Verdict,
    /// Names and passwords looked at.
    pub(crate) attempts: usize,
    /// Of these, wrong ones.
    pub(crate) failures: usize,
    /// Requests refused for want of a name and password.
    pub(crate) missing: usize,
}

/// How it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// At least this many bytes are missing.
    Waits {
        /// Bytes, 1 or more.
        missing: usize,
    },
    /// The peer may come in.
    Admitted,
    /// The connection ends once its answers are sent.
    Close,
}

impl Gate {
    /// Answers what `input` begins with.
    pub(crate) fn take(&mut self, input: &[u8], users: &Users, out: &mut Vec<u8>) -> Step {
        if let (Self::Fresh, Some(first)) = (&*self, input.first()) {
            *self = match *first {
                binary::REQUEST_MAGIC => {
                    Self::Binary(RequestDecoder::new(Limits { value_bytes_max: 0, ..Limits::default() }))
                }
                _ => Self::Line,
            };
        }
        let mut step = Step {
            consumed: 0,
            verdict: Verdict::Waits { missing: 1 },
            attempts: 0,
            failures: 0,
            missing: 0,
        };
        if matches!(self, Self::Binary(_)) {
            self.take_binary(input, users, out, &mut step);
            return step;
        }
        // Like memcached, which has one place for the answer until a peer is in, of several answers the last is sent:
        // a store command and its value, sent together, are answered once.
        let mut answer: &[u8] = b"";
        while let Some(said) = self.take_text(&input[step.consumed..], users, &mut step) {
            answer = said;
            if step.verdict == Verdict::Admitted {
                break;
            }
        }
        out.extend_from_slice(answer);
        step
    }

    /// One answer of the text protocol; `None` when nothing more can be said.
    fn take_text(&mut self, input: &[u8], users: &Users, step: &mut Step) -> Option<&'static [u8]> {
        match *self {
            Self::Value(bytes) => {
                let Some(value) = input.get(..bytes) else {
                    step.verdict = Verdict::Waits { missing: bytes - input.len() };
                    return None;
                };
                step.consumed += bytes;
                *self = Self::Line;
                Some(credentials(value, users, step))
            }
            _ => {
                step.verdict = Verdict::Waits { missing: 1 };
                if input.len() < TEXT_BYTES_MIN {
                    return None;
                }
                let Some(end) = input.iter().position(|byte| *byte == b'\n') else {
                    if input.len() > COMMAND_LINE_BYTES_MAX {
                        step.verdict = Verdict::Close;
                    }
                    return None;
                };
                step.consumed += end + 1;
                match announced(&input[..end]) {
                    None => {
                        step.missing += 1;
                        Some(UNAUTHENTICATED)
                    }
                    Some(bytes) if bytes > CREDENTIALS_BYTES_MAX => {
                        step.verdict = Verdict::Close;
                        None
                    }
                    Some(bytes) => {
                        *self = Self::Value(bytes + 2);
                        self.take_text(&input[end + 1..], users, step)
                    }
                }
            }
        }
    }

    fn take_binary(&mut self, input: &[u8], users: &Users, out: &mut Vec<u8>, step: &mut Step) {
        let Self::Binary(decoder) = self else { return };
        loop {
            let input = &input[step.consumed..];
            if decoder.to_swallow() == 0 {
                let Some(head) = head(input) else {
                    let missing = binary::HEADER_BYTES - input.len();
                    step.verdict = Verdict::Waits { missing };
                    return;
                };
                if !is_for_strangers(head) {
                    // Nothing that follows could be told apart from what was refused.
                    binary::encode::error(out, head, BinaryStatus::AuthError);
                    step.missing += 1;
                    step.verdict = Verdict::Close;
                    return;
                }
            } else if input.is_empty() {
                step.verdict = Verdict::Waits { missing: 1 };
                return;
            }
            match decoder.decode(input) {
                Decoded::Request { request: Request::Binary(request), consumed } => {
                    step.consumed += consumed;
                    if answer_binary(&request, users, out, step) {
                        step.verdict = Verdict::Admitted;
                        return;
                    }
                }
                Decoded::Refused { refusal, consumed } => {
                    step.consumed += consumed;
                    refusal.encode(out);
                }
                Decoded::Request { consumed, .. } | Decoded::Skipped { consumed } => {
                    step.consumed += consumed;
                }
                Decoded::Incomplete { missing } => {
                    step.verdict = Verdict::Waits { missing };
                    return;
                }
                Decoded::Fatal { refusal } => {
                    refusal.encode(out);
                    step.verdict = Verdict::Close;
                    return;
                }
            }
        }
    }
}

/// The length that a `set` announces; `None` for anything else. Key, flags and expiry may be anything.
fn announced(line: &[u8]) -> Option<usize> {
    let mut words = words(line);
    if words.next() != Some(b"set") {
        return None;
    }
    length(words.nth(3)?)
}

/// A length as the C library reads it: white space, a sign, digits, and whatever follows white space.
fn length(word: &[u8]) -> Option<usize> {
    let word = word.trim_ascii_start();
    let word = word.strip_prefix(b"+").unwrap_or(word);
    let digits = word.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let is_ended = word.get(digits).is_none_or(u8::is_ascii_whitespace);
    if digits == 0 || !is_ended {
        return None;
    }
    let number = word[..digits]
        .iter()
        .fold(0_usize, |number, digit| number.saturating_mul(10).saturating_add(usize::from(digit - b'0')));
    Some(number)
}

/// Words between spaces, up to the first zero byte, which ends a text of C's.
fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let text = line.split(|byte| *byte == 0).next().unwrap_or_default();
    text.split(|byte| *byte == b' ').filter(|word| !word.is_empty())
}

/// What a value of name and password, line end included, is answered.
fn credentials(value: &[u8], users: &Users, step: &mut Step) -> &'static [u8] {
    let Some(value) = value.strip_suffix(b"\r\n") else { return NOT_ENDED };
    let mut words = words(value);
    let (Some(name), Some(password)) = (words.next(), words.next()) else { return NO_PASSWORD };
    if look_up(name, password, users, step) {
        step.verdict = Verdict::Admitted;
        STORED
    } else {
        FAILED
    }
}

fn look_up(name: &[u8], password: &[u8], users: &Users, step: &mut Step) -> bool {
    let admitted = users.admit(name, password);
    step.attempts += 1;
    step.failures += usize::from(!admitted);
    admitted
}

/// What an answer repeats of the request that `input` begins with, once its header is there.
fn head(input: &[u8]) -> Option<BinaryHead> {
    let header = input.first_chunk::<{ binary::HEADER_BYTES }>()?;
    let opaque = u32::from_be_bytes([header[12], header[13], header[14], header[15]]);
    Some(BinaryHead { opcode: header[1], opaque })
}

/// Whether a peer may ask for this before it has authenticated.
fn is_for_strangers(head: BinaryHead) -> bool {
    matches!(head.opcode, opcode::VERSION | opcode::SASL_LIST | opcode::SASL_AUTH | opcode::SASL_STEP)
}

/// True when the peer is admitted.
fn answer_binary(request: &BinaryRequest<'_>, users: &Users, out: &mut Vec<u8>, step: &mut Step) -> bool {
    let head = request.head;
    match request.command {
        BinaryCommand::Version => binary::encode::version(out, head),
        BinaryCommand::SaslList => binary::encode::text(out, head, MECHANISM),
        // It is up to the server to begin; ours has nothing to say.
        BinaryCommand::SaslAuth { mechanism, data: b"" } if is_ours(mechanism) => {
            binary::encode::error(out, head, BinaryStatus::AuthContinue);
        }
        BinaryCommand::SaslAuth { mechanism, data } | BinaryCommand::SaslStep { mechanism, data } => {
            let plain = if is_ours(mechanism) { plain(data) } else { None };
            // Another mechanism, or no PLAIN at all, is an attempt that failed.
            let (name, password) = plain.unwrap_or_default();
            if look_up(name, password, users, step) {
                binary::encode::text(out, head, AUTHENTICATED);
                return true;
            }
            binary::encode::error(out, head, BinaryStatus::AuthError);
        }
        _ => binary::encode::error(out, head, BinaryStatus::AuthError),
    }
    false
}

fn is_ours(mechanism: &[u8]) -> bool {
    mechanism.eq_ignore_ascii_case(MECHANISM.as_bytes())
}

/// Name and password of what PLAIN sends: on whose behalf, name, password, with zero bytes between. Nobody acts on
/// another's behalf.
fn plain(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut parts = data.splitn(3, |byte| *byte == 0);
    let (behalf, name, password) = (parts.next()?, parts.next()?, parts.next()?);
    (behalf.is_empty() || behalf == name).then_some((name, password))
}

#[cfg(test)]
mod tests;
