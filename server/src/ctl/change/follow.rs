//! A change, from its beginning to its end, on somebody's screen.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use anyhow::bail;
use evanesce_grpc::discovery::v1::{GetChangesResponse, GroupStatus, Plan, Stage};
use tokio::time::{Instant, sleep};

use super::{changes, show};
use crate::ctl::reach::Reach;

/// Between two looks: what a person takes for at once.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// How long no discovery may answer before the screen gives up; the change goes on.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Cells of the bar.
const BAR_CELLS: u64 = 30;

/// How a change ended.
pub(super) struct Ended {
    pub(super) is_done: bool,
    pub(super) took: Duration,
}

pub(super) async fn to_the_end(reach: &Reach, plan: &Plan, change: u64) -> anyhow::Result<Ended> {
    let began = Instant::now();
    let mut answered = began;
    let mut screen = Screen::new();
    loop {
        match changes(reach).await {
            Ok(found) => {
                answered = Instant::now();
                if let Some(is_done) = look(&found, plan, change, began, &mut screen) {
                    screen.end();
                    return Ok(Ended { is_done, took: began.elapsed() });
                }
            }
            Err(error) if answered.elapsed() > SILENCE_MAX => {
                screen.end();
                bail!("the change goes on, but nobody tells how far it is: {error:#}");
            }
            Err(_) => {}
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Whether the change was carried through, once it is over.
fn look(
    found: &GetChangesResponse,
    plan: &Plan,
    change: u64,
    began: Instant,
    screen: &mut Screen,
) -> Option<bool> {
    let of_group =
        |status: &&GroupStatus| status.roster.as_ref().is_some_and(|held| held.group == plan.group);
    let status = found.groups.iter().find(of_group)?;
    let roster = status.roster.as_ref()?;
    // Another registry than the one that began it hears of it within a renewal.
    if roster.change < change {
        return None;
    }
    let is_ours = roster.change == change && !roster.what.starts_with("abort: ");
    match roster.stage() {
        Stage::Steady | Stage::Gone => Some(is_ours),
        _ if roster.change != change => Some(false),
        stage => {
            screen.show(&line(status, stage, plan, change, began));
            None
        }
    }
}

fn line(status: &GroupStatus, stage: Stage, plan: &Plan, change: u64, began: Instant) -> String {
    let reports = status.nodes.iter().filter_map(|node| node.report.as_ref());
    let ours = reports.filter(|report| report.filling == change || report.filled == change);
    let items = ours.map(|report| report.fill_items).sum::<u64>();
    let waits =
        if status.waits_for.is_empty() { String::new() } else { format!(", waits for {}", status.waits_for) };
    let elapsed = began.elapsed().as_secs();
    if stage != Stage::Filling || plan.items == 0 {
        return format!("{:8} {elapsed:4} s{waits}", show::stage(stage));
    }
    // What the plan counted has grown or shrunk since.
    let done = items.min(plan.items);
    let cells = done * BAR_CELLS / plan.items;
    let bar: String = (0..BAR_CELLS).map(|cell| if cell < cells { '#' } else { '.' }).collect();
    let percent = done * 100 / plan.items;
    format!("{:8} {elapsed:4} s [{bar}] {percent:3} % {items} items{waits}", show::stage(stage))
}

/// One line that is written anew, at a terminal; elsewhere a line at each change of its first word.
struct Screen {
    is_terminal: bool,
    last: String,
}

impl Screen {
    fn new() -> Self {
        Self { is_terminal: io::stderr().is_terminal(), last: String::new() }
    }

    fn show(&mut self, line: &str) {
        let mut out = io::stderr().lock();
        let word = |line: &str| line.split(' ').next().map(str::to_owned);
        // Where nobody reads, there is nobody to tell.
        if self.is_terminal {
            let _ = write!(out, "\r\x1b[2K{line}").and_then(|()| out.flush());
        } else if word(line) != word(&self.last) {
            let _ = writeln!(out, "{line}");
        }
        line.clone_into(&mut self.last);
    }

    fn end(&self) {
        if self.is_terminal && !self.last.is_empty() {
            let _ = writeln!(io::stderr().lock());
        }
    }
}
