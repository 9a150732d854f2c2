//! What the zones that may decide next say to the outcome of a decision.

use std::sync::Arc;

use tokio::time::Instant;

use crate::member::Member;
use crate::policy::{Agreement, Decision, Majority};

/// An [`Agreement`], and whose answers are still due to it.
pub(super) struct Consent {
    agreement: Agreement,
    /// By the number of their legs.
    silent: Vec<(usize, Arc<Member>)>,
}

impl Consent {
    /// `home` has decided; these others may decide next.
    pub(super) fn new(home: &Member, others: Vec<(usize, Arc<Member>)>) -> Self {
        let gone = others.iter().filter(|(_, member)| member.is_gone()).count();
        let mut agreement = Agreement::new(Majority::of(others.len() + 1, gone));
        agreement.agreed(home.has_forgotten(Instant::now()));
        Self { agreement, silent: others }
    }

    /// The leg's zone has the outcome, or what came after it.
    pub(super) fn agreed(&mut self, token: usize) {
        if let Some(member) = self.answers(token) {
            self.agreement.agreed(member.has_forgotten(Instant::now()));
        }
    }

    /// The leg's zone has what another zone decided, or has promised that one.
    pub(super) fn overtaken(&mut self, token: usize) {
        if self.answers(token).is_some() {
            self.agreement.overtaken();
        }
    }

    /// The leg's zone did not take it.
    pub(super) fn failed(&mut self, token: usize) {
        self.answers(token);
    }

    pub(super) fn is_overtaken(&self) -> bool {
        self.agreement.is_overtaken()
    }

    /// Whether to go on waiting.
    pub(super) fn decide(&self) -> Decision {
        let well = self.silent.iter().filter(|(_, member)| !member.link.is_suspect()).count();
        self.agreement.decide(self.silent.len(), well)
    }

    /// Time is up.
    pub(super) fn decide_at_last(&self) -> Decision {
        self.agreement.decide_at_last()
    }

    /// The leg's zone, if it was silent. It is not any more.
    fn answers(&mut self, token: usize) -> Option<Arc<Member>> {
        let at = self.silent.iter().position(|(silent, _)| *silent == token)?;
        Some(self.silent.swap_remove(at).1)
    }
}
