//! `incr`, `decr`, `ma`: the key's home zone counts.

use evanesce_client::ArithmeticOutcome;
use evanesce_persister::TierError;
use evanesce_wire::encode::{self, ItemFacts};
use evanesce_wire::error_lines::NON_NUMERIC;
use evanesce_wire::reply::{MetaStatus, Status};
use evanesce_wire::request::{Arithmetic, Direction, Exptime, MetaArithmetic};

use super::store::token;
use super::{Answer, refusal, through, ttl};
use crate::service::{Context, Place};

/// Answers `incr` and `decr`.
pub(super) async fn answer(context: Context<'_>, request: &Arithmetic<'_>) -> Answer {
    let counted = match count(context, request.key, request.direction, request.delta, None).await {
        Ok(counted) => counted,
        Err(error) => return refusal::write(context, &error, request.noreply),
    };
    let mut answer = Answer::default();
    match counted {
        _ if request.noreply => {}
        ArithmeticOutcome::Counted { number, .. } => encode::number(answer.buf(), number),
        ArithmeticOutcome::NotFound => encode::status(answer.buf(), Status::NotFound),
        ArithmeticOutcome::NotANumber => encode::error_line(answer.buf(), NON_NUMERIC),
    }
    answer
}

/// Answers `ma`.
pub(super) async fn meta(context: Context<'_>, request: &MetaArithmetic<'_>) -> Answer {
    if needs_one_node(request) {
        return refusal::unsupported_flag(context);
    }
    let initial = request.vivify.map(|exptime| (request.initial, exptime));
    let counted = count(context, &request.key.bytes, request.direction, request.delta, initial).await;
    let mut answer = Answer::default();
    match counted {
        Ok(ArithmeticOutcome::Counted { number, written }) => {
            let facts = ItemFacts { cas: token(written), ..ItemFacts::default() };
            encode::meta_arithmetic(answer.buf(), request, number, &facts);
        }
        Ok(ArithmeticOutcome::NotFound) => {
            encode::meta_status(answer.buf(), MetaStatus::NotFound, &request.key, &request.flags, None);
        }
        Ok(ArithmeticOutcome::NotANumber) => encode::error_line(answer.buf(), NON_NUMERIC),
        Err(error) => return refusal::write(context, &error, false),
    }
    answer
}

/// Has the home zone count.
pub(super) async fn count(
    context: Context<'_>,
    key: &[u8],
    direction: Direction,
    delta: u64,
    initial: Option<(u64, Exptime)>,
) -> Result<ArithmeticOutcome, TierError> {
    context.counts.cmd_arithmetic.add(1);
    let keys = match context.place(key)? {
        Place::Cluster(keys) => keys,
        Place::Tier(tier) => {
            let count = Box::pin(through::count(&tier, key, direction, delta, initial));
            return context.beside_others(&tier, count).await;
        }
    };
    let operation = match direction {
        Direction::Increment => keys.incr(key, delta),
        Direction::Decrement => keys.decr(key, delta),
    };
    Ok(match initial {
        Some((number, exptime)) => operation.initial(number).ttl(ttl::ttl(exptime)).run().await?,
        None => operation.run().await?,
    })
}

/// Whether the request demands a token, or asks for a version or the remaining time, which arithmetic does not bring.
fn needs_one_node(request: &MetaArithmetic<'_>) -> bool {
    request.compare.is_some()
        || request.cas_override.is_some()
        || request.touch.is_some()
        || request.flags.iter().any(|flag| matches!(flag.letter, b't' | b'V'))
}
