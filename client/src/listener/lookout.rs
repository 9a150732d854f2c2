//! Looks after the nodes for those who want to know how they fare: what is asked so needs no word in the way of an
//! operation.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use evanesce_transport::ConnectionState;
use tokio::time::sleep;

use super::{Event, NodeName};
use crate::core::Core;
use crate::member::Member;
use crate::repair::RepairsDropped;

/// Between two looks: a breaker stays open for as long at least, and looking at a thousand nodes takes some microseconds.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Tells the listeners, if there are any, how nodes fare and what is given up, while the client is open.
pub(crate) fn look_out(core: &Arc<Core>) {
    if core.events.is_used() {
        tokio::spawn(until_closed(Arc::downgrade(core)));
    }
}

async fn until_closed(core: Weak<Core>) {
    let mut known = Known::default();
    loop {
        sleep(LOOK_EVERY).await;
        let Some(core) = core.upgrade() else { return };
        let cluster = core.cluster();
        let nodes = cluster.iter().flat_map(|cluster| cluster.members());
        let mut tell = |event: &Event| core.events.tell(event);
        known.nodes(nodes.map(|member| (member.node_name(), member.illness())), &mut tell);
        let dropped = core.repairs.lock().dropped();
        known.dropped(dropped, &mut tell);
        if cluster.is_none() {
            return;
        }
    }
}

impl Member {
    fn node_name(&self) -> NodeName {
        NodeName { zone: self.zone.clone(), group: self.group.clone(), node: self.name.clone() }
    }

    /// Why nobody should wait for it; `None` while it is well.
    fn illness(&self) -> Option<String> {
        let connection = &self.link.connection;
        if matches!(connection.state(), ConnectionState::Down { .. }) {
            let failure = connection.failure().map(|failure| failure.to_string());
            return Some(failure.unwrap_or_else(|| "there is no connection".to_owned()));
        }
        self.link.is_suspect().then(|| "it does not answer in time".to_owned())
    }
}

/// What the listeners have been told.
#[derive(Default)]
struct Known {
    ill: HashSet<NodeName>,
    /// By server group and node.
    dropped: HashMap<(String, String), u64>,
}

impl Known {
    /// Tells what has changed since. A node that has gone is no longer known, and nobody is told.
    fn nodes(
        &mut self,
        nodes: impl Iterator<Item = (NodeName, Option<String>)>,
        mut tell: impl FnMut(&Event),
    ) {
        let mut ill = HashSet::new();
        for (node, illness) in nodes {
            let was_ill = self.ill.contains(&node);
            match illness {
                Some(why) => {
                    ill.insert(node.clone());
                    if !was_ill {
                        tell(&Event::NodeIll { node, why });
                    }
                }
                None if was_ill => tell(&Event::NodeWell { node }),
                None => {}
            }
        }
        self.ill = ill;
    }

    fn dropped(&mut self, dropped: Vec<RepairsDropped>, mut tell: impl FnMut(&Event)) {
        for dropped in dropped {
            let told = self.dropped.entry((dropped.group.clone(), dropped.node.clone())).or_default();
            let count = dropped.count - std::mem::replace(told, dropped.count);
            if count > 0 {
                tell(&Event::RepairsDropped(RepairsDropped { count, ..dropped }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::Version;

    fn node(name: &str) -> NodeName {
        NodeName { zone: "a".to_owned(), group: "a".to_owned(), node: name.to_owned() }
    }

    fn look(known: &mut Known, nodes: &[(&str, bool)]) -> Vec<Event> {
        let mut told = Vec::new();
        let nodes = nodes.iter().map(|(name, ill)| (node(name), ill.then(|| "frozen".to_owned())));
        known.nodes(nodes, |event| told.push(event.clone()));
        told
    }

    #[test]
    fn changes_are_told_once() {
        let mut known = Known::default();
        assert_eq!(look(&mut known, &[("n1", false), ("n2", false)]), []);
        let ill = Event::NodeIll { node: node("n2"), why: "frozen".to_owned() };
        assert_eq!(look(&mut known, &[("n1", false), ("n2", true)]), [ill]);
        assert_eq!(look(&mut known, &[("n1", false), ("n2", true)]), []);
        assert_eq!(look(&mut known, &[("n1", false), ("n2", false)]), [Event::NodeWell { node: node("n2") }]);
        assert_eq!(look(&mut known, &[("n1", true)]).len(), 1);
        assert_eq!(look(&mut known, &[]), [], "it has gone");
        assert_eq!(look(&mut known, &[("n1", false)]), [], "and come back well");
    }

    #[test]
    fn dropped_repairs_are_told_as_they_come() {
        let mut known = Known::default();
        let mut told = Vec::new();
        for count in [2, 2, 5] {
            let (group, node, lowest) = ("a".to_owned(), "n1".to_owned(), Version(7));
            known.dropped(vec![RepairsDropped { group, node, count, lowest }], |event| match event {
                Event::RepairsDropped(dropped) => told.push(dropped.count),
                other => panic!("{other:?}"),
            });
        }
        assert_eq!(told, [2, 3]);
    }
}
