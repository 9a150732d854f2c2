//! What the zones that may decide next say to the outcome of a decision.

use std::io;
use std::sync::Arc;

use evanesce_transport::TransportError;

use crate::error::NodeError;
use crate::member::Member;
use crate::policy::{Agreement, Decision};

/// An [`Agreement`], and whose answers are still due to it.
pub(super) struct Consent {
    agreement: Agreement,
    /// By the number of their legs.
    silent: Vec<(usize, Arc<Member>)>,
}

impl Consent {
    /// One zone has decided; these others may decide next.
    pub(super) fn new(others: Vec<(usize, Arc<Member>)>) -> Self {
        Self { agreement: Agreement::new(others.len() + 1), silent: others }
    }

    /// The leg's zone has the outcome, or what came after it.
    pub(super) fn agreed(&mut self, token: usize) {
        if self.answers(token) {
            self.agreement.agreed();
        }
    }

    /// The leg's zone has what another zone decided.
    pub(super) fn overtaken(&mut self, token: usize) {
        if self.answers(token) {
            self.agreement.overtaken();
        }
    }

    /// The leg's zone did not take it.
    pub(super) fn failed(&mut self, token: usize, cause: &NodeError) {
        if self.answers(token) && is_ended(cause) {
            self.agreement.ended();
        }
    }

    pub(super) fn is_overtaken(&self) -> bool {
        self.agreement.is_overtaken()
    }

    /// Whether to go on waiting: for zones that are well.
    pub(super) fn decide(&self) -> Decision {
        self.agreement.decide(self.silent.iter().filter(|(_, member)| !member.link.is_suspect()).count())
    }

    /// Whether the leg's zone was silent. It is not any more.
    fn answers(&mut self, token: usize) -> bool {
        let before = self.silent.len();
        self.silent.retain(|(silent, _)| *silent != token);
        self.silent.len() < before
    }
}

/// Whether the node's process has ended.
fn is_ended(cause: &NodeError) -> bool {
    let NodeError::Transport(TransportError::Unreachable { cause, .. }) = cause else { return false };
    cause.kind() == io::ErrorKind::ConnectionRefused
}
