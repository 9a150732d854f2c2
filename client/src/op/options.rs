//! What a caller says of one call, beside what it is to do.

use std::time::Duration;

use crate::core::Core;
use crate::namespace::Namespace;
use crate::read::ReadPlan;
use crate::request::Want;

/// What a caller says of one read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReadOptions {
    pub(crate) timeout: Duration,
    /// Whether the near cache may answer.
    pub(crate) near: bool,
}

impl ReadOptions {
    /// What reads through this handle do unless told otherwise.
    pub(crate) fn of(namespace: &Namespace) -> Self {
        Self { timeout: namespace.core.settings.read_timeout, near: namespace.near }
    }

    pub(crate) fn plan(self, core: &Core, want: Want) -> ReadPlan {
        ReadPlan { near: self.near, ..ReadPlan::new(core, want, self.timeout) }
    }
}
