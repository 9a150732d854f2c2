//! Deleting and invalidating.

use crate::item::{self, Header, Marks};
use crate::room::NeedRoom;
use crate::segment::Location;
use crate::shard::{Hash, NewItem, Shard};
use crate::{Delete, DeleteMode, DeleteOutcome, Expiry, Time, Version};

impl Shard {
    /// Carries a delete out.
    pub(crate) fn delete(
        &mut self,
        hash: Hash,
        delete: &Delete<'_>,
        now: Time,
    ) -> Result<DeleteOutcome, NeedRoom> {
        let old = self.live(hash, delete.key, now);
        if let Some(version) = delete.version.and_then(|version| self.newer(hash, version, old)) {
            return Ok(DeleteOutcome::Superseded { version });
        }
        let Some((location, header)) = old else {
            // A delete that carries a version is remembered even where there is nothing: what it deletes may yet come. So is every
            // other while a damaged table may hide an item.
            let is_remembered = delete.remember || self.may_hide_items();
            let stamped = || is_remembered.then(|| self.stamp(hash, Version::default(), now));
            if let Some(version) = delete.version.or_else(stamped) {
                self.remember_delete(hash.whole, version);
            }
            return Ok(DeleteOutcome::NotFound);
        };
        if delete.compare.is_some_and(|cas| cas != header.token()) {
            return Ok(DeleteOutcome::Exists);
        }
        let version = match delete.version {
            Some(version) => version,
            None => self.stamp(hash, header.version, now),
        };
        let emptied = NewItem {
            key: delete.key,
            value: &[],
            flags: 0,
            expires_ms: header.expires_ms,
            marks: Marks::default(),
            cas: delete.cas_override,
            version: delete.version,
            old,
        };
        match delete.mode {
            DeleteMode::Remove => {
                self.remove(hash, location);
                self.remember_delete(hash.whole, version);
            }
            DeleteMode::DropValue => {
                // The item is the same one, so it keeps its token.
                let cas = delete.cas_override.unwrap_or(header.token());
                self.store(hash, NewItem { cas: Some(cas), ..emptied }, now)?;
            }
            DeleteMode::Invalidate { touch, drop_value } => {
                let expires_ms = touch.map_or(header.expires_ms, item::expires_ms);
                if drop_value {
                    let mut marks = Marks::default();
                    marks.set(Marks::STALE, true);
                    self.store(hash, NewItem { marks, expires_ms, ..emptied }, now)?;
                } else {
                    self.invalidate(hash, delete, location, header, touch, version, now)?;
                }
            }
        }
        Ok(DeleteOutcome::Deleted)
    }

    /// The version of what is known of a key, if it is newer than the delete's.
    fn newer(&self, hash: Hash, version: Version, old: Option<(Location, Header)>) -> Option<Version> {
        if version > Version::ACCEPTED_MAX {
            return Some(Version::ACCEPTED_MAX);
        }
        let there = old.map(|(_, old)| old.version).unwrap_or_default();
        let newest = there.max(self.tombstones.of(hash.whole));
        (newest > version).then_some(newest)
    }

    #[expect(clippy::too_many_arguments, reason = "an item and what becomes of it")]
    fn invalidate(
        &mut self,
        hash: Hash,
        delete: &Delete<'_>,
        location: Location,
        mut header: Header,
        touch: Option<Expiry>,
        version: Version,
        now: Time,
    ) -> Result<(), NeedRoom> {
        header.marks.set(Marks::STALE, true);
        header.marks.set(Marks::DECIDED, false);
        // So that the next reader gets the win.
        header.marks.set(Marks::WIN_SENT, false);
        header.expires_ms = touch.map_or(header.expires_ms, item::expires_ms);
        header.version = version;
        header.cas = delete.cas_override;
        self.see(version);
        if header.is_expired(now) {
            self.remove(hash, location);
            self.remember_delete(hash.whole, version);
            return Ok(());
        }
        self.set_header(hash, delete.key, location, &header, now).map(|_| ())
    }
}
