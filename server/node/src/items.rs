//! Items between the store and what goes over the wire to other nodes.

use bytes::Bytes;
use evanesce_grpc::packed::{Facts, PackedItem};
use evanesce_grpc::peer::v1::Item;
use evanesce_store::{Expiry, Hit, Time, Version, Write};

/// What an item has beside its key and value.
pub(crate) fn facts(hit: &Hit<'_>) -> Facts {
    let Hit { flags, cas, version, expiry, .. } = hit;
    Facts {
        flags: *flags,
        expires_ms: match expiry {
            Expiry::Never => 0,
            Expiry::At(Time(ms)) => *ms,
        },
        version: version.0,
        cas: (*cas != version.0).then_some(*cas),
    }
}

/// An item as a message of its own.
pub(crate) fn item(key: Bytes, value: Bytes, hit: &Hit<'_>) -> Item {
    let Facts { flags, expires_ms, version, cas } = facts(hit);
    Item { key, value, flags, expires_ms, version, cas }
}

/// What stores an item that came: a repair.
pub(crate) fn write(item: &Item) -> Write<'_> {
    let Item { key, value, flags, expires_ms, version, cas } = item;
    let facts = Facts { flags: *flags, expires_ms: *expires_ms, version: *version, cas: *cas };
    write_packed(&PackedItem { key, value, facts })
}

/// As [`write`], of one item of many.
pub(crate) fn write_packed<'a>(item: &PackedItem<'a>) -> Write<'a> {
    let Facts { flags, expires_ms, version, cas } = item.facts;
    Write {
        flags,
        expiry: if expires_ms == 0 { Expiry::Never } else { Expiry::At(Time(expires_ms)) },
        cas_override: cas,
        version: Some(Version(version)),
        repair: true,
        ..Write::set(item.key, item.value)
    }
}
