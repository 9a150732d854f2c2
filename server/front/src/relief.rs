//! Who is closed when a budget is exhausted: whoever has held on for longest, not whoever comes next.

use std::cell::Cell;
use std::time::Duration;

use crate::slot::Held;
use crate::worker::Worker;

/// How long a connection may hold memory for one request, or for replies not read, while others need it: longer than a
/// healthy peer takes for the largest of either. Below that the newcomer has to go, or new ones would close each other.
const HELD_GRACE: Duration = Duration::from_secs(2);

/// Makes room in the budgets of a worker's front.
#[derive(Debug, Default)]
pub(crate) struct Relief {
    /// When no connection had held input for long: until time goes on, that stays so.
    none_of_input: Cell<Option<Duration>>,
    none_of_output: Cell<Option<Duration>>,
    input_asked: Cell<usize>,
    output_asked: Cell<usize>,
}

impl Relief {
    /// Closes those of the worker's connections that have held on for longest, until `bytes` are free, as soon as they
    /// have had their turn. False when none has held on for long; other workers are asked then.
    pub(crate) fn relieve(&self, worker: &Worker, held: Held, bytes: usize) -> bool {
        let now = worker.now();
        let (none, asked, budget) = match held {
            Held::Input => (&self.none_of_input, &self.input_asked, &worker.counters.input),
            Held::Output => (&self.none_of_output, &self.output_asked, &worker.counters.output),
        };
        // Nobody is looked for twice at one time: there may be ten thousand of them.
        if none.get() != Some(now) && close_longest(worker, held, bytes) {
            return true;
        }
        none.set(Some(now));
        asked.set(budget.ask_others());
        false
    }

    /// Does what other workers asked for.
    pub(crate) fn help(&self, worker: &Worker) {
        let kinds = [
            (Held::Input, &self.input_asked, &worker.counters.input),
            (Held::Output, &self.output_asked, &worker.counters.output),
        ];
        for (held, known, budget) in kinds {
            let asked = budget.asked();
            if known.replace(asked) != asked {
                close_longest(worker, held, worker.config.limits.value_bytes_max);
            }
        }
    }
}

fn close_longest(worker: &Worker, held: Held, bytes: usize) -> bool {
    let is_long = |since: Duration| worker.now().saturating_sub(since) > HELD_GRACE;
    let mut holders = worker.holders(held);
    holders.retain(|(since, _, _)| is_long(*since));
    holders.sort_by_key(|(since, _, _)| *since);
    let mut freed = 0;
    for (_, holds, slot) in &holders {
        if freed >= bytes {
            break;
        }
        slot.close_stalled();
        freed += holds;
    }
    freed > 0
}
