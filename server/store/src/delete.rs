//! Deleting and invalidating.

use crate::index::Location;
use crate::item::{self, Header, Marks};
use crate::room::NeedRoom;
use crate::shard::{NewItem, Shard};
use crate::{Delete, DeleteMode, DeleteOutcome, Expiry, Time};

impl Shard {
    /// Carries a delete out.
    pub(crate) fn delete(
        &mut self,
        hash: u64,
        delete: &Delete<'_>,
        now: Time,
    ) -> Result<DeleteOutcome, NeedRoom> {
        let Some((location, header)) = self.live(hash, delete.key, now) else {
            return Ok(DeleteOutcome::NotFound);
        };
        if delete.compare.is_some_and(|cas| cas != header.cas) {
            return Ok(DeleteOutcome::Exists);
        }
        match delete.mode {
            DeleteMode::Remove => self.remove(hash, location),
            DeleteMode::DropValue => {
                // The item is the same one, so it keeps its token.
                let cas = delete.cas_override.unwrap_or(header.cas);
                self.drop_value(hash, delete, Marks::default(), header.expires_ms, Some(cas), now)?;
            }
            DeleteMode::Invalidate { touch, drop_value } => {
                let expires_ms = touch.map_or(header.expires_ms, item::expires_ms);
                if drop_value {
                    let mut marks = Marks::default();
                    marks.set(Marks::STALE, true);
                    self.drop_value(hash, delete, marks, expires_ms, delete.cas_override, now)?;
                } else {
                    self.invalidate(hash, delete, location, header, touch, now);
                }
            }
        }
        Ok(DeleteOutcome::Deleted)
    }

    fn drop_value(
        &mut self,
        hash: u64,
        delete: &Delete<'_>,
        marks: Marks,
        expires_ms: u64,
        cas: Option<u64>,
        now: Time,
    ) -> Result<(), NeedRoom> {
        let new = NewItem { key: delete.key, value: &[], prepared: None, flags: 0, expires_ms, marks, cas };
        self.store(hash, new, now).map(|_| ())
    }

    fn invalidate(
        &mut self,
        hash: u64,
        delete: &Delete<'_>,
        location: Location,
        mut header: Header,
        touch: Option<Expiry>,
        now: Time,
    ) {
        header.marks.set(Marks::STALE, true);
        // So that the next reader gets the win.
        header.marks.set(Marks::WIN_SENT, false);
        header.expires_ms = touch.map_or(header.expires_ms, item::expires_ms);
        header.cas = delete.cas_override.unwrap_or_else(|| self.shared.next_cas());
        if header.is_expired(now) {
            self.remove(hash, location);
        } else {
            self.set_header(location, &header);
        }
    }
}
