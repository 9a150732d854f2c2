//! A group grows from two nodes to three and shrinks back under load, by `evanesce ctl`, while plain memcached clients and
//! EVCache's Java client write.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use evanesce_client::Client;
use evanesce_tests::clock::{ms, now_ns, ns};
use evanesce_tests::witness::{Starved, Witness};
use evanesce_tests::{Deadline, NodeReport, Verdict, eventually, pause};
use evanesce_topology::{Placement, ServerGroup};
use serde_json::Value;

use crate::Bench;
use crate::cluster::Cluster;
use crate::held::{Held, look, owner, placement};
use crate::java::{Java, node_list};
use crate::load::Load;
use crate::plain::{Found, Past, Readers, Writer, plainly};
use crate::taken::{Borne, Span, unseen_max};

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
/// A plain client hears of a new ring so long after our client has, and EVCache's is then refreshed; until then they ask the
/// owners of before. Less than a lease, for so long have such clients to follow.
const LAG: Duration = Duration::from_secs(2);
/// A plain client's change is at the other owner, and one of our clients' on its way to the ring that another reads, for so
/// long at most.
const ON_ITS_WAY: Duration = Duration::from_millis(100);

/// Which writers they are.
const WRITERS: [&str; 3] =
    ["a plain client straight to nodes", "a plain client through the gateway", "EVCache's Java client"];

/// The clients that know no rings, and those that read what they write.
struct Plain {
    pasts: [Arc<Past>; 3],
    writers: [Writer; 3],
    readers: [Readers; 3],
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
    // The ring that EVCache's client has.
    let options = ["--memory", memory, "--lease", lease, "--ring", "evcache"];
    let mut cluster = Cluster::of(bench, "up-grow", ("2", "2"), &options)?;
    let clients =
        [ZONE, OTHER].map(|zone| cluster.client(zone)).into_iter().collect::<Result<Vec<_>, _>>()?;
    cluster.fill(&clients[0], items, VALUE_BYTES)?;
    let like = cluster.node(ZONE)?;
    let plain = Plain::start(bench, &cluster, &clients[0], &like.group)?;
    let load = Load { clients: clients.clone(), items, value_bytes: VALUE_BYTES, per_second };
    let (witness, running, begun) = (Witness::start(), load.start(&cluster.runtime), now_ns());
    pause(QUIET);
    let newcomer = stand_by(&mut cluster, &like)?;
    let began = now_ns();
    cluster.ctl(&["node", "add", &like.group, NEWCOMER, "--yes", "--no-wait"], CTL_LIMIT)?;
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
    taken.judge_outcomes(verdict, &Borne::default(), &starved);
    taken.judge_hits(verdict, quiet[0], (grown.span.0, over), POINTS_MAX);
    taken.judge_p99(verdict, (&quiet, &[grown.span, shrunk.span]), (P99_TIMES, bench.short), &starved);
    plain.judge(verdict, &cluster, &clients[0], &starved)
}

/// Starts the newcomer once it would not join its group by itself, as it would one that has just been set up, and waits until it
/// stands by.
fn stand_by(cluster: &mut Cluster<'_>, like: &NodeReport) -> anyhow::Result<NodeReport> {
    let names = |of: &Value, field: &str, value: &str| {
        of.as_array().is_some_and(|all| all.iter().any(|one| one[field].as_str() == Some(value)))
    };
    cluster.all_show("a group that is closed", |shown| names(&shown["groups"], "group", &like.group))?;
    let newcomer = cluster.start_new(like, NEWCOMER)?;
    cluster.all_show("a newcomer that stands by", |shown| names(&shown["standing_by"], "node", NEWCOMER))?;
    Ok(newcomer)
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
    /// One straight to the nodes of both zones, which follows the ring late; one through the gateway; and EVCache's own, which
    /// is told of other nodes as late as the first. What a client writes in one zone alone others may find as it was in the
    /// other, where a delete left nothing.
    fn start(bench: &Bench, cluster: &Cluster<'_>, client: &Client, group: &str) -> anyhow::Result<Self> {
        let pasts = [Past::new("plain"), Past::new("through"), Past::new(Java::PREFIX)];
        let gateway = cluster.up.report.gateway.memcached;
        let mut ring = LateRing::new(client.clone(), group)?;
        let other = placement(client, &cluster.node(OTHER)?.group)?;
        let straight = move |key: &str| Ok(vec![ring.route(key)?, owner(&other, key)?]);
        let writers = [
            pasts[0].write(plainly(straight)),
            pasts[1].write(plainly(move |_| Ok(vec![gateway]))),
            pasts[2].write(followed_by_java(bench, client)?),
        ];
        let readers = [0, 1, 2].map(|at| pasts[at].read(&cluster.runtime, client));
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
        for (what, (changes, found)) in WRITERS.iter().zip(changes.into_iter().zip(&found)) {
            match changes {
                Ok(changes) => judge_found(verdict, what, changes, found, starved),
                Err(error) => verdict.must(false, format!("{what}: {error:#}")),
            }
        }
        let mut wrong = Vec::new();
        for (key, wanted) in self.pasts.iter().flat_map(|past| past.last()) {
            let there = cluster.runtime.block_on(async { client.get(&key).await })?;
            if there.as_deref() != wanted.as_deref().map(str::as_bytes) {
                wrong.push(format!("{key}: {there:?} instead of {wanted:?}"));
            }
        }
        verdict.none("keys are not as their writers left them", &wrong);
        Ok(())
    }
}

fn judge_found(verdict: &mut Verdict, what: &str, changes: u64, found: &Found, starved: &Starved) {
    let oldest = found.stale.iter().map(|(by, _)| *by).max().unwrap_or(0);
    verdict.figure(format!(
        "{changes} changes of {what}: {} of {} reads were stale, the oldest by {:.1} ms, {} missed, {} failed",
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
    verdict.none(&format!("stale reads of what was written by {what}"), &late.collect::<Vec<_>>());
    let missed = found.misses.iter().filter(|(begun, ended)| !starved.within(*begun, *ended));
    let missed: Vec<String> = missed.map(|(begun, _)| format!("at {begun}")).collect();
    verdict.none(&format!("reads found nothing of what was written by {what}"), &missed);
    verdict.none("values that nobody wrote", &found.wrong);
    if found.failed.len() > unseen_max(found.reads, starved) {
        verdict.none(&format!("reads of what was written by {what} failed"), &found.failed);
    }
}

/// EVCache's client, told of each change of the nodes that are read.
fn followed_by_java(
    bench: &Bench,
    client: &Client,
) -> anyhow::Result<impl FnMut(&str, Option<&str>) -> anyhow::Result<()> + Send + 'static> {
    let (client, ours) = (client.clone(), ZONE);
    let list = move || client.topology().map(|topology| node_list(&topology, ours)).context("no topology");
    let mut known = Late::new(list()?);
    let mut java = Java::start(bench, &known.known)?;
    Ok(move |key: &str, value: Option<&str>| {
        if known.follows(list()?) {
            java.follow(&known.known)?;
        }
        java.change(key, value)
    })
}

/// The ring as somebody has it who is told of a new one late.
struct LateRing {
    client: Client,
    group: String,
    ring: Placement,
    names: Late<Vec<String>>,
}

/// What somebody knows who is told late.
struct Late<T> {
    known: T,
    /// Since when it is otherwise.
    differs: Option<u64>,
}

impl<T: PartialEq> Late<T> {
    fn new(known: T) -> Self {
        Self { known, differs: None }
    }

    /// This is how it is now. Answers whether that is news at last.
    fn follows(&mut self, now: T) -> bool {
        if now == self.known {
            self.differs = None;
            return false;
        }
        let since = *self.differs.get_or_insert_with(now_ns);
        let is_told = now_ns() >= since + ns(LAG);
        if is_told {
            *self = Self::new(now);
        }
        is_told
    }
}

impl LateRing {
    fn new(client: Client, group: &str) -> anyhow::Result<Self> {
        let ring = placement(&client, group)?;
        let names = Late::new(ring.topology().group(group).map(names).unwrap_or_default());
        Ok(Self { client, group: group.to_owned(), ring, names })
    }

    fn route(&mut self, key: &str) -> anyhow::Result<SocketAddr> {
        let topology = self.client.topology();
        let present = topology.and_then(|topology| topology.group(&self.group).map(names));
        if present.is_some_and(|present| self.names.follows(present)) {
            self.ring = placement(&self.client, &self.group)?;
        }
        owner(&self.ring, key)
    }
}

/// Who is on the ring that is read.
fn names(group: &ServerGroup) -> Vec<String> {
    group.nodes.iter().map(|node| node.name.clone()).collect()
}
