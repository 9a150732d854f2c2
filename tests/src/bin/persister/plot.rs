//! What came when, in a line of text.

use std::time::Duration;

use tokio::time::Instant;

/// What one sign of a plot stands for.
const STEP: Duration = Duration::from_millis(100);
/// More are put together, so that it stays a line.
const SIGNS_MAX: usize = 120;
const SIGNS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// How many came in each step since `begun`, as signs, and the most of any step.
pub(crate) fn plot(came: &[Instant], begun: Instant) -> String {
    let step_of =
        |at: &Instant| (at.saturating_duration_since(begun).as_millis() / STEP.as_millis()) as usize;
    let mut steps = vec![0_usize; came.iter().map(step_of).max().map_or(0, |last| last + 1)];
    came.iter().for_each(|at| steps[step_of(at)] += 1);
    let most = steps.iter().copied().max().unwrap_or(0);
    let together = steps.len().div_ceil(SIGNS_MAX).max(1);
    let sign = |steps: &[usize]| {
        let highest = steps.iter().copied().max().unwrap_or(0);
        SIGNS[(highest * (SIGNS.len() - 1)).div_ceil(most.max(1))]
    };
    let signs: String = steps.chunks(together).map(sign).collect();
    format!("[{signs}] {most} at most")
}
