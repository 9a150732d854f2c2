//! The right to load a key: an item beside it, which the home zone adds for one and refuses to others.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use evanesce_wire::request::{Exptime, SetMode};
use tokio::time::{Instant, sleep};

use super::{LoadPlan, Wish};
use crate::core::Core;
use crate::error::{LoadError, NodeError};
use crate::item::Item;
use crate::key::Key;
use crate::large::assemble;
use crate::member::Member;
use crate::read::{Hit, ReadPlan};
use crate::request::{Change, Done, Stamp, Want, with_change};
use crate::version::Version;

/// Between two looks of one that waits for another's load. Of all waiters of a process one looks, so this is a few dozen
/// requests a second for each key that is being loaded, and half of what waiting may cost beyond the load.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Between two looks of one that nobody waits for.
const LOOK_LAZILY_EVERY: Duration = Duration::from_millis(500);

/// How long one of the requests here may take: they are few, and a load that follows costs more.
const REQUEST_TIMEOUT: Duration = Duration::from_millis(100);

/// What a lease lives longer than its loader may take: a node counts whole seconds.
const LONGER_SECS: u64 = 2;

/// A lease that was granted.
pub(super) struct Lease {
    /// The home zone's node, which granted it.
    pub(super) home: Arc<Member>,
    /// What the fill is stamped with: when it was granted, by the home zone's clock, or later when this process or the
    /// home zone knew of something later then. `None` when the home zone keeps no versions.
    pub(super) version: Option<Version>,
    key: Key,
    granted: Instant,
    lasts: Duration,
}

/// What came of asking for the right to load.
pub(super) enum Asked {
    /// It is ours, and the key is not there.
    Granted(Lease),
    /// Somebody else has loaded it.
    Found(Item),
    /// No zone answered: whoever loads does so without a lease.
    Nobody,
}

/// How long a lease lasts, in whole seconds.
fn lease_secs(plan: &LoadPlan) -> u64 {
    plan.load_timeout.as_secs() + LONGER_SECS
}

/// Waits for the right to load `key`, or until somebody else has. It looks less often while nobody waits for it.
///
/// # Errors
///
/// When others had the lease for twice as long as it lasts, or the client was closed.
pub(super) async fn ask(
    core: &Core,
    key: &Key,
    plan: &LoadPlan,
    wish: Wish,
    is_waited_for: impl Fn() -> bool,
) -> Result<Asked, LoadError> {
    let lease_key = key.lease()?;
    let lasts = Duration::from_secs(lease_secs(plan));
    let patience = Instant::now() + lasts * 2;
    loop {
        match ask_once(core, key, &lease_key, plan, wish).await? {
            Some(Asked::Found(item)) if !plan.is_granted_by(&item, wish) => {}
            Some(asked) => return Ok(asked),
            None => {}
        }
        if Instant::now() >= patience {
            return Err(LoadError::Timeout);
        }
        let looked = Instant::now();
        sleep(LOOK_EVERY).await;
        while !is_waited_for() && looked.elapsed() < LOOK_LAZILY_EVERY {
            sleep(LOOK_EVERY).await;
        }
    }
}

/// `None` when somebody else has the lease, and the key is not there.
async fn ask_once(
    core: &Core,
    key: &Key,
    lease_key: &Key,
    plan: &LoadPlan,
    wish: Wish,
) -> Result<Option<Asked>, LoadError> {
    let cluster = core.cluster().ok_or(LoadError::Closed)?;
    let hash = cluster.placement().key_hash(key.as_bytes());
    let read = ReadPlan::new(core, Want::Item, REQUEST_TIMEOUT);
    for group in cluster.placement().home_order(hash) {
        let Some(home) = cluster.owner(group, hash) else { continue };
        let secs = lease_secs(plan);
        let Ok(granted) = home.grant(lease_key, secs).await else { continue };
        // Whoever had the lease before may have filled the key just now.
        let due = Instant::now() + REQUEST_TIMEOUT;
        let found = home.get(key, &read, due).await;
        if let Ok(Some(Item { version: Some(version), .. })) = &found {
            core.clock.observe(*version, Core::now());
        }
        let found = match found {
            // What cannot be read is loaded anew.
            Ok(Some(item)) => assemble(core, &cluster, plan.form, key, Hit { item, from: home }, due)
                .await
                .unwrap_or_default(),
            _ => None,
        };
        let lease = granted.map(|version| Lease {
            home: Arc::clone(home),
            version: version.map(|version| core.clock.stamp_after(version, Core::now())),
            key: lease_key.clone(),
            granted: Instant::now(),
            lasts: Duration::from_secs(secs),
        });
        return Ok(match (found, lease) {
            (Some(item), Some(lease)) if !plan.is_granted_by(&item, wish) => Some(Asked::Granted(lease)),
            (Some(item), lease) => {
                if let Some(lease) = lease {
                    lease.release();
                }
                Some(Asked::Found(item))
            }
            (None, Some(lease)) => Some(Asked::Granted(lease)),
            (None, None) => None,
        });
    }
    Ok(Some(Asked::Nobody))
}

impl Lease {
    /// Lets the next one load. Behind a fill that was sent to the same node, on the same connection. Not when so much
    /// time has passed that the lease may be another's by now.
    pub(super) fn release(self) {
        if self.granted.elapsed() + Duration::from_secs(1) >= self.lasts {
            return;
        }
        let link = &self.home.link;
        let nobody = crate::read::nobody();
        // One that cannot be sent expires by itself.
        let _ = with_change(&self.key, &Change::Delete, Stamp::Without, link.next_opaque(), |request| {
            link.connection.submit(request, nobody, 0)
        });
    }
}

impl Member {
    /// Asks this node for the lease of this key: `None` when somebody has it, or else the version it was granted with.
    async fn grant(&self, lease: &Key, secs: u64) -> Result<Option<Option<Version>>, NodeError> {
        let change = Change::Store {
            mode: SetMode::Add,
            value: Bytes::new(),
            flags: 0,
            // Relative: by the node's clock, whatever ours says.
            exptime: Exptime(i64::try_from(secs).unwrap_or(i64::MAX)),
            compare: None,
        };
        let connection = &self.link.connection;
        let stamp = if connection.speaks_versions() { Stamp::Told } else { Stamp::Without };
        let due = Instant::now() + REQUEST_TIMEOUT;
        let outcome = with_change(lease, &change, stamp, self.link.next_opaque(), |request| {
            connection.start_call(request, due)
        });
        let reply = self.link.judge(outcome.await)?;
        match Done::of(&reply)? {
            Done::Yes => Ok(Some(reply.version().map(Version))),
            _ => Ok(None),
        }
    }
}
