//! Plans and changes for people and for programs.

use std::fmt::Write;
use std::time::Duration;

use bytesize::ByteSize;
use evanesce_grpc::discovery::v1::{GetChangesResponse, GroupStatus, NodeReport, NodeState, Plan, Stage};
use serde_json::{Value, json};

use crate::table::table;

/// A stage in a word.
pub(super) fn stage(stage: Stage) -> &'static str {
    match stage {
        Stage::Unspecified => "unknown",
        Stage::Steady => "steady",
        Stage::Filling => "filling",
        Stage::Switched => "switched",
        Stage::Opening => "opening",
        Stage::Leaving => "leaving",
        Stage::Left => "left",
        Stage::Gone => "gone",
    }
}

fn state(state: NodeState) -> &'static str {
    match state {
        NodeState::Unspecified => "unknown",
        NodeState::Joining => "joining",
        NodeState::Warming => "warming",
        NodeState::Serving => "serving",
        NodeState::Draining => "draining",
        NodeState::Down => "down",
    }
}

pub(super) fn plan(plan: &Plan) -> String {
    let mut text = format!("change  {}\n", plan.what);
    if !plan.before.is_empty() || !plan.after.is_empty() {
        let list = |names: &[String]| if names.is_empty() { "nobody".to_owned() } else { names.join(", ") };
        let _ = writeln!(text, "ring    {}  ->  {}", list(&plan.before), list(&plan.after));
    }
    if plan.moved_per_million > 0 {
        let share = f64::from(plan.moved_per_million) / 10_000.0;
        let _ = writeln!(
            text,
            "moves   {share:.1} % of the group's keys: about {} items, {}",
            plan.items,
            ByteSize(plan.bytes)
        );
    }
    let takes = Duration::from_secs(plan.takes_ms.div_ceil(1000));
    let _ = writeln!(text, "takes   about {}", humantime::format_duration(takes));
    for remark in &plan.remarks {
        let _ = writeln!(text, "note    {remark}");
    }
    text
}

pub(super) fn plan_json(plan: &Plan, change: Option<u64>) -> Value {
    json!({
        "cluster": plan.cluster,
        "group": plan.group,
        "what": plan.what,
        "before": plan.before,
        "after": plan.after,
        "moved_per_million": plan.moved_per_million,
        "items": plan.items,
        "bytes": plan.bytes,
        "takes_ms": plan.takes_ms,
        "remarks": plan.remarks,
        "begun": change.is_some(),
        "change": change,
    })
}

/// Which nodes are on which rings, how full they are, and what is waited for.
pub(super) fn as_text(changes: &GetChangesResponse) -> String {
    let under_way: Vec<_> = changes.groups.iter().filter(|group| is_under_way(group)).collect();
    let mut text = String::new();
    if under_way.is_empty() {
        let _ = writeln!(text, "no change is under way in cluster {}", changes.cluster);
    }
    for group in under_way {
        let Some(roster) = &group.roster else { continue };
        let since = humantime::format_duration(Duration::from_secs(group.stage_ms / 1000));
        let _ = writeln!(text, "{}: {}, {since}", roster.what, stage(roster.stage()));
        if !group.waits_for.is_empty() {
            let _ = writeln!(text, "  waits for {}", group.waits_for);
        }
        let header =
            ["node", "state", "ring", "items", "bytes", "filled", "received", "compared", "forwards waiting"];
        let rows = group.nodes.iter().map(|node| {
            let report = node.report.clone().unwrap_or_default();
            let on = |places: &[evanesce_grpc::discovery::v1::Place]| {
                places.iter().any(|place| place.name == node.name)
            };
            let ring = match (on(&roster.nodes), on(&roster.others)) {
                (true, true) => "both",
                (false, true) => "second",
                _ => "first",
            };
            [
                node.name.clone(),
                state(node.state()).to_owned(),
                ring.to_owned(),
                report.items.to_string(),
                ByteSize(report.item_bytes).to_string(),
                filled(&report, roster.change),
                format!("{} items, {}{}", report.fill_items, ByteSize(report.fill_bytes), rate(&report)),
                compared(&report, roster.change),
                report.forward_pending.to_string(),
            ]
        });
        text += &table(header, rows);
    }
    for node in &changes.standing_by {
        let _ = writeln!(text, "{} of group {} stands by: {}", node.name, node.group, state(node.state()));
    }
    text
}

/// Whether a node is filled for a change; how far it is, and how long it takes still, where it is not.
fn filled(report: &NodeReport, change: u64) -> String {
    if report.filled == change {
        return "yes".to_owned();
    }
    match left(report) {
        Some(left) if report.filling == change => {
            let percent = report.fill_per_mille / 10;
            format!("{percent} %, about {} left", humantime::format_duration(left))
        }
        _ => "no".to_owned(),
    }
}

/// How long a fill takes still, as far as can be told by how long it took so far.
pub(super) fn left(report: &NodeReport) -> Option<Duration> {
    let done = report.fill_per_mille.min(1000);
    (done > 0).then(|| Duration::from_secs((report.fill_ms * (1000 - done) / done).div_ceil(1000)))
}

fn rate(report: &NodeReport) -> String {
    match report.fill_ms {
        0 => String::new(),
        ms => format!(" ({}/s)", ByteSize((u128::from(report.fill_bytes) * 1000 / u128::from(ms)) as u64)),
    }
}

/// What the comparison with the givers came to.
fn compared(report: &NodeReport, change: u64) -> String {
    match (report.filled == change, report.verified_items) {
        (false, _) => String::new(),
        (true, 0) if report.fill_items > 0 => "no".to_owned(),
        (true, items) => {
            format!("{items} items, {} mended, {} left", report.verified_mended, report.verified_left)
        }
    }
}

pub(super) fn as_json(changes: &GetChangesResponse) -> Value {
    json!({
        "cluster": changes.cluster,
        "groups": changes.groups.iter().map(group_json).collect::<Vec<_>>(),
        "standing_by": changes.standing_by.iter().map(|node| json!({
            "group": node.group,
            "node": node.name,
            "state": state(node.state()),
        })).collect::<Vec<_>>(),
    })
}

fn group_json(group: &GroupStatus) -> Value {
    let roster = group.roster.clone().unwrap_or_default();
    let names = |places: &[evanesce_grpc::discovery::v1::Place]| {
        places.iter().map(|place| place.name.clone()).collect::<Vec<_>>()
    };
    json!({
        "group": roster.group,
        "zone": roster.zone,
        "what": roster.what,
        "change": roster.change,
        "stage": stage(roster.stage()),
        "stage_ms": group.stage_ms,
        "under_way": is_under_way(group),
        "waits_for": group.waits_for,
        "ring": names(&roster.nodes),
        "second_ring": names(&roster.others),
        "nodes": group.nodes.iter().map(|node| {
            let report = node.report.clone().unwrap_or_default();
            json!({
                "node": node.name,
                "state": state(node.state()),
                "items": report.items,
                "item_bytes": report.item_bytes,
                "filled": report.filled == roster.change,
                "fill_items": report.fill_items,
                "fill_bytes": report.fill_bytes,
                "fill_ms": report.fill_ms,
                "fill_per_mille": report.fill_per_mille,
                "fill_left_ms": left(&report).map(|left| left.as_millis() as u64),
                "verified_items": report.verified_items,
                "verified_mended": report.verified_mended,
                "verified_left": report.verified_left,
                "forward_pending": report.forward_pending,
                "forward_dropped": report.forward_dropped,
                "trouble": report.trouble,
            })
        }).collect::<Vec<_>>(),
    })
}

fn is_under_way(group: &GroupStatus) -> bool {
    let stage = group.roster.as_ref().map(evanesce_grpc::discovery::v1::Roster::stage);
    !matches!(stage, None | Some(Stage::Steady | Stage::Gone | Stage::Unspecified))
}
