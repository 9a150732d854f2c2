//! What a node makes of what another knows. Pure but for the store.

use std::time::Duration;

use evanesce_grpc::peer::v1::finding::What;
use evanesce_grpc::peer::v1::{Entry, Item};
use evanesce_store::{Delete, DeleteOutcome, Store, Time, Version, WriteOutcome};
use evanesce_wire::limits::KEY_BYTES_MAX;

use super::tally::Tally;
use crate::execute::CLOCK_AHEAD_MAX;
use crate::items::write;

/// What is younger may still be on its way: it is taken, and does not count as differing. A write's whole time, and its repair's.
const UNDER_WAY: Duration = Duration::from_secs(2);

/// Takes what a peer knows of a key that this node asked about. Whether it is in doubt that the item here is there: the peer has
/// nothing, and the key may have been deleted while this node was away, from `gap` on.
pub(super) fn take(
    store: &Store,
    entry: &Entry,
    what: &What,
    gap: Option<Version>,
    now: Time,
    tally: &mut Tally,
) -> bool {
    let here = Version(entry.version);
    let is_here = entry.version > 0;
    match what {
        What::Item(item) => take_item(store, entry, item, now, tally),
        What::Deleted(version) if is_here => take_delete(store, entry, Version(*version), now, tally),
        What::Older(_) if is_here => differs(here, now, tally),
        What::Absent(forgotten) if is_here => {
            tally.absent += u64::from(!is_under_way(here, now));
            let forgotten = Version(*forgotten);
            // What was written just before it was away may have been deleted meanwhile as well.
            return gap.is_some_and(|gap| here.max(gap) <= forgotten) && !is_under_way(here, now);
        }
        What::Deleted(_) | What::Older(_) | What::Absent(_) => {}
    }
    false
}

fn take_item(store: &Store, entry: &Entry, item: &Item, now: Time, tally: &mut Tally) {
    let version = Version(item.version);
    // The store takes no other keys, and what a sibling lists is not to be trusted.
    let has_key = item.key == entry.key && is_key(&item.key);
    if !has_key || version < Version(entry.version) || !is_sane(version, now) {
        tally.refused += 1;
        return;
    }
    if entry.version > 0 {
        differs(version, now, tally);
    }
    tally.bytes += (item.key.len() + item.value.len()) as u64;
    match store.write(&write(item), now) {
        WriteOutcome::Stored { .. } => tally.taken += 1,
        _ => tally.refused += 1,
    }
}

/// Whether it is as long as a key may be.
pub(super) fn is_key(key: &[u8]) -> bool {
    (1..=KEY_BYTES_MAX).contains(&key.len())
}

fn take_delete(store: &Store, entry: &Entry, version: Version, now: Time, tally: &mut Tally) {
    if !is_sane(version, now) {
        tally.refused += 1;
        return;
    }
    differs(version, now, tally);
    let delete = Delete { version: Some(version), ..Delete::key(&entry.key) };
    match store.delete(&delete, now) {
        DeleteOutcome::Deleted => tally.deleted += 1,
        _ => tally.refused += 1,
    }
}

fn differs(version: Version, now: Time, tally: &mut Tally) {
    if !is_under_way(version, now) {
        tally.differs(version.time());
    }
}

fn is_under_way(version: Version, now: Time) -> bool {
    version.time().0 + UNDER_WAY.as_millis() as u64 > now.0
}

/// Whether a version may be believed.
fn is_sane(version: Version, now: Time) -> bool {
    version.ahead_of(now) <= CLOCK_AHEAD_MAX
}
