//! One comparison with one node.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use evanesce_grpc::peer::v1::finding::What;
use evanesce_grpc::peer::v1::{DigestRequest, DigestResponse, Entry, Finding, ListKeysRequest, Pair, Slices};
use evanesce_store::{Digest, SLICES_MAX, Sums, Version, Walked, fingerprint};
use tokio::time::{Instant, timeout};
use tonic::Status;

use super::others::{Group, Other, Others};
use super::scan::{Haste, Pace, Scan};
use super::scope::{Scope, Wanted};
use super::source::ENTRIES_MAX;
use super::take::{is_key, take};
use super::tally::Tally;
use crate::shared::Shared;

/// Items of a slice: of one that differs all are told, and a slice costs as much as half an item's key.
const SLICE_ITEMS: u64 = 64;

/// Fewest slices: they cost nothing.
const SLICES_MIN: usize = 256;

/// How long a peer may take to walk through its items: a gigabyte in small items on a core that has no time.
const DIGEST_MAX: Duration = Duration::from_secs(10 * 60);

/// How long a listing may bring nothing: far longer than a step and its rest.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// What a round wants.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mode {
    pub(super) haste: Haste,
    /// From which version on this node may have missed something.
    pub(super) gap: Option<Version>,
    /// Keys that are not here are brought when they are newer.
    pub(super) keeps_since: Version,
}

/// One comparison.
pub(super) struct Exchange<'a> {
    pub(super) shared: &'a Arc<Shared>,
    pub(super) others: &'a Others,
    pub(super) group: &'a Group,
    pub(super) other: &'a Other,
    pub(super) mode: Mode,
    pub(super) tally: &'a mut Tally,
}

impl Exchange<'_> {
    /// Compares, and takes what is newer there. Whether the other has all it is to hold.
    pub(super) async fn run(mut self, pair: Pair) -> Result<bool, Status> {
        let scope = Arc::new(Scope::new(pair.clone()).map_err(|error| Status::internal(error.to_string()))?);
        let slices = self.slices();
        let request = DigestRequest {
            pair: Some(pair.clone()),
            slices: Some(slices),
            at_once: self.mode.haste.is_any(),
        };
        let mut client = self.other.client.clone();
        let theirs = async {
            let answer = timeout(DIGEST_MAX, client.digest(request)).await;
            Ok(answer.map_err(|_| Status::deadline_exceeded("it does not answer"))??.into_inner())
        };
        let (theirs, mine) = tokio::try_join!(theirs, self.sums(&scope, slices))?;
        self.tally.compared += mine.digests().iter().map(|digest| digest.items).sum::<u64>();
        let wanted = differing(mine.digests(), &theirs)?;
        if wanted.is_empty() {
            return Ok(theirs.settled);
        }
        let named = Arc::new(Wanted::new(mine, &wanted));
        // What is there may have been deleted without its knowing: only what it has for sure is brought. Before anything is
        // deleted here: many deletes raise the floor below which nothing is brought.
        if theirs.settled && wanted.iter().any(|at| theirs.items[*at as usize] > 0) {
            let request = ListKeysRequest {
                pair: Some(pair),
                slices: Some(slices),
                at_once: self.mode.haste.is_any(),
                wanted,
                after_version: self.mode.keeps_since.0,
            };
            self.bring_absent(request).await?;
        }
        self.ask_about_own(&scope, &named, theirs.settled).await?;
        Ok(theirs.settled)
    }

    fn slices(&self) -> Slices {
        let count = (self.shared.store.stats().items / SLICE_ITEMS) as usize;
        let count = count.clamp(SLICES_MIN, SLICES_MAX) as u32;
        // The standard library's random hasher keys come from the system's source of randomness.
        Slices { salt: RandomState::new().hash_one(count), count }
    }

    async fn sums(&self, scope: &Arc<Scope>, slices: Slices) -> Result<Sums, Status> {
        let mut scan = Scan::new(self.shared, self.mode.haste);
        let mut sums = Sums::new(slices.salt, slices.count as usize);
        while !scan.is_over() {
            let scope = Arc::clone(scope);
            let visit = move |sums: &mut Sums, walked: &Walked<'_>| {
                if scope.has(walked.key) {
                    sums.add(walked.key, &walked.hit);
                }
            };
            sums = scan.step(sums, visit, |_| false).await?;
        }
        Ok(sums)
    }

    /// Asks about every item here in the slices that differ.
    async fn ask_about_own(
        &mut self,
        scope: &Arc<Scope>,
        wanted: &Arc<Wanted>,
        settled: bool,
    ) -> Result<(), Status> {
        let gap = self.mode.gap.filter(|_| settled);
        let mut scan = Scan::new(self.shared, self.mode.haste);
        while !scan.is_over() {
            let (scope, wanted) = (Arc::clone(scope), Arc::clone(wanted));
            let visit = move |entries: &mut Vec<Entry>, walked: &Walked<'_>| {
                if wanted.has(walked.key) && scope.has(walked.key) {
                    entries.push(entry(walked));
                }
            };
            let entries = scan.step(Vec::new(), visit, |entries| entries.len() >= ENTRIES_MAX).await?;
            let doubtful = self.ask(entries, gap).await?;
            self.judge_doubtful(doubtful).await;
        }
        Ok(())
    }

    /// Asks for the keys that are newer than what may have been evicted here, and then for such as are not here.
    async fn bring_absent(&mut self, request: ListKeysRequest) -> Result<(), Status> {
        let silent = |_| Status::deadline_exceeded("it sends nothing");
        let mut client = self.other.client.clone();
        let asked = timeout(SILENCE_MAX, client.list_keys(request)).await;
        let mut messages = asked.map_err(silent)??.into_inner();
        while let Some(message) = timeout(SILENCE_MAX, messages.message()).await.map_err(silent)?? {
            let now = self.shared.clock.now();
            let is_absent = |key: &bytes::Bytes| {
                let Shared { store, resize, .. } = &**self.shared;
                // One that was dropped since this comparison began, as another's by now, is not to come back.
                resize.concerns(key)
                    && store
                        .examine(key, now, |known| known.hit.is_none() && known.deleted == Version::default())
            };
            let absent = message.keys.into_iter().filter(|key| is_key(key)).filter(is_absent);
            let entries = absent.map(|key| Entry { key, ..Entry::default() }).collect();
            self.ask(entries, None).await?;
        }
        Ok(())
    }

    /// Asks about all of these, and takes what comes. Answers those of which it is in doubt that they are there.
    async fn ask(&mut self, entries: Vec<Entry>, gap: Option<Version>) -> Result<Vec<Entry>, Status> {
        let (mut rest, mut doubtful) = (&entries[..], Vec::new());
        let mut pace = Pace::new(self.mode.haste);
        while !rest.is_empty() {
            let began = Instant::now();
            let batch = &rest[..rest.len().min(ENTRIES_MAX)];
            let answer = self.other.compare(&self.others.cluster, batch).await?;
            // It may have been away since it said that it is settled.
            let gap = gap.filter(|_| answer.settled);
            let now = self.shared.clock.now();
            for finding in answer.findings {
                let Some((entry, what)) = self.found(batch, finding) else { continue };
                if take(&self.shared.store, entry, &what, gap, now, self.tally) {
                    doubtful.push(entry.clone());
                }
            }
            rest = &rest[answer.judged as usize..];
            pace.rest(began.elapsed()).await;
        }
        Ok(doubtful)
    }

    /// What was found of which key; nothing of one that became another's while it was asked about: it was dropped here.
    fn found<'a>(&self, asked: &'a [Entry], finding: Finding) -> Option<(&'a Entry, What)> {
        let found = asked.get(finding.index as usize).zip(finding.what);
        found.filter(|(entry, _)| self.shared.resize.concerns(&entry.key))
    }

    /// Items that a sibling has not, and may have seen deleted: asks the holders in the other groups, and drops what
    /// nobody has.
    async fn judge_doubtful(&mut self, mut doubtful: Vec<Entry>) {
        for group in self.others.groups.iter().filter(|group| group.at != self.group.at) {
            for other in &group.nodes {
                let is_holder = |entry: &Entry| {
                    self.others.holder(group, &entry.key).is_some_and(|holder| holder.at == other.at)
                };
                let (asked, rest): (Vec<Entry>, Vec<Entry>) = doubtful.into_iter().partition(is_holder);
                doubtful = rest;
                doubtful.extend(self.not_vouched_for(other, asked).await);
            }
        }
        let now = self.shared.clock.now();
        for entry in doubtful {
            let dropped = self.shared.store.drop_version(&entry.key, Version(entry.version), now);
            self.tally.dropped += u64::from(dropped);
        }
    }

    /// Those that another node does not have either; all of them where it does not answer, or may lack deletes itself.
    async fn not_vouched_for(&mut self, other: &Other, entries: Vec<Entry>) -> Vec<Entry> {
        let (mut rest, mut left) = (&entries[..], Vec::new());
        while !rest.is_empty() {
            let batch = &rest[..rest.len().min(ENTRIES_MAX)];
            let answer = match other.compare(&self.others.cluster, batch).await {
                Ok(answer) if answer.settled => answer,
                _ => {
                    left.extend_from_slice(rest);
                    return left;
                }
            };
            let now = self.shared.clock.now();
            for finding in answer.findings {
                let Some((entry, what)) = self.found(batch, finding) else { continue };
                if matches!(what, What::Absent(_)) {
                    left.push(entry.clone());
                } else {
                    take(&self.shared.store, entry, &what, None, now, self.tally);
                }
            }
            rest = &rest[answer.judged as usize..];
        }
        left
    }
}

/// The slices that differ.
fn differing(mine: &[Digest], theirs: &DigestResponse) -> Result<Vec<u32>, Status> {
    if theirs.items.len() != mine.len() || theirs.sums.len() != mine.len() {
        return Err(Status::internal("it answers other slices than were asked for"));
    }
    let theirs = theirs.items.iter().zip(&theirs.sums);
    let differs =
        |(mine, (items, sum)): (&Digest, (&u32, &u64))| mine.sum != *sum || mine.items != u64::from(*items);
    let pairs = (0..).zip(mine.iter().zip(theirs));
    Ok(pairs.filter(|(_, pair)| differs(*pair)).map(|(at, _)| at).collect())
}

fn entry(walked: &Walked<'_>) -> Entry {
    Entry {
        key: bytes::Bytes::copy_from_slice(walked.key),
        version: walked.hit.version.0,
        fingerprint: fingerprint(&walked.hit),
    }
}
