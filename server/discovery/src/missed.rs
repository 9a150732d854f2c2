//! Nodes that missed writes which nobody will bring them: told by clients, and handed on to the nodes as they renew.

use std::collections::BTreeMap;

/// Who missed something: cluster, server group and ring name.
type Who = (String, String, String);

/// What nodes are still to be told. Pure. Not kept on disk: what is lost here the nodes find out by themselves, later.
#[derive(Debug)]
pub(crate) struct Missed {
    nodes: BTreeMap<Who, Pending>,
    last: u64,
}

/// What one node is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pending {
    /// Writes from this version on.
    pub(crate) since: u64,
    /// By this it says that it was told.
    pub(crate) number: u64,
}

impl Missed {
    /// Numbers begin behind this one: another for each process, lest what a node heard from the last one counts.
    pub(crate) fn new(last: u64) -> Self {
        Self { nodes: BTreeMap::new(), last }
    }

    /// A node missed writes from this version on.
    pub(crate) fn tell(&mut self, who: Who, since: u64) {
        self.last = self.last.wrapping_add(1).max(1);
        let known = self.nodes.get(&who).map_or(since, |pending| pending.since.min(since));
        self.nodes.insert(who, Pending { since: known, number: self.last });
    }

    /// A node renews, and has seen all up to a number. Answers what it is to be told.
    pub(crate) fn on_renewal(&mut self, who: &Who, seen: u64) -> Option<Pending> {
        let pending = *self.nodes.get(who)?;
        if pending.number == seen {
            self.nodes.remove(who);
            return None;
        }
        Some(pending)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(name: &str) -> Who {
        ("HOME".to_owned(), "a".to_owned(), name.to_owned())
    }

    #[test]
    fn node_is_told_until_it_says_that_it_was() {
        let mut missed = Missed::new(0);
        assert_eq!(missed.on_renewal(&who("n1"), 0), None);
        missed.tell(who("n1"), 70);
        missed.tell(who("n2"), 50);
        let told = missed.on_renewal(&who("n1"), 0).expect("it is told");
        assert_eq!(told.since, 70);
        assert_eq!(missed.on_renewal(&who("n1"), 0), Some(told), "the answer may have been lost");
        assert_eq!(missed.on_renewal(&who("n1"), told.number), None);
        assert_eq!(missed.on_renewal(&who("n1"), 0), None, "once is enough");
        assert_eq!(missed.on_renewal(&who("n2"), told.number).map(|told| told.since), Some(50));
    }

    #[test]
    fn what_is_missed_after_a_node_was_told_is_told_again_with_all_before() {
        let mut missed = Missed::new(0);
        missed.tell(who("n1"), 70);
        let told = missed.on_renewal(&who("n1"), 0).expect("it is told");
        missed.tell(who("n1"), 90);
        let again = missed.on_renewal(&who("n1"), told.number).expect("there is more");
        assert!(again.since == 70 && again.number > told.number);
    }
}
