//! What a node tells of keys that another asks about. Pure but for the store.

use bytes::Bytes;
use evanesce_grpc::peer::v1::finding::What;
use evanesce_grpc::peer::v1::{CompareResponse, Entry, Finding, Item};
use evanesce_store::{Hit, Known, Store, Time, Version, fingerprint};

use crate::items::{item, joined, pieces};
use crate::warm::MESSAGE_BYTES;

/// Answers as many entries as fit a message, and says how many these are.
pub(super) fn judge(store: &Store, entries: &[Entry], hears_since: Version, now: Time) -> CompareResponse {
    let mut answer = CompareResponse::default();
    let mut bytes = 0;
    for (index, entry) in (0..).zip(entries) {
        if bytes >= MESSAGE_BYTES {
            break;
        }
        answer.judged += 1;
        let seen = store.examine(&entry.key, now, |known| see(known, entry, hears_since));
        let Some(what) = seen.map(|seen| seen.whole(&entry.key)) else { continue };
        if let What::Item(item) = &what {
            bytes += item.key.len() + item.value.len();
        }
        answer.findings.push(Finding { index, what: Some(what) });
    }
    answer
}

/// What is seen under the lock.
enum Seen {
    What(What),
    /// An item, and its value.
    Item(Item, Vec<Bytes>),
}

impl Seen {
    /// Outside the lock: the value in one piece.
    fn whole(self, key: &Bytes) -> What {
        match self {
            Self::What(what) => what,
            Self::Item(item, pieces) => What::Item(Item { key: key.clone(), value: joined(pieces), ..item }),
        }
    }
}

fn see(known: Known<'_>, entry: &Entry, hears_since: Version) -> Option<Seen> {
    let asked = Version(entry.version);
    match known.hit {
        Some(hit) if hit.stale => None,
        Some(hit) if hit.version < asked => Some(Seen::What(What::Older(hit.version.0))),
        Some(hit) if hit.version == asked && fingerprint(&hit) == entry.fingerprint => None,
        Some(hit) => Some(taken(&hit)),
        None if known.deleted > Version::default() && known.deleted >= asked => {
            Some(Seen::What(What::Deleted(known.deleted.0)))
        }
        None => Some(Seen::What(What::Absent(known.forgotten.max(hears_since).0))),
    }
}

fn taken(hit: &Hit<'_>) -> Seen {
    Seen::Item(item(Bytes::new(), Bytes::new(), hit), pieces(&hit.value))
}
