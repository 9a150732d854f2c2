//! Verbs that change who is in a cluster: nodes and groups come, go and are replaced while it serves.

mod follow;
mod show;

use std::io::IsTerminal;
use std::time::Duration;

use clap::{Args, Subcommand};
use evanesce_grpc::discovery::v1::{
    AbortChangeRequest, ChangeGroupRequest, ChangeGroupResponse, ChangeKind, GetChangesRequest,
    GetChangesResponse,
};
use serde_json::json;

use crate::ctl::Done;
use crate::ctl::reach::Reach;
use crate::output;

const NODE_HELP: &str = "\
How it goes:
  1. The plan is shown: the share of the group's keys that moves, about how many
     bytes, about how long it takes.
  2. With --yes (or `y` at a terminal) it begins. The nodes that get keys are
     filled by those that have them; these are read, and both are written.
  3. When all are filled and clients have had a lease to follow, the new owners
     are read; a lease later the old ones drop what they no longer own. A node
     that was removed stands by then and may be stopped.
The command waits and shows how far it is. Ending it stops nothing: `evanesce ctl
change status` shows the same, and `evanesce ctl change abort GROUP` leads back
to where it began at any time before the end.

A node that died needs none of this: start another under its --name and --group.
It takes over the name with its place on the ring, and the other zones warm it;
`evanesce ctl wait-warm NAME` tells when it is.";

/// How a change is confirmed and followed.
#[derive(Debug, Clone, Args)]
pub(crate) struct Begin {
    /// Begin; without it the plan is shown, and a terminal is asked.
    #[arg(long)]
    yes: bool,
    /// Begin and return, instead of waiting for the end.
    #[arg(long)]
    no_wait: bool,
}

#[derive(Debug, Subcommand)]
#[command(after_help = NODE_HELP)]
pub(crate) enum NodeVerb {
    /// Take nodes into their group. They may be started before or after.
    #[command(after_help = NODE_HELP)]
    Add {
        /// The server group.
        #[arg(value_name = "GROUP")]
        group: String,
        /// The nodes' names.
        #[arg(value_name = "NODE", required = true)]
        nodes: Vec<String>,
        #[command(flatten)]
        begin: Begin,
    },
    /// Take nodes out of their group. Stop them when it is over.
    #[command(after_help = NODE_HELP)]
    Remove {
        /// The server group.
        #[arg(value_name = "GROUP")]
        group: String,
        /// The nodes' names.
        #[arg(value_name = "NODE", required = true)]
        nodes: Vec<String>,
        #[command(flatten)]
        begin: Begin,
    },
    /// Put one node in the place of another: exactly its keys move, and no others.
    #[command(after_help = NODE_HELP)]
    Replace {
        /// The server group.
        #[arg(value_name = "GROUP")]
        group: String,
        /// The node that goes.
        #[arg(value_name = "OLD")]
        old: String,
        /// The node that comes.
        #[arg(value_name = "NEW")]
        new: String,
        #[command(flatten)]
        begin: Begin,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum GroupVerb {
    /// Announce a server group: it is written as soon as it has nodes, and read once they are warm.
    Add {
        /// The server group.
        #[arg(value_name = "GROUP")]
        group: String,
        /// The zone it stands in.
        #[arg(value_name = "ZONE")]
        zone: String,
        /// How many nodes it begins with: it is not read before so many are warm.
        #[arg(long, value_name = "COUNT", default_value_t = 1)]
        nodes: u32,
        #[command(flatten)]
        begin: Begin,
    },
    /// Take a server group out: it is read no more, then written no more, then gone. Stop its nodes then.
    Remove {
        /// The server group.
        #[arg(value_name = "GROUP")]
        group: String,
        #[command(flatten)]
        begin: Begin,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ChangeVerb {
    /// The changes under way, how far they are and what they wait for; and which nodes stand by.
    Status,
    /// Take a group's change back.
    Abort {
        /// The server group.
        #[arg(value_name = "GROUP")]
        group: String,
    },
}

impl NodeVerb {
    pub(crate) async fn run(self, reach: &Reach, as_json: bool) -> anyhow::Result<Done> {
        let (kind, group, nodes, how) = match self {
            Self::Add { group, nodes, begin } => (ChangeKind::AddNodes, group, nodes, begin),
            Self::Remove { group, nodes, begin } => (ChangeKind::RemoveNodes, group, nodes, begin),
            Self::Replace { group, old, new, begin } => {
                (ChangeKind::ReplaceNode, group, vec![old, new], begin)
            }
        };
        let request = ChangeGroupRequest { group, kind: kind.into(), nodes, ..ChangeGroupRequest::default() };
        change(reach, request, &how, as_json).await
    }
}

impl GroupVerb {
    pub(crate) async fn run(self, reach: &Reach, as_json: bool) -> anyhow::Result<Done> {
        let none = ChangeGroupRequest::default();
        let (request, how) = match self {
            Self::Add { group, zone, nodes, begin } => {
                let kind = ChangeKind::AddGroup.into();
                (ChangeGroupRequest { group, zone, kind, nodes_min: nodes, ..none }, begin)
            }
            Self::Remove { group, begin } => {
                (ChangeGroupRequest { group, kind: ChangeKind::RemoveGroup.into(), ..none }, begin)
            }
        };
        change(reach, request, &how, as_json).await
    }
}

impl ChangeVerb {
    pub(crate) async fn run(self, reach: &Reach, as_json: bool) -> anyhow::Result<Done> {
        match self {
            Self::Status => {
                let changes = changes(reach).await?;
                if as_json {
                    output::json(&show::as_json(&changes))?;
                } else {
                    output::text(&show::as_text(&changes))?;
                }
            }
            Self::Abort { group } => {
                let request = AbortChangeRequest { cluster: reach.cluster(), group: group.clone() };
                let ask = async |mut discovery: super::reach::Discovery| {
                    reach.within(discovery.abort_change(request.clone())).await
                };
                let said = reach.ask_discovery(ask).await?.into_inner().said;
                if as_json {
                    output::json(&json!({ "group": group, "aborted": true, "said": said }))?;
                } else {
                    output::text(&format!("{group}: {said}\n"))?;
                }
            }
        }
        Ok(Done::Well)
    }
}

/// Shows the plan, begins when that is confirmed, and follows it to its end.
async fn change(
    reach: &Reach,
    request: ChangeGroupRequest,
    how: &Begin,
    as_json: bool,
) -> anyhow::Result<Done> {
    let request = ChangeGroupRequest { cluster: reach.cluster(), ..request };
    let planned = ask(reach, &request).await?;
    let Some(plan) = planned.plan else { anyhow::bail!("it sent no plan; is its release another?") };
    if as_json && !how.yes {
        output::json(&show::plan_json(&plan, None))?;
    } else if !as_json {
        output::text(&show::plan(&plan))?;
    }
    if !how.yes && (as_json || !confirmed()) {
        output::complain("nothing was changed: say --yes to begin");
        return Ok(Done::Short);
    }
    let begun = ask(reach, &ChangeGroupRequest { begin: true, ..request }).await?;
    if how.no_wait {
        if as_json {
            output::json(&show::plan_json(&plan, Some(begun.change)))?;
        } else {
            output::text("it has begun; see `evanesce ctl change status`\n")?;
        }
        return Ok(Done::Well);
    }
    let ended = follow::to_the_end(reach, &plan, begun.change).await?;
    if as_json {
        output::json(&json!({
            "plan": show::plan_json(&plan, Some(begun.change)),
            "done": ended.is_done,
            "took_ms": ended.took.as_millis() as u64,
        }))?;
    } else {
        let took = humantime::format_duration(Duration::from_millis(ended.took.as_millis() as u64));
        output::text(&format!("{} after {took}\n", if ended.is_done { "done" } else { "aborted" }))?;
    }
    Ok(if ended.is_done { Done::Well } else { Done::Short })
}

async fn ask(reach: &Reach, request: &ChangeGroupRequest) -> anyhow::Result<ChangeGroupResponse> {
    let ask = async |mut discovery: super::reach::Discovery| {
        reach.within(discovery.change_group(request.clone())).await
    };
    Ok(reach.ask_discovery(ask).await?.into_inner())
}

async fn changes(reach: &Reach) -> anyhow::Result<GetChangesResponse> {
    let request = GetChangesRequest { cluster: reach.cluster() };
    let ask = async |mut discovery: super::reach::Discovery| {
        reach.within(discovery.get_changes(request.clone())).await
    };
    Ok(reach.ask_discovery(ask).await?.into_inner())
}

/// Whether somebody at a terminal says yes.
fn confirmed() -> bool {
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        return false;
    }
    output::complain("begin? [y/N]");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).is_ok() && matches!(line.trim(), "y" | "Y" | "yes")
}
