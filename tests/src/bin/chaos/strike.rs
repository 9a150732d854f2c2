//! What may befall nodes.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use evanesce_tests::{NodeReport, pause};
use rand::Rng;
use rand::seq::SliceRandom;

use crate::netns::{Lost, cut_here, heal_here};
use crate::stage::Stage;

/// A fault that comes and goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strike {
    /// `kill -9`, and a start with nothing.
    Kill,
    /// SIGSTOP.
    Freeze,
    /// Clients and other nodes do not get through to them, while discovery does.
    Cut(Lost),
}

const ALL: [Strike; 5] = [
    Strike::Kill,
    Strike::Freeze,
    Strike::Cut(Lost::Both),
    Strike::Cut(Lost::Requests),
    Strike::Cut(Lost::Replies),
];

impl Strike {
    /// Each comes once, in any order, before one comes again: `due` keeps which are left.
    pub(crate) fn next(due: &mut Vec<Self>, random: &mut impl Rng) -> Self {
        if due.is_empty() {
            due.extend(ALL);
            due.shuffle(random);
        }
        due.pop().unwrap_or(Self::Kill)
    }

    /// Strikes nodes for so long.
    ///
    /// # Errors
    /// When one was not there, or does not come back.
    pub(crate) fn hit(self, stage: &mut Stage, nodes: &[NodeReport], length: Duration) -> anyhow::Result<()> {
        match self {
            Self::Freeze => {
                let frozen = stage.freeze(nodes)?;
                pause(length);
                drop(frozen);
            }
            Self::Kill => {
                nodes.iter().try_for_each(|node| stage.kill(node))?;
                pause(length);
                nodes.iter().try_for_each(|node| stage.restart(node)).context("a node did not come back")?;
            }
            Self::Cut(lost) => {
                let servers: Vec<SocketAddr> = nodes.iter().map(|node| node.memcached).collect();
                cut_here(&servers, lost)?;
                pause(length);
                heal_here()?;
            }
        }
        Ok(())
    }
}
