//! What must hold at every look.

use std::collections::BTreeMap;

use evanesce_node::SimulatedItem;

use crate::history::{History, brief};
use crate::plan::Host;
use crate::world::{BEGIN_UNIX_MS, World};

/// The keys of the workload in a node; all others are companions.
const PREFIX: &[u8] = b"sim:";

/// Requests of one connection that have no outcome: queued and in flight.
const OUTSTANDING_MAX: usize = 2 * 4096;

/// So much later than its life ends an item may expire: lives end with a second, and a client goes by its own clock while
/// that is less than half a second from the nodes'.
pub(crate) const LATE_MS_MAX: u64 = 1_000 + 600;

/// Looks at everything again and again.
#[derive(Default)]
pub(crate) struct Checker {
    /// The newest version seen of a key at one start of a node.
    versions: BTreeMap<(Host, u64, String), u64>,
    epochs: BTreeMap<Host, u64>,
    /// When what was written in this version expires: the same at all nodes, whoever brought it there.
    expiries: BTreeMap<(String, u64), Option<u64>>,
}

impl Checker {
    /// One look, between two steps of the simulation.
    pub(crate) fn look(&mut self, world: &World, now_ms: u64) {
        let mut history = world.history.lock();
        for (host, seat) in world.nodes.borrow().iter() {
            let wall_ms = world.node_wall_ms(*host, now_ms);
            for item in seat.node.items(wall_ms) {
                if let Some((key, value)) = readable(&item) {
                    self.look_at_expiry(&mut history, world, &host.name(), &key, &item);
                    self.look_at_item(
                        &mut history,
                        (*host, seat.start, key),
                        &value,
                        (item.version, wall_ms),
                    );
                }
            }
        }
        // A client that has ended has seen nothing when it begins again.
        self.epochs.retain(|host, _| world.clients.borrow().contains_key(host));
        for (host, client) in world.clients.borrow().iter() {
            let epoch = client.topology().map_or(0, |topology| topology.epoch.0);
            let before = self.epochs.insert(*host, epoch).unwrap_or(0);
            if epoch < before {
                history.violated(format!("{} went from epoch {before} back to {epoch}", host.name()));
            } else if epoch > before {
                history.note(format!("{} has a newer topology", host.name()));
            }
        }
    }

    /// Nothing older comes in the place of what is there. What has expired leaves nothing to tell by: an older write with a
    /// longer life, which a zone has kept that missed the newer one, may come then.
    fn look_at_item(
        &mut self,
        history: &mut History,
        at: (Host, u64, String),
        value: &str,
        (version, wall_ms): (u64, u64),
    ) {
        let before = self.versions.insert(at.clone(), version).unwrap_or(0);
        if before == version {
            return;
        }
        let (host, _, key) = at;
        let line = format!("{} has {key} = {:?} of {version}", host.name(), brief(value));
        let until = self.expiries.get(&(key.clone(), before)).copied().flatten();
        let has_expired = until.is_some_and(|until| until <= wall_ms);
        if version < before && !has_expired {
            history.violated(format!("{line}, and had {before} before"));
        } else if let Some(fault) = history.fault_of(&key, value) {
            history.violated(format!("{line}: {fault}"));
        } else {
            history.note(line);
        }
    }

    /// Of what nobody touches every copy of a version expires with the original; nothing lives longer than it was ever given.
    fn look_at_expiry(
        &mut self,
        history: &mut History,
        world: &World,
        name: &str,
        key: &str,
        item: &SimulatedItem,
    ) {
        let (version, expires) = (item.version, item.expires_ms);
        if matches!(key.as_bytes()[0], b'k' | b't') {
            let known = *self.expiries.entry((key.to_owned(), version)).or_insert(expires);
            if known != expires {
                let told = format!("{name} has {key} of {version} until {expires:?}, and it was {known:?}");
                self.expiries.insert((key.to_owned(), version), expires);
                history.violated(told);
            }
        }
        if let (Some(expires), Some(end_ms)) = (expires, history.ends_ms(key))
            && world.plan.promises_order()
            && expires > BEGIN_UNIX_MS + end_ms + LATE_MS_MAX
        {
            let end_ms = BEGIN_UNIX_MS + end_ms;
            history.violated(format!("{name} has {key} of {version} until {expires}, given {end_ms}"));
        }
    }

    /// Bounds that take longer to look at.
    pub(crate) fn look_at_bounds(world: &World) {
        for (host, client) in world.clients.borrow().iter() {
            let known = client.diagnostics();
            let most = known.nodes.iter().map(|node| node.outstanding).max().unwrap_or(0);
            if known.repair_bytes > world.plan.repair_bytes_max || most > OUTSTANDING_MAX {
                let (bytes, name) = (known.repair_bytes, host.name());
                world.history.lock().violated(format!("{name} keeps {bytes} bytes, {most} requests"));
            }
        }
    }
}

/// A key of the workload and its value.
pub(crate) fn readable(item: &SimulatedItem) -> Option<(String, String)> {
    let key = item.key.strip_prefix(PREFIX).filter(|key| !key.starts_with(b"~"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Some((text(key), text(item.value.trim_ascii_end())))
}
