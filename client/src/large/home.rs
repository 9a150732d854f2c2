//! Values that the home zone decides about.

use std::sync::Arc;

use evanesce_wire::request::SetMode;
use tokio::time::Instant;

use super::{Put, Staged};
use crate::core::Core;
use crate::error::WriteError;
use crate::home::{Decided, HomeWrite, change_at_home, flags_at_home};
use crate::request::{Change, Done};
use crate::value::flags::STORED_FORM_MASK;
use crate::value::{Form, ValueError};

/// Stores a value if the home zone says so. Its chunks, if any, are stored by then, and deleted when it says no.
pub(crate) async fn put_at_home(
    core: &Arc<Core>,
    form: Form,
    mode: SetMode,
    compare: Option<u64>,
    put: Put,
) -> Result<Decided, WriteError> {
    let cluster = core.cluster().ok_or(WriteError::Closed)?;
    let put = put.packed(form)?;
    let staged = put.stage(core, &cluster, form).await?;
    let Staged { value, flags, .. } = &staged;
    let (value, flags, exptime) = (value.clone(), *flags, put.exptime);
    let decided = put.decide(core, Change::Store { mode, value, flags, exptime, compare }).await?;
    if decided.done != Done::Yes {
        staged.discard(core, &cluster).await;
    }
    Ok(decided)
}

/// Puts bytes behind or before a value, unless that is compressed or in chunks: bytes of the caller's would damage it.
pub(crate) async fn join_at_home(
    core: &Arc<Core>,
    form: Form,
    mode: SetMode,
    put: Put,
) -> Result<Decided, WriteError> {
    if !form.is_verbatim() {
        let cluster = core.cluster().ok_or(WriteError::Closed)?;
        // A home zone that cannot tell is asked to append all the same, and says what is wrong.
        let flags = flags_at_home(&cluster, &put.key, put.deadline).await.unwrap_or(0);
        if flags & STORED_FORM_MASK != 0 {
            return Err(ValueError::NotAppendable.into());
        }
    }
    let (value, flags, exptime) = (put.value.clone(), put.flags, put.exptime);
    put.decide(core, Change::Store { mode, value, flags, exptime, compare: None }).await
}

impl Put {
    async fn decide(self, core: &Arc<Core>, change: Change) -> Result<Decided, WriteError> {
        let timeout = self.deadline.saturating_duration_since(Instant::now());
        change_at_home(core, HomeWrite { key: self.key, change, latch: self.latch, timeout }).await
    }
}
