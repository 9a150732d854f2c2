//! A group grows from two nodes to three and shrinks back under load, by `evanesce ctl`, while plain memcached clients write.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use evanesce_client::Client;
use evanesce_tests::clock::{ms, now_ns, ns};
use evanesce_tests::witness::{Starved, Witness};
use evanesce_tests::{Deadline, Verdict, eventually, pause};
use evanesce_topology::{Placement, ServerGroup, Topology};

use crate::Bench;
use crate::cluster::Cluster;
use crate::held::{Held, look, owner, placement};
use crate::load::Load;
use crate::plain::{Found, Past, Readers, Writer};
use crate::taken::{Span, unseen_max};

/// Bytes of a value.
const VALUE_BYTES: usize = 130;
/// The zone whose group is resized, and where all clients are that read from it.
const ZONE: &str = "a";
/// The other zone.
const OTHER: &str = "b";
/// Who comes and goes.
const NEWCOMER: &str = "a3";
/// How long all is quiet before, between and after.
const QUIET: Duration = Duration::from_secs(4);
/// A change takes three leases and the time to move items; and patience with a busy machine.
const CHANGE_LIMIT: Duration = Duration::from_secs(240);
/// To begin a change is one call.
const CTL_LIMIT: Duration = Duration::from_secs(30);
/// Nodes drop what they do not own within a second or two, and once more ten seconds later.
const TIDY_LIMIT: Duration = Duration::from_secs(60);
/// Between two looks at all keys of a group.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What a hit ratio may drop by, in points.
const POINTS_MAX: f64 = 0.5;
/// What p99 may rise by.
const P99_TIMES: f64 = 1.5;
/// A plain client hears of a new ring so long after our client has; until then it asks the owners of before.
const LAG: Duration = Duration::from_secs(2);
/// A plain client's change is at the other owner, and one of our clients' on its way to the ring that another reads, for so
/// long at most.
const ON_ITS_WAY: Duration = Duration::from_millis(100);

/// The plain clients and those that read what they write.
struct Plain {
    pasts: [Arc<Past>; 2],
    writers: [Writer; 2],
    readers: [Readers; 2],
}

/// How a change went.
struct Resized {
    span: Span,
    held: anyhow::Result<Held>,
}

/// Runs it.
///
/// # Errors
/// When something could not be tried at all.
pub(crate) fn run(bench: &Bench, verdict: &mut Verdict) -> anyhow::Result<()> {
    let (items, memory, per_second) =
        if bench.short { (60_000, "64MiB", 500.0) } else { (1_000_000, "512MiB", 3_000.0) };
    // A change goes from step to step by leases, however much it moves.
    let lease = if bench.short { "4s" } else { "10s" };
    let mut cluster = Cluster::of(bench, "up-grow", ("2", "2"), &["--memory", memory, "--lease", lease])?;
    let clients =
        [ZONE, OTHER].map(|zone| cluster.client(zone)).into_iter().collect::<Result<Vec<_>, _>>()?;
    cluster.fill(&clients[0], items, VALUE_BYTES)?;
    let like = cluster.node(ZONE)?;
    let plain = Plain::start(&cluster, &clients[0], &like.group)?;
    let load = Load { clients: clients.clone(), items, value_bytes: VALUE_BYTES, per_second };
    let (witness, running, begun) = (Witness::start(), load.start(&cluster.runtime), now_ns());
    pause(QUIET);
    let began = now_ns();
    // A newcomer to a group that has just been set up would join it by itself: so it is announced first.
    cluster.ctl(&["node", "add", &like.group, NEWCOMER, "--yes", "--no-wait"], CTL_LIMIT)?;
    let newcomer = cluster.start_new(&like, NEWCOMER)?;
    let grown = follow(&clients[0], &like.group, 3, items, began)?;
    pause(QUIET);
    let began = now_ns();
    cluster.ctl(&["node", "remove", &like.group, NEWCOMER, "--yes"], CHANGE_LIMIT)?;
    let shrunk = follow(&clients[0], &like.group, 2, items, began)?;
    cluster.end(&newcomer, rustix::process::Signal::TERM)?;
    pause(QUIET);
    let over = now_ns();
    let taken = running.finish(&cluster.runtime)?;
    let starved = witness.finish();
    for (what, resized) in [("grown", &grown), ("shrunk", &shrunk)] {
        resized.judge(verdict, what, items);
    }
    let quiet = [(begun, grown.span.0), (shrunk.span.1 + ns(QUIET) / 2, over)];
    taken.judge_outcomes(verdict, &starved);
    taken.judge_hits(verdict, quiet[0], (grown.span.0, over), POINTS_MAX);
    taken.judge_p99(verdict, (&quiet, &[grown.span, shrunk.span]), (P99_TIMES, bench.short), &starved);
    plain.judge(verdict, &cluster, &clients[0], &starved)
}

/// Waits until so many nodes are on the one ring of a group, and looks whether each item is at exactly its owner then.
fn follow(client: &Client, group: &str, nodes: usize, items: u64, began: u64) -> anyhow::Result<Resized> {
    let is_over = || {
        let topology = client.topology()?;
        let group = topology.group(group)?;
        (group.nodes.len() == nodes && group.second.is_none()).then_some(())
    };
    eventually("the end of a change", Deadline::within(CHANGE_LIMIT), is_over)?;
    let span = (began, now_ns());
    let mut held = look(client, group, items);
    let _ = eventually("items at their owners alone", Deadline::within(TIDY_LIMIT), || {
        held = look(client, group, items);
        let is_right = held.as_ref().is_ok_and(Held::is_right);
        if !is_right {
            pause(LOOK_EVERY);
        }
        is_right.then_some(())
    });
    Ok(Resized { span, held })
}

impl Resized {
    fn judge(&self, verdict: &mut Verdict, what: &str, items: u64) {
        let took = ms(self.span.1 - self.span.0) / 1e3;
        match &self.held {
            Err(error) => verdict.must(false, format!("{what}: {error:#}")),
            Ok(held) => {
                verdict.figure(format!(
                    "{what} in {took:.1} s, {} of {items} items at their owners",
                    held.in_place
                ));
                verdict.none(&format!("{what}: items at nodes that do not own them"), &held.foreign);
                verdict.none(&format!("{what}: items are not at their owner"), &held.missing);
            }
        }
    }
}

impl Plain {
    /// One straight to the nodes of both zones, as EVCache's client does, which follows the ring late; and one through the
    /// gateway. What a client writes in one zone alone others may find as it was in the other, where a delete left nothing.
    fn start(cluster: &Cluster<'_>, client: &Client, group: &str) -> anyhow::Result<Self> {
        let pasts = [Past::new("plain"), Past::new("through")];
        let gateway = cluster.up.report.gateway.memcached;
        let mut ring = LateRing::new(client.clone(), group)?;
        let other = placement(client, &cluster.node(OTHER)?.group)?;
        let straight = move |key: &str| Ok(vec![ring.route(key)?, owner(&other, key)?]);
        let writers = [pasts[0].write(straight), pasts[1].write(move |_| Ok(vec![gateway]))];
        let readers = [0, 1].map(|at| pasts[at].read(&cluster.runtime, client));
        Ok(Self { pasts, writers, readers })
    }

    fn judge(
        self,
        verdict: &mut Verdict,
        cluster: &Cluster<'_>,
        client: &Client,
        starved: &Starved,
    ) -> anyhow::Result<()> {
        let changes = self.writers.map(Writer::finish);
        let found = self.readers.map(|readers| readers.finish(&cluster.runtime));
        for (what, (changes, found)) in
            ["straight to nodes", "through the gateway"].iter().zip(changes.into_iter().zip(&found))
        {
            match changes {
                Ok(changes) => judge_found(verdict, what, changes, found, starved),
                Err(error) => verdict.must(false, format!("a plain client {what}: {error:#}")),
            }
        }
        let mut wrong = Vec::new();
        for (key, wanted) in self.pasts.iter().flat_map(|past| past.last()) {
            let there = cluster.runtime.block_on(async { client.get(&key).await })?;
            if there.as_deref() != wanted.as_deref().map(str::as_bytes) {
                wrong.push(format!("{key}: {there:?} instead of {wanted:?}"));
            }
        }
        verdict.none("keys of plain clients are not as they left them", &wrong);
        Ok(())
    }
}

fn judge_found(verdict: &mut Verdict, what: &str, changes: u64, found: &Found, starved: &Starved) {
    let oldest = found.stale.iter().map(|(by, _)| *by).max().unwrap_or(0);
    verdict.figure(format!(
        "{changes} changes of a plain client {what}: {} of {} reads were stale, the oldest by {:.1} ms, {} missed, {} failed",
        found.stale.len(),
        found.reads,
        ms(oldest),
        found.misses.len(),
        found.failed.len()
    ));
    // How long the machine did not let what is on its way be done counts for nobody.
    let is_late = |(by, begun): &&(u64, u64)| {
        let lost = starved.lost_between(begun.saturating_sub(*by), *begun);
        by.saturating_sub(lost) > ns(ON_ITS_WAY)
    };
    let late = found.stale.iter().filter(is_late).map(|(by, _)| format!("by {:.1} ms", ms(*by)));
    verdict.none(&format!("stale reads of what a plain client wrote {what}"), &late.collect::<Vec<_>>());
    let missed = found.misses.iter().filter(|(begun, ended)| !starved.within(*begun, *ended));
    let missed: Vec<String> = missed.map(|(begun, _)| format!("at {begun}")).collect();
    verdict.none(&format!("reads found nothing of what a plain client wrote {what}"), &missed);
    verdict.none("values that no plain client wrote", &found.wrong);
    if found.failed.len() > unseen_max(found.reads, starved) {
        verdict.none("reads of what plain clients write failed", &found.failed);
    }
}

/// The ring as somebody has it who is told of a new one late.
struct LateRing {
    client: Client,
    group: String,
    ring: Placement,
    /// Since when there is another.
    differs: Option<u64>,
}

impl LateRing {
    fn new(client: Client, group: &str) -> anyhow::Result<Self> {
        let ring = placement(&client, group)?;
        Ok(Self { client, group: group.to_owned(), ring, differs: None })
    }

    fn route(&mut self, key: &str) -> anyhow::Result<SocketAddr> {
        let topology = self.client.topology();
        let names = |topology: &Topology| topology.group(&self.group).map(names);
        let known = names(self.ring.topology());
        if topology.is_some_and(|topology| names(&topology) != known) {
            let since = *self.differs.get_or_insert_with(now_ns);
            if now_ns() >= since + ns(LAG) {
                self.ring = placement(&self.client, &self.group)?;
                self.differs = None;
            }
        }
        owner(&self.ring, key)
    }
}

/// Who is on the ring that is read.
fn names(group: &ServerGroup) -> Vec<String> {
    group.nodes.iter().map(|node| node.name.clone()).collect()
}
