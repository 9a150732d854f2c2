//! The disk of the log is full: a small file system of the gateway's own.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use evanesce_tests::Verdict;
use tokio::time::{Instant, sleep};

use super::Ground;
use crate::same_keys::Newest;
use crate::stage::Gateway;
use crate::talk::{Got, Put, Talk};

/// Of so many megabytes half are somebody else's at first.
const DISK: &str = "size=4m";
const OTHERS_BYTES: usize = 2 << 20;
/// Larger than what is left over when a few more bytes fit.
const VALUE_BYTES: usize = 16 << 10;
/// More writes fit no such disk.
const WRITES_MAX: usize = 2_000;
/// Refusals in a row: it is full.
const REFUSALS: usize = 10;
/// There is room again by then.
const ROOM_LIMIT: Duration = Duration::from_secs(60);

pub(super) async fn play(ground: &Ground, verdict: &mut Verdict) -> anyhow::Result<()> {
    let mut gateway = ground.stage.gateway("killed-full", 0, &ground.file("full", ""))?;
    let log = gateway.directory.join("log");
    std::fs::create_dir_all(&log)?;
    on_own_disk(&mut gateway, &log.display().to_string());
    gateway.start()?;
    // As the gateway sees it.
    let others = PathBuf::from(format!("/proc/{}/root{}/others", gateway.pid()?, log.display()));
    std::fs::write(&others, vec![0; OTHERS_BYTES])?;
    ground.freeze()?;
    let mut disk = Disk { talk: Talk::to(gateway.address).await?, next: 0, newest: Newest::new() };
    let first = disk.fill(verdict).await?;
    std::fs::remove_file(&others)?;
    disk.takes_writes("when others made room").await?;
    let second = disk.fill(verdict).await?;
    ground.thaw()?;
    disk.takes_writes("when the store is back").await?;
    gateway.drained("full").await?;
    ground.has_all(&disk.newest, "though the disk was full", verdict).await?;
    verdict.figure(format!(
        "a full disk: {first} writes of {VALUE_BYTES} bytes, {second} more when there was room, all in the store; it goes on when the \
         store has them"
    ));
    Ok(())
}

/// What starts it makes the file system first, in a place that no other process sees.
fn on_own_disk(gateway: &mut Gateway, log: &str) {
    let alone = if rustix::process::geteuid().is_root() { "-m" } else { "-rm" };
    let script = format!("mount -t tmpfs -o {DISK} tmpfs \"$0\" && exec \"$@\"");
    let before = ["unshare", alone, "sh", "-c", &script, log];
    gateway.command = before.into_iter().map(str::to_owned).chain(gateway.command.drain(..)).collect();
}

struct Disk {
    talk: Talk,
    next: usize,
    newest: Newest,
}

impl Disk {
    async fn write(&mut self) -> anyhow::Result<Option<String>> {
        self.next += 1;
        let (key, value) = (format!("full:{}", self.next), format!("{:0VALUE_BYTES$}", self.next));
        Ok(match self.talk.put(&key, &value).await? {
            Put::Refused(line) => Some(line),
            Put::Stored(version) => {
                self.newest.insert(key, (version, value));
                None
            }
        })
    }

    /// Writes until the disk is full; how many were taken.
    async fn fill(&mut self, verdict: &mut Verdict) -> anyhow::Result<usize> {
        let (before, mut refused) = (self.newest.len(), Vec::new());
        while refused.len() < REFUSALS {
            ensure!(self.next < WRITES_MAX, "the disk is never full");
            match self.write().await? {
                Some(line) => refused.push(line),
                None => refused.clear(),
            }
        }
        refused.retain(|line| !line.contains("make room on its disk"));
        verdict.none("refusals do not say what to do", &refused);
        // What was taken is there, from the cluster or the log.
        let last = self.newest.keys().next().cloned().unwrap_or_default();
        let got = self.talk.get(&last).await?;
        verdict.must(
            got == Got::Value(self.newest[&last].1.clone()),
            format!("{last} is gone while the disk is full"),
        );
        Ok(self.newest.len() - before)
    }

    async fn takes_writes(&mut self, when: &str) -> anyhow::Result<()> {
        let begun = Instant::now();
        while let Some(line) = self.write().await? {
            ensure!(begun.elapsed() < ROOM_LIMIT, "no write is taken {when}: {line}");
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }
}
