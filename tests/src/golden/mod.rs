//! Golden transcripts: what one release of memcached answered, written down once and replayed since.
//!
//! For what Debian's memcached does not know yet, and so no suite can compare live. A file of
//! `tests/conformance/golden` is a list of cases; `tests/conformance/record` writes the lines with `<`, people the others:
//!
//! ```text
//! # a comment
//! case value and flags           a connection of its own; $k becomes a key of its own
//! > ms $k 2 F7\r\nhi\r\n         sent, as bytes_of reads it, with a fence behind it
//! < HD\r\n                       all that came back, tokens and times masked as Mask says
//! > mg $k c v\r\n
//! < VA 2 c@1\r\nhi\r\n           @1 is the first token that the server gave in this case
//! ```

mod differences;
mod file;
mod mask;

use std::net::SocketAddr;

pub use differences::{DIFFERENCES, Difference, Place};
pub use file::{Case, File, Step};
pub use mask::Mask;

use crate::bytes::bytes_of;
use crate::raw::Raw;

/// Plays a case; what came back at each step.
///
/// # Errors
/// When the server cannot be reached.
pub fn play(address: SocketAddr, case: &Case) -> anyhow::Result<Vec<String>> {
    let mut raw = Raw::connect(address)?;
    let mut mask = Mask::of(case.steps.iter().map(|step| step.sent.as_str()));
    let mut heard = Vec::new();
    for step in &case.steps {
        let received = raw.exchange(&bytes_of(&step.sent, &case.key(), |role| mask.token(role)));
        let mut text = mask.masked(&received.bytes);
        if received.closed || received.stuck {
            text.push_str(if received.closed { " [closed]" } else { " [no answer to the fence]" });
            raw = Raw::connect(address)?;
        }
        heard.push(text);
    }
    Ok(heard)
}

/// Holds what a server says against what is recorded: a line for each step that is neither the same nor a stated
/// difference. A stated difference that is none any more is such a line, too.
///
/// # Errors
/// When the server cannot be reached.
pub fn differences(address: SocketAddr, file: &File) -> anyhow::Result<Vec<String>> {
    let mut wrong = Vec::new();
    for case in file.cases() {
        let heard = play(address, &case)?;
        for (at, (step, heard)) in case.steps.iter().zip(&heard).enumerate() {
            let ours = DIFFERENCES.iter().find_map(|stated| stated.ours(&file.name, &case.name, at));
            let wanted = ours.unwrap_or(step.reply.as_str());
            if heard != wanted || ours.is_some_and(|ours| ours == step.reply) {
                let (file, case, sent) = (&file.name, &case.name, &step.sent);
                wrong.push(format!(
                    "{file}: {case}, step {at}\n  > {sent}\n  wanted {wanted}\n  heard  {heard}"
                ));
            }
        }
    }
    Ok(wrong)
}
