//! `ma`.

use evanesce_store::{Arithmetic as Operation, ArithmeticOutcome};
use evanesce_wire::encode::{self, ItemFacts};
use evanesce_wire::error_lines::{NON_NUMERIC, OUT_OF_MEMORY};
use evanesce_wire::reply::MetaStatus;
use evanesce_wire::request::MetaArithmetic;

use super::{Context, arithmetic, expiry, hidden, tell, version};

pub(super) fn execute(request: &MetaArithmetic<'_>, context: &Context<'_>, out: &mut Vec<u8>) {
    context.commands.cmd_meta.add(1);
    let refuse = |told, out: &mut Vec<u8>| {
        encode::meta_versioned(out, MetaStatus::NotStored, &request.key, &request.flags, None, told);
    };
    let decides = match version::decides(request.decides, request.even_settling, context) {
        Ok(decides) => decides,
        Err(told) => return refuse(told, out),
    };
    let key = &*request.key.bytes;
    let promise = decides.map(|_| context.shared.promises.of(key));
    let decides =
        match promise.as_ref().map_or(Ok(None), |promise| version::agreed(decides, promise, key, context)) {
            Ok(decides) => decides,
            Err(told) => return refuse(told, out),
        };
    let resolve = |exptime| expiry::resolve(exptime, context.now);
    let made_until = |exptime| expiry::made_until(exptime, request.touch, &request.flags);
    let operation = Operation {
        key: &request.key.bytes,
        direction: arithmetic::direction(request.direction),
        delta: request.delta,
        initial: request.vivify.map(made_until).map(|exptime| (request.initial, resolve(exptime))),
        touch: request.touch.map(resolve),
        compare: request.compare,
        cas_override: request.cas_override,
        decides,
    };
    let outcome = hidden::arithmetic(&operation, context);
    version::kept(promise, matches!(outcome, ArithmeticOutcome::Number { .. }));
    arithmetic::count(&outcome, request.direction, context);
    tell::counted(&request.key.bytes, operation.direction, &outcome, context);
    let status = match outcome {
        ArithmeticOutcome::Number { number, cas, version, expiry, .. } => {
            let ttl_secs = expiry::remaining_secs(expiry, context.now);
            let facts = ItemFacts { cas, ttl_secs, version: version.0, ..ItemFacts::default() };
            return encode::meta_arithmetic(out, request, number, &facts);
        }
        ArithmeticOutcome::DecidedElsewhere => return refuse(version::DECIDED_ELSEWHERE, out),
        ArithmeticOutcome::NotFound => MetaStatus::NotFound,
        ArithmeticOutcome::Exists => MetaStatus::Exists,
        ArithmeticOutcome::NotANumber => return encode::error_line(out, NON_NUMERIC),
        _ => return encode::error_line(out, OUT_OF_MEMORY),
    };
    encode::meta_status(out, status, &request.key, &request.flags, None);
}
