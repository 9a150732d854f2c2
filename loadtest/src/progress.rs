//! The progress bar, for whoever watches.

use std::io::IsTerminal;
use std::path::Path;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::tally::Tally;

const TEMPLATE: &str = "{elapsed_precise} {wide_bar} {human_pos}/{human_len} {msg}";

/// A bar on a terminal's stderr; nothing elsewhere.
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A bar for a replay of a trace. Reads the trace once to know its length, if anyone watches.
    pub(crate) fn new(trace: &Path, limit: Option<u64>) -> Progress {
        if !std::io::stderr().is_terminal() {
            return Progress { bar: ProgressBar::hidden() };
        }
        let requests = crate::trace::Trace::count(trace).unwrap_or(0).min(limit.unwrap_or(u64::MAX));
        let bar = ProgressBar::with_draw_target(Some(requests), ProgressDrawTarget::stderr());
        bar.set_style(ProgressStyle::with_template(TEMPLATE).expect("the template is well formed"));
        Progress { bar }
    }

    /// Shows where the run stands, and its last interval.
    pub(crate) fn show(&self, total: &Tally, last: &Tally, width: Duration) {
        if self.bar.is_hidden() {
            return;
        }
        self.bar.set_position(total.requests);
        let ratio = total.hit_ratio() * 100.0;
        let rate = last.requests as f64 / width.as_secs_f64();
        let (p99, faults) = (last.read_us.value_at_quantile(0.99), total.faults());
        self.bar.set_message(format!("{rate:.0}/s hits {ratio:.2} % p99 {p99} us errors {faults}"));
    }

    /// Leaves the line.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
