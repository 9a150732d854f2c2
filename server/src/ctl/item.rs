//! Verbs that try the cache, through the smart client.
use crate::ctl::Done;
use crate::ctl::reach::Reach;
use std::time::Duration;
pub(crate) async fn get(_: &Reach, _: Option<String>, _: &str, _: bool) -> anyhow::Result<Done> {
    anyhow::bail!("later")
}
pub(crate) async fn delete(_: &Reach, _: Option<String>, _: &str, _: bool) -> anyhow::Result<Done> {
    anyhow::bail!("later")
}
pub(crate) async fn set(
    _: &Reach,
    _: Option<String>,
    _: &str,
    _: String,
    _: Option<Duration>,
    _: bool,
) -> anyhow::Result<Done> {
    anyhow::bail!("later")
}
