//! The admin command line: asks discoveries and processes over gRPC, and tries the cache through the smart client.
//!
//! ```text
//!   status topology where ── reach ──> a discovery: clusters, topology ──> each process: Admin
//!   stats drain           ── reach ──> one process, by node name or address
//!   rolling-restart       ── reach ──> every node in its turn
//!   flush                 ── reach ──> one node, or every node of the topology
//!   node group change     ── reach ──> a discovery: plan, begin, progress, abort
//!   store dead-letters    ── reach ──> a gateway
//!   wait-warm             ── reach ──> a discovery: topology ──> each node: Admin
//!   get set delete        ── item  ──> the smart client
//! ```

mod change;
mod flush;
mod item;
mod nodes;
mod process;
mod reach;
mod ring;
mod rolling;
mod store;
mod wait_warm;
mod warmth;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::builder::NonEmptyStringValueParser;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::output;
use change::{ChangeVerb, GroupVerb, NodeVerb};
use item::client;
use nodes::NodeArgs;
use reach::Reach;
use rolling::RollingArgs;
use store::{LettersVerb, StoreVerb};
use wait_warm::{Wanted, wait_warm};

/// A miss is no error, but scripts want to know: as grep does.
const EXIT_MISS: u8 = 1;

const EXAMPLES: &str = "\
Examples:
  evanesce ctl status                          every process of the cluster, and every discovery named
  evanesce ctl status 127.0.0.1:11212          one process, a gateway for one, by its gRPC address
  evanesce ctl where user:42                   the node of each zone that the ring names
  evanesce ctl set user:42 hello --ttl 10m
  evanesce ctl get user:42 --json
  evanesce ctl drain a1                        finish what is in flight, deregister, end
  evanesce ctl rolling-restart                 every node, one after the other, each warm before the next
  evanesce ctl rolling-restart --zone a --with 'ssh {node} systemctl restart evanesce-node@{node}'
  evanesce ctl flush --all --namespace user --yes   drop every item user:... of every node
  evanesce ctl node add HOME-a a3              the plan for a third node in group a; with --yes, do it
  evanesce ctl change status                   the changes under way, and nodes that stand by
  evanesce ctl store get demo user:42          what the gateway's store has, whatever the cluster has
  evanesce ctl dead-letters list session       writes that a store does not take
  evanesce ctl wait-warm a1 --within 5m        until a node that was started again has its items

Exit codes: 0 done; 1 failed, not all answered, or get and delete found nothing; 2 bad usage.";

/// Ask and steer a running cluster.
#[derive(Debug, Parser)]
#[command(name = "ctl", after_help = EXAMPLES)]
pub(crate) struct Ctl {
    /// The discoveries' gRPC addresses; the first that answers is asked.
    #[arg(
        long,
        global = true,
        env = "EVANESCE_DISCOVERY",
        hide_env_values = true,
        value_name = "ADDR",
        value_delimiter = ',',
        value_parser = crate::config::peer,
        default_value = "127.0.0.1:11300"
    )]
    discovery: Vec<String>,
    /// The cluster; may be left out where the discovery knows only one.
    #[arg(long, global = true, env = "EVANESCE_CLUSTER", hide_env_values = true, value_name = "NAME")]
    cluster: Option<String>,
    /// The zone to read from first in get, set and delete, the first of the topology unless given; where the command line names
    /// it, the only one for wait-warm and rolling-restart.
    #[arg(long, global = true, env = "EVANESCE_ZONE", hide_env_values = true, value_name = "NAME")]
    zone: Option<String>,
    /// The zone where the command line itself names it, and not the environment, which says where a process is: a command
    /// to all nodes must not come to mean some of them by that.
    #[arg(skip)]
    only_zone: Option<String>,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
    /// How long a process may take to answer.
    #[arg(long, global = true, value_name = "TIME", default_value = "2s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Who is there and how they do: the discoveries and nodes of the cluster, or the processes named.
    Status {
        /// gRPC addresses of processes.
        #[arg(value_name = "ADDR")]
        addresses: Vec<String>,
        /// Exit code 1 unless each of them is ready: for health checks and scripts.
        #[arg(long)]
        ready: bool,
    },
    /// The topology: zones, groups, nodes, epoch.
    Topology,
    /// A process's counters and gauges.
    Stats {
        /// A node's name, or the gRPC address of any process.
        #[arg(value_name = "NODE|ADDR")]
        target: String,
    },
    /// Make a process finish what is in flight, deregister and end.
    Drain {
        /// A node's name, or the gRPC address of any process.
        #[arg(value_name = "NODE|ADDR")]
        target: String,
        /// How long that may take; as the process is configured, unless given.
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
        deadline: Option<Duration>,
    },
    /// Restart nodes one by one, zone by zone; each is warm and serves before the next one goes. Refused unless all serve.
    RollingRestart(RollingArgs),
    /// Drop every item, or every item of one namespace, at once. Exit code 1 unless every node asked has done it.
    Flush {
        /// A node's name, or its gRPC address.
        #[arg(value_name = "NODE|ADDR", required_unless_present = "all", conflicts_with = "all")]
        target: Option<String>,
        /// Every node of the cluster.
        #[arg(long)]
        all: bool,
        /// Only the items of this namespace, as the nodes are configured; `default` for the keys of none.
        // A script's empty variable must not come to mean all items.
        #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
        namespace: Option<String>,
        /// Do it: what is dropped does not come back.
        #[arg(long)]
        yes: bool,
    },
    /// Add, remove or replace nodes of a group, while it serves.
    Node {
        #[command(subcommand)]
        verb: NodeVerb,
    },
    /// Add or remove a server group.
    Group {
        #[command(subcommand)]
        verb: GroupVerb,
    },
    /// See how far changes are, or take one back.
    Change {
        #[command(subcommand)]
        verb: ChangeVerb,
    },
    /// Look at a gateway's backing stores, whatever the cluster has.
    Store {
        #[command(subcommand)]
        verb: StoreVerb,
    },
    /// Writes of write-behind namespaces that their store does not take.
    DeadLetters {
        #[command(subcommand)]
        verb: LettersVerb,
    },
    /// Wait until nodes are warm and serve; for use between two restarts. Exit code 1 when they are not in time.
    WaitWarm {
        /// The nodes' names; all nodes, or all of --zone, unless given.
        #[arg(value_name = "NODE")]
        nodes: Vec<String>,
        /// How long to wait.
        #[arg(long, value_name = "TIME", default_value = "15m", value_parser = humantime::parse_duration)]
        within: Duration,
    },
    /// Read a value. Exit code 1 where there is none.
    Get {
        /// The whole key, its namespace included.
        key: String,
        #[command(flatten)]
        nodes: NodeArgs,
    },
    /// Write a value to every zone.
    Set {
        /// The whole key, its namespace included.
        key: String,
        /// The value.
        value: String,
        /// How long it lives; as the client's default unless given.
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
        ttl: Option<Duration>,
        #[command(flatten)]
        nodes: NodeArgs,
    },
    /// Delete a value from every zone. Exit code 1 where there was none.
    Delete {
        /// The whole key, its namespace included.
        key: String,
        #[command(flatten)]
        nodes: NodeArgs,
    },
    /// Which node of each zone the ring names for a key, whether it has the key or not.
    Where {
        /// The whole key, its namespace included.
        key: String,
    },
}

/// How a verb went, but for errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    /// As asked.
    Well,
    /// There was nothing, or not everyone answered: exit code 1 without a word more.
    Short,
}

impl Ctl {
    /// What the command line says.
    pub(crate) fn of(matches: &ArgMatches) -> Self {
        let mut ctl = Self::from_arg_matches(matches).unwrap_or_else(|error| error.exit());
        let is_named = matches.value_source("zone") == Some(ValueSource::CommandLine);
        ctl.only_zone = ctl.zone.clone().filter(|_| is_named);
        ctl
    }

    /// Does one thing and ends.
    pub(crate) fn main(self) -> ExitCode {
        if let Verb::Flush { target, namespace, yes: false, .. } = &self.verb {
            let refused = flush::unconfirmed(target.as_deref(), namespace.as_deref());
            // As clap does for any flag that is missing: exit code 2.
            Self::command().error(ErrorKind::MissingRequiredArgument, refused).exit();
        }
        let outcome = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start a runtime")
            .and_then(|runtime| runtime.block_on(self.run()));
        match outcome {
            Ok(Done::Well) => ExitCode::SUCCESS,
            Ok(Done::Short) => ExitCode::from(EXIT_MISS),
            Err(error) => {
                output::complain(&format!("evanesce ctl: {error:#}"));
                ExitCode::FAILURE
            }
        }
    }

    async fn run(self) -> anyhow::Result<Done> {
        let reach = Reach::new(self.discovery, self.cluster, self.timeout);
        let json = self.json;
        match self.verb {
            Verb::Status { addresses, ready } => process::status(&reach, &addresses, ready, json).await,
            Verb::Topology => ring::topology(&reach, json).await,
            Verb::Stats { target } => process::stats(&reach, &target, json).await,
            Verb::Drain { target, deadline } => process::drain(&reach, &target, deadline, json).await,
            Verb::RollingRestart(args) => {
                rolling::restart(&reach, &args, self.only_zone.as_deref(), json).await
            }
            Verb::Flush { target, namespace, .. } => {
                flush::flush(&reach, target.as_deref(), namespace.as_deref(), json).await
            }
            Verb::Node { verb } => verb.run(&reach, json).await,
            Verb::Group { verb } => verb.run(&reach, json).await,
            Verb::Change { verb } => verb.run(&reach, json).await,
            Verb::Store { verb } => verb.run(&reach, json).await,
            Verb::DeadLetters { verb } => verb.run(&reach, json).await,
            Verb::WaitWarm { nodes, within } => {
                wait_warm(&reach, &Wanted { nodes, zone: self.only_zone, within }, json).await
            }
            Verb::Where { key } => ring::find(&reach, &key, json).await,
            Verb::Get { key, nodes } => item::get(&client(&reach, self.zone, nodes).await?, &key, json).await,
            Verb::Set { key, value, ttl, nodes } => {
                item::set(&client(&reach, self.zone, nodes).await?, &key, value, ttl, json).await
            }
            Verb::Delete { key, nodes } => {
                item::delete(&client(&reach, self.zone, nodes).await?, &key, json).await
            }
        }
    }
}
