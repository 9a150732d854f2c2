//! Items between the store and what goes over the wire to other nodes.

use bytes::Bytes;
use evanesce_grpc::packed::{Attributes, PackedItem};
use evanesce_grpc::peer::v1::Item;
use evanesce_store::{Expiry, Hit, Time, Value, Version, Write};

/// What an item has beside its key and value.
pub(crate) fn attributes(hit: &Hit<'_>) -> Attributes {
    let Hit { flags, cas, version, expiry, .. } = hit;
    Attributes {
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
    let Attributes { flags, expires_ms, version, cas } = attributes(hit);
    Item { key, value, flags, expires_ms, version, cas }
}

/// What stores an item that came: a repair.
pub(crate) fn write(item: &Item) -> Write<'_> {
    let Item { key, value, flags, expires_ms, version, cas } = item;
    let attributes = Attributes { flags: *flags, expires_ms: *expires_ms, version: *version, cas: *cas };
    write_packed(&PackedItem { key, value, attributes })
}

/// As [`write`], of one item of many.
pub(crate) fn write_packed<'a>(item: &PackedItem<'a>) -> Write<'a> {
    let Attributes { flags, expires_ms, version, cas } = item.attributes;
    Write {
        flags,
        expiry: if expires_ms == 0 { Expiry::Never } else { Expiry::At(Time(expires_ms)) },
        cas_override: cas,
        version: Some(Version(version)),
        repair: true,
        ..Write::set(item.key, item.value)
    }
}

/// A value to be kept when its shard's lock is let go: a large one is counted, a small one copied.
pub(crate) fn pieces(value: &Value<'_>) -> Vec<Bytes> {
    match value {
        Value::Inline(value) => vec![Bytes::copy_from_slice(value)],
        Value::Pinned(pieces) => pieces.clone(),
    }
}

/// The value in one piece; for outside the lock.
pub(crate) fn joined(mut pieces: Vec<Bytes>) -> Bytes {
    if pieces.len() == 1 { pieces.remove(0) } else { Bytes::from(pieces.concat()) }
}
