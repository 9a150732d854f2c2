//! The verb that drops items.

use evanesce_grpc::admin::v1::FlushRequest;
use evanesce_topology::ServerGroup;
use futures_util::future::join_all;
use serde::Serialize;

use crate::ctl::Done;
use crate::ctl::reach::Reach;
use crate::output;
use crate::table::table;

/// On the wire, what stands for all items.
const ALL_ITEMS: &str = "";

/// One node, and how its flush went.
#[derive(Debug, Serialize)]
struct Flushed {
    /// As the topology or the operator names it.
    node: String,
    /// Where it was asked; none where the node has no gRPC side.
    address: Option<String>,
    #[serde(flatten)]
    answer: Answer,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Answer {
    Items { items: u64 },
    None { error: String },
}

/// What is told to whoever did not say `--yes`.
pub(crate) fn unconfirmed(target: Option<&str>, namespace: Option<&str>) -> String {
    let items = namespace.map_or("every item".to_owned(), |name| format!("every item of namespace {name}"));
    let nodes = target.unwrap_or("every node of the cluster");
    format!("this drops {items} on {nodes}, for good: say --yes to do it")
}

/// `flush`: one node, or every node of the topology.
pub(crate) async fn flush(
    reach: &Reach,
    target: Option<&str>,
    namespace: Option<&str>,
    as_json: bool,
) -> anyhow::Result<Done> {
    let nodes = match target {
        Some(target) => vec![(target.to_owned(), Some(reach.address_of(target).await?))],
        None => {
            let topology = reach.topology().await?;
            let nodes = topology.groups.iter().flat_map(ServerGroup::all_nodes);
            nodes.map(|node| (node.name.clone(), node.grpc.map(|grpc| grpc.to_string()))).collect()
        }
    };
    let namespace = namespace.unwrap_or(ALL_ITEMS);
    let asked = nodes.into_iter().map(|(node, address)| flush_node(reach, node, address, namespace));
    let flushed = join_all(asked).await;
    if as_json {
        output::json(&flushed)?;
    } else {
        output::text(&flushed_table(&flushed))?;
    }
    let all = flushed.iter().all(|flushed| matches!(flushed.answer, Answer::Items { .. }));
    Ok(if all { Done::Well } else { Done::Short })
}

async fn flush_node(reach: &Reach, node: String, address: Option<String>, namespace: &str) -> Flushed {
    let Some(address) = address else {
        let error = "has no gRPC side; start it with --grpc".to_owned();
        return Flushed { node, address: None, answer: Answer::None { error } };
    };
    let asked = async {
        let mut admin = reach.admin(&address).await?;
        reach.within(admin.flush(FlushRequest { namespace: namespace.to_owned() })).await
    };
    let answer = match asked.await {
        Ok(answer) => Answer::Items { items: answer.into_inner().items },
        Err(error) => Answer::None { error: format!("{error:#}") },
    };
    Flushed { node, address: Some(address), answer }
}

fn flushed_table(flushed: &[Flushed]) -> String {
    let rows = flushed.iter().map(|Flushed { node, address, answer }| {
        let (items, outcome) = match answer {
            Answer::Items { items } => (items.to_string(), "flushed".to_owned()),
            Answer::None { error } => ("-".to_owned(), format!("not flushed: {error}")),
        };
        [node.clone(), address.clone().unwrap_or("-".to_owned()), items, outcome]
    });
    table(["node", "gRPC", "items", "outcome"], rows)
}
