//! The right to load a key: an item beside it, which the home zone adds for one and refuses to others.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use evanesce_wire::request::{Exptime, SetMode};
use tokio::time::{Instant, sleep};

use super::{LoadPlan, Wish};
use crate::cluster::Cluster;
use crate::core::Core;
use crate::error::{LoadError, NodeError};
use crate::item::Item;
use crate::key::Key;
use crate::large::assemble;
use crate::member::Member;
use crate::read::{Hit, ReadPlan};
use crate::request::{Change, Done, Stamp, Want, with_change, with_delete_of};
use crate::version::Version;

/// Between two looks of one that waits for another's load. Of all waiters of a process one looks, so this is a few dozen
/// requests a second for each key that is being loaded, and half of what waiting may cost beyond the load.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Between two looks of one that nobody waits for.
const LOOK_LAZILY_EVERY: Duration = Duration::from_millis(500);

/// How long one of the requests here may take at least: they are few, and a load that follows costs more.
const REQUEST_TIMEOUT_MIN: Duration = Duration::from_millis(100);

/// And at most.
const REQUEST_TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// Looks at the key with a lease of ours in hand that fail at once, before it counts as not there: one connection that is busy for a
/// moment is no reason to load again what was filled just now.
const LOOKS_MAX: usize = 8;

/// What a lease lives longer than its loader may take: a node counts whole seconds.
const LONGER_SECS: u64 = 2;

/// A lease that was granted.
pub(super) struct Lease {
    /// The home zone's node, which granted it.
    pub(super) home: Arc<Member>,
    /// What the fill is stamped with: when it was granted, by the home zone's clock, or later when this process or the
    /// home zone knew of something later then. `None` when the home zone keeps no versions.
    pub(super) version: Option<Version>,
    /// The lease's own; `None` where no versions are kept.
    token: Option<u64>,
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

/// How long one of the requests here may take: as long as a read, where reads are patient. Whoever gives up on a node that is
/// only slow asks another for a lease that somebody has there.
pub(super) fn request_timeout(core: &Core) -> Duration {
    core.settings.read_timeout.clamp(REQUEST_TIMEOUT_MIN, REQUEST_TIMEOUT_MAX)
}

/// How long a lease lasts, in whole seconds: beyond the load what its grant and the look at the key may take.
fn lease_secs(core: &Core, plan: &LoadPlan) -> u64 {
    let slower = (request_timeout(core) - REQUEST_TIMEOUT_MIN) * 2;
    plan.load_timeout.as_secs() + slower.as_secs_f64().ceil() as u64 + LONGER_SECS
}

/// Waits for the right to load `key`, or until somebody else has. It looks less often while nobody waits for it.
/// `waits` is told each time that somebody else has it.
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
    mut waits: impl FnMut(),
) -> Result<Asked, LoadError> {
    let secs = lease_secs(core, plan);
    let mine = Bytes::from(format!("{:016x}", core.ambient().random::<u64>()));
    let mut asking =
        Asking { core, key, plan, wish, lease: key.lease()?, secs, mine, maybe_granted: false, unseen: 0 };
    let patience = Instant::now() + Duration::from_secs(secs) * 2;
    loop {
        match asking.once().await? {
            Some(Asked::Found(item)) if !plan.is_granted_by(&item, wish) => {}
            Some(asked) => return Ok(asked),
            None => {}
        }
        if Instant::now() >= patience {
            return Err(LoadError::Timeout);
        }
        waits();
        let looked = Instant::now();
        sleep(LOOK_EVERY).await;
        while !is_waited_for() && looked.elapsed() < LOOK_LAZILY_EVERY {
            sleep(LOOK_EVERY).await;
        }
    }
}

/// Someone who asks for a lease until it is granted, or not needed any more.
struct Asking<'a> {
    core: &'a Core,
    key: &'a Key,
    plan: &'a LoadPlan,
    wish: Wish,
    lease: Key,
    /// How long a lease lasts.
    secs: u64,
    /// What a lease of ours has as its value.
    mine: Bytes,
    /// A node did not say whether it granted it.
    maybe_granted: bool,
    /// How often a node that granted it did not say what it has of the key.
    unseen: usize,
}

impl Asking<'_> {
    /// `None` when somebody else has the lease, and the key is not there.
    async fn once(&mut self) -> Result<Option<Asked>, LoadError> {
        let cluster = self.core.cluster().ok_or(LoadError::Closed)?;
        let hash = cluster.placement().key_hash(self.key.as_bytes());
        for group in cluster.placement().home_order(hash) {
            let Some(home) = cluster.owner(group, hash) else { continue };
            let granted = match self.grant(home).await {
                Ok(granted) => granted,
                // It may have granted it. As long as it is not known to be ill it is asked again, and nobody else.
                Err(cause) if cause.maybe_applied() && !home.link.is_suspect() => {
                    self.maybe_granted = true;
                    return Ok(None);
                }
                Err(_) => continue,
            };
            // Whoever had the lease before may have filled the key just now.
            let found = self.found(&cluster, home).await;
            let lease = granted.map(|token| self.granted(home, token));
            let (found, lease) = match (found, lease) {
                (Err(cause), Some(lease)) if !cause.is_timeout() && self.unseen < LOOKS_MAX => {
                    self.unseen += 1;
                    // A release that cannot be sent leaves it ours.
                    self.maybe_granted = true;
                    lease.release();
                    return Ok(None);
                }
                (found, lease) => (found.unwrap_or_default(), lease),
            };
            return Ok(match (found, lease) {
                (Some(item), Some(lease)) if !self.plan.is_granted_by(&item, self.wish) => {
                    Some(Asked::Granted(lease))
                }
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

    fn granted(&self, home: &Arc<Member>, token: Option<u64>) -> Lease {
        let clock = &self.core.clock;
        Lease {
            home: Arc::clone(home),
            version: token.map(|token| clock.stamp_after(Version(token), self.core.now())),
            token,
            key: self.lease.clone(),
            granted: Instant::now(),
            lasts: Duration::from_secs(self.secs),
        }
    }

    /// What the home zone has of the key.
    async fn found(&self, cluster: &Cluster, home: &Arc<Member>) -> Result<Option<Item>, NodeError> {
        let timeout = request_timeout(self.core);
        let due = Instant::now() + timeout;
        let read = ReadPlan::new(self.core, Want::Item, timeout);
        let Some(item) = home.get(self.key, &read, due).await? else { return Ok(None) };
        if let Some(version) = item.version {
            self.core.clock.observe(version, self.core.now());
        }
        // What cannot be read is loaded anew.
        let hit = Hit { item, from: home };
        Ok(assemble(self.core, cluster, self.plan.form, self.key, hit, due).await.unwrap_or_default())
    }

    /// Asks a node for the lease: `None` when somebody has it, or else its token, if the node keeps versions.
    async fn grant(&self, home: &Member) -> Result<Option<Option<u64>>, NodeError> {
        let change = Change::Store {
            mode: SetMode::Add,
            value: self.mine.clone(),
            flags: 0,
            // Relative: by the node's clock, whatever ours says.
            exptime: Exptime(i64::try_from(self.secs).unwrap_or(i64::MAX)),
            compare: None,
        };
        let link = &home.link;
        let stamp = if link.connection.speaks_versions() { Stamp::Told } else { Stamp::Without };
        let due = Instant::now() + request_timeout(self.core);
        let outcome = with_change(&self.lease, &change, stamp, link.next_opaque(), |request| {
            link.connection.start_call(request, due)
        });
        let reply = link.judge(outcome.await)?;
        match Done::of(&reply)? {
            Done::Yes => Ok(Some(reply.version())),
            // While that cannot be told somebody has it.
            _ if self.maybe_granted => self.is_mine(home).await.or(Ok(None)),
            _ => Ok(None),
        }
    }

    /// Whether the lease that somebody has is ours, of whose grant no reply came.
    async fn is_mine(&self, home: &Member) -> Result<Option<Option<u64>>, NodeError> {
        let timeout = request_timeout(self.core);
        let read = ReadPlan::new(self.core, Want::Item, timeout);
        let found = home.get(&self.lease, &read, Instant::now() + timeout).await?;
        let mine = found.filter(|item| item.value == self.mine);
        Ok(mine.map(|item| item.version.map(Version::as_u64)))
    }
}

impl Lease {
    /// Lets the next one load. Behind a fill that was sent to the same node, on the same connection. Another's lease
    /// stays: where there is no token to tell them apart, ours is left to expire once it may be another's by now.
    pub(super) fn release(self) {
        let link = &self.home.link;
        let (opaque, nobody) = (link.next_opaque(), crate::read::nobody());
        // One that cannot be sent expires by itself.
        let _ = match self.token {
            Some(token) => {
                with_delete_of(&self.key, token, opaque, |request| link.connection.submit(request, nobody, 0))
            }
            None if self.granted.elapsed() + Duration::from_secs(1) >= self.lasts => return,
            None => with_change(&self.key, &Change::Delete, Stamp::Without, opaque, |request| {
                link.connection.submit(request, nobody, 0)
            }),
        };
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    use tokio::net::TcpListener;

    use super::*;
    use crate::core::tests::{core, topology};
    use crate::load::tests::plan;
    use crate::ttl::Ttl;

    /// A node that grants every lease, and has the key, but cannot say so until it was asked so many times.
    async fn busy_node(looks: usize) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
        let address = listener.local_addr().expect("it is bound").to_string();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("the client connects");
            let (mut lines, mut looked) = (BufReader::new(stream).lines(), 0);
            while let Some(line) = lines.next_line().await.expect("the client asks") {
                let opaque = line.split(' ').find(|token| token.starts_with('O')).unwrap_or_default();
                let answer = match line.get(..2) {
                    Some("mn") => "MN\r\n".to_owned(),
                    Some("mg") if looked < looks => {
                        looked += 1;
                        "SERVER_ERROR busy\r\n".to_owned()
                    }
                    Some("mg") => format!("VA 1 f0 {opaque}\r\nx\r\n"),
                    Some("ms" | "md") => format!("HD {opaque}\r\n"),
                    // The value of a lease.
                    _ => continue,
                };
                lines.get_mut().write_all(answer.as_bytes()).await.expect("the client reads");
            }
        });
        address
    }

    async fn asked_of(node: &str) -> Asked {
        let core = core();
        core.adopt(topology(1, &format!("a=n1/{node}"))).await.expect("a good topology");
        let key = Key::new(b"", b"k").expect("a good key");
        let plan = LoadPlan { early: 0.0, ..plan(Ttl::Never, 0.0, 0) };
        ask(&core, &key, &plan, Wish::Missing, || true, || {}).await.expect("the node answers")
    }

    /// What was seen on a busy machine: whoever was granted a lease behind a load that was over loaded again, when it could not look
    /// what was there.
    #[tokio::test]
    async fn look_that_fails_is_no_miss() {
        assert!(matches!(asked_of(&busy_node(3).await).await, Asked::Found(_)));
    }

    #[tokio::test]
    async fn node_that_never_says_what_it_has_holds_nobody_up() {
        assert!(matches!(asked_of(&busy_node(usize::MAX).await).await, Asked::Granted(_)));
    }
}
