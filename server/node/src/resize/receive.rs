//! Taking what another owner of a key brings.

use evanesce_grpc::peer::v1::{TakeItemsRequest, TakeItemsResponse};
use evanesce_store::{Delete, Version, Write};
use evanesce_wire::limits::KEY_BYTES_MAX;
use tonic::Status;

use super::forward::KEYS_MAX;
use crate::execute::CLOCK_AHEAD_MAX;
use crate::items::write;
use crate::shared::Shared;

/// Stores what is newer than what is here. All is checked before anything is stored.
pub(crate) fn receive(shared: &Shared, request: &TakeItemsRequest) -> Result<TakeItemsResponse, Status> {
    if request.items.len() + request.deleted.len() > KEYS_MAX {
        return Err(Status::invalid_argument(format!("send at most {KEYS_MAX} keys at once")));
    }
    let now = shared.clock.now();
    let items = request.items.iter().map(|item| (&item.key, item.version));
    let deleted = request.deleted.iter().map(|deleted| (&deleted.key, deleted.version));
    for (key, version) in items.chain(deleted) {
        if !(1..=KEY_BYTES_MAX).contains(&key.len()) {
            return Err(Status::invalid_argument(format!("keys have 1 to {KEY_BYTES_MAX} bytes")));
        }
        if version == 0 || Version(version).ahead_of(now) > CLOCK_AHEAD_MAX {
            return Err(Status::invalid_argument("a version is missing, or too far ahead of the clock"));
        }
    }
    for item in &request.items {
        // An owner knows what was deleted: no doubt about absent keys.
        shared.store.write(&Write { repair: false, ..write(item) }, now);
    }
    for deleted in &request.deleted {
        let delete = Delete { version: Some(Version(deleted.version)), ..Delete::key(&deleted.key) };
        shared.store.delete(&delete, now);
    }
    Ok(TakeItemsResponse {})
}
