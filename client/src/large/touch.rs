//! New lives for the chunks of a value whose manifest was touched.

use std::sync::Arc;
use std::time::Duration;

use evanesce_wire::request::Exptime;
use futures_util::stream::{self, StreamExt};
use tokio::time::Instant;
use tracing::debug;

use super::{CHUNKS_IN_FLIGHT, chunk_keys};
use crate::core::Core;
use crate::key::Key;
use crate::policy::LatchPolicy;
use crate::read::{ReadPlan, read};
use crate::request::{Change, Want};
use crate::spread::{SpreadPlan, spread};
use crate::value::{Form, Opened};

/// How long one request here may take: nobody waits for it, and what is not touched expires earlier than it might.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

/// Touches the chunks of the value of `key` in every zone, in a task of its own. [`close`](crate::Client::close) waits for
/// it. When too many such tasks are under way, they are left as they are.
pub(crate) fn touch_chunks(core: &Arc<Core>, key: &Key, form: Form, exptime: Exptime) {
    let Ok(permit) = Arc::clone(&core.home_writes).try_acquire_owned() else {
        debug!("the chunks of a large value were not touched: too much is under way");
        return;
    };
    let (core, key) = (Arc::clone(core), key.clone());
    tokio::spawn(async move {
        let _permit = permit;
        touch_all(&core, &key, form, exptime).await;
    });
}

async fn touch_all(core: &Arc<Core>, key: &Key, form: Form, exptime: Exptime) {
    let Some(cluster) = core.cluster() else { return };
    let plan = ReadPlan::new(core, Want::Flags, REQUEST_TIMEOUT);
    let Ok(Some(hit)) = read(core, &cluster, key, &plan, Instant::now()).await else { return };
    let Ok(Opened::Split(manifest, _)) = form.open(key, hit.item) else { return };
    let Ok(keys) = chunk_keys(&manifest, key) else { return };
    let touch = async |key| {
        let change = Change::Touch { exptime, form: None };
        let deadline = Instant::now() + REQUEST_TIMEOUT;
        let _ = spread(core, &cluster, SpreadPlan::of_all(key, change, LatchPolicy::All, deadline)).await;
    };
    stream::iter(keys).map(touch).buffer_unordered(CHUNKS_IN_FLIGHT).collect::<()>().await;
}
