//! `incr`, `decr`.

use evanesce_store::{Arithmetic as Operation, ArithmeticOutcome, Direction as StoreDirection};
use evanesce_wire::encode;
use evanesce_wire::error_lines::{NON_NUMERIC, OUT_OF_MEMORY};
use evanesce_wire::reply::Status;
use evanesce_wire::request::{Arithmetic, Direction};

use super::{Context, error, hidden, tell, word};

pub(super) fn execute(request: &Arithmetic<'_>, context: &Context<'_>, out: &mut Vec<u8>) {
    let operation = Operation {
        key: request.key,
        direction: direction(request.direction),
        delta: request.delta,
        initial: None,
        touch: None,
        compare: None,
        cas_override: None,
        decides: None,
    };
    let outcome = hidden::arithmetic(&operation, context);
    count(&outcome, request.direction, context);
    tell::counted(request.key, operation.direction, &outcome, context);
    match outcome {
        ArithmeticOutcome::Number { number, .. } if !request.noreply => encode::number(out, number),
        ArithmeticOutcome::Number { .. } => {}
        ArithmeticOutcome::NotFound => word(out, Status::NotFound, request.noreply),
        ArithmeticOutcome::NotANumber => error(out, NON_NUMERIC, request.noreply),
        // `Exists` cannot be: no token was demanded.
        _ => error(out, OUT_OF_MEMORY, request.noreply),
    }
}

pub(super) fn direction(direction: Direction) -> StoreDirection {
    match direction {
        Direction::Increment => StoreDirection::Increment,
        Direction::Decrement => StoreDirection::Decrement,
    }
}

pub(super) fn count(outcome: &ArithmeticOutcome, direction: Direction, context: &Context<'_>) {
    let commands = context.commands;
    let counter = match (outcome, direction) {
        (ArithmeticOutcome::Number { created: false, .. }, Direction::Increment) => &commands.incr_hits,
        (ArithmeticOutcome::Number { created: false, .. }, Direction::Decrement) => &commands.decr_hits,
        (ArithmeticOutcome::Number { .. } | ArithmeticOutcome::NotFound, Direction::Increment) => {
            &commands.incr_misses
        }
        (ArithmeticOutcome::Number { .. } | ArithmeticOutcome::NotFound, Direction::Decrement) => {
            &commands.decr_misses
        }
        (ArithmeticOutcome::Exists, _) => &commands.cas_badval,
        (ArithmeticOutcome::OutOfMemory, _) => &commands.store_no_memory,
        _ => return,
    };
    counter.add(1);
}
