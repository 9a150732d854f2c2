//! `touch`.

use evanesce_wire::encode;
use evanesce_wire::reply::Status;
use evanesce_wire::request::Touch;

use super::{Answer, refusal, ttl};
use crate::service::Context;

pub(super) async fn answer(context: Context<'_>, touch: &Touch<'_>) -> Answer {
    context.counts.cmd_touch.add(1);
    let touched = match context.shared.keys.touch(touch.key, ttl::ttl(touch.exptime)).run().await {
        Ok(touched) => touched,
        Err(error) => return refusal::write(context, &error, touch.noreply),
    };
    let mut answer = Answer::default();
    if !touch.noreply {
        encode::status(answer.buf(), if touched.found { Status::Touched } else { Status::NotFound });
    }
    answer
}
