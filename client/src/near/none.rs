//! No near cache: nothing is kept.

use super::Looked;
use crate::diagnostics::NearCacheDiagnostics;
use crate::item::Item;
use crate::key::Key;
use crate::value::Form;

/// There is none.
pub(crate) struct NearCaches;

/// Nobody is given one.
pub(crate) enum Ticket {}

impl NearCaches {
    pub(crate) fn is_used(&self) -> bool {
        false
    }

    pub(crate) fn diagnostics(&self) -> Vec<NearCacheDiagnostics> {
        Vec::new()
    }

    pub(super) fn look(&self, _form: Form, _key: &Key, _may_answer: bool) -> Looked {
        Looked::Miss(None)
    }

    pub(super) fn keep(&self, ticket: &Ticket, _form: Form, _key: &Key, _item: Option<&Item>) {
        match *ticket {}
    }

    pub(super) fn invalidate(&self, _key: &Key) {}

    pub(super) fn invalidate_all(&self) {}
}
