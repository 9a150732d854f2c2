//! The log's end is torn, and a byte in its middle has flipped.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use evanesce_tests::Verdict;

use super::Ground;
use crate::same_keys::{Newest, put};
use crate::stage::logs;
use crate::talk::Talk;

/// Writes that wait, of which one is damaged.
const KEYS: usize = 200;
const DAMAGED: usize = 100;

pub(super) async fn play(ground: &Ground, verdict: &mut Verdict) -> anyhow::Result<()> {
    let mut gateway = ground.stage.started("killed-damaged", 0, &ground.file("torn", ""))?;
    ground.freeze()?;
    let mut newest = Newest::new();
    let mut talk = Talk::to(gateway.address).await?;
    for number in 0..KEYS {
        let (key, value) = (format!("torn:{number:03}"), format!("value-{number:03}"));
        newest.insert(key.clone(), (put(&mut talk, &key, &value).await?, value));
    }
    gateway.kill();
    damage(&segment(&gateway.directory.join("log/torn"))?)?;
    gateway.start()?;
    logs(&gateway, "the end of a file of the log is no whole write")?;
    logs(&gateway, "the log is damaged")?;
    let waiting = gateway.number("torn:log_waiting").await?;
    verdict.must(waiting == KEYS as u64 - 1, format!("{waiting} writes wait, not all but the damaged one"));
    ground.thaw()?;
    gateway.drained("torn").await?;
    newest.remove(&format!("torn:{DAMAGED:03}"));
    ground.has_all(&newest, "that were not damaged", verdict).await?;
    verdict.figure(format!(
        "a torn tail and a flipped byte in the log: told, and {} of {KEYS} writes kept",
        newest.len()
    ));
    Ok(())
}

/// The file of the log that has the writes.
fn segment(directory: &Path) -> anyhow::Result<PathBuf> {
    let mut largest = None;
    for file in std::fs::read_dir(directory)? {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            largest = largest.max(Some((path.metadata()?.len(), path)));
        }
    }
    Ok(largest.context("there is no log")?.1)
}

/// Flips a byte of one write, and adds the beginning of another at the end.
fn damage(segment: &Path) -> anyhow::Result<()> {
    let bytes = std::fs::read(segment)?;
    let value = format!("value-{DAMAGED:03}");
    let at = bytes.windows(value.len()).position(|window| window == value.as_bytes());
    let at = at.context("the log does not have the write")?;
    ensure!(bytes.len() > 40, "the log is empty");
    let file = std::fs::OpenOptions::new().write(true).open(segment)?;
    file.write_all_at(b"V", at as u64)?;
    file.write_all_at(&bytes[..40], bytes.len() as u64)?;
    Ok(())
}
