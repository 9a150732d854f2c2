//! What the home zone alone tells of an item: who may fill it, and how it was read.

use std::time::Duration;

use evanesce_wire::MetaFlagsBuf;
use evanesce_wire::reply::MetaReply;
use evanesce_wire::request::{Exptime, MetaGet, Request};
use tokio::time::Instant;

use super::OpFuture;
use super::options::{Limit, limit_options};
use crate::cluster::Cluster;
use crate::error::{NodeError, ReadError};
use crate::item::Item;
use crate::key::{Key, KeyError};
use crate::large::assemble;
use crate::member::Member;
use crate::namespace::Namespace;
use crate::observe::{Operation, Watch};
use crate::read::Hit;
use crate::request::{Want, get_flags, read_hit};
use crate::ttl::Ttl;

/// An item as its key's home zone has it, and what that zone keeps of it besides.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HomeItem {
    /// The item; with an empty value when this read has made it.
    pub item: Item,
    /// It was read there before.
    pub hit_before: bool,
    /// Time since it was read there, in whole seconds.
    pub last_access: Duration,
    /// The caller is the one to fill it.
    pub won: bool,
    /// Somebody else is.
    pub won_by_other: bool,
    /// It was marked stale.
    pub stale: bool,
}

/// Reads an item from its key's home zone, which can give the right to fill it to one caller of many.
///
/// The next zone in the key's order is asked only while the home zone cannot answer; it gives wins of its own. An item
/// that is made by a win is in that zone alone until somebody fills it. Cancel-safe: a win that nobody hears of lasts as
/// long as the item that it made.
#[must_use = "an operation does nothing until it is awaited"]
pub struct GetAtHome<'a> {
    namespace: &'a Namespace,
    key: Result<Key, KeyError>,
    vivify: Option<Ttl>,
    recache_below: Option<Duration>,
    counts_as_access: bool,
    limit: Limit,
}

impl<'a> GetAtHome<'a> {
    pub(crate) fn new(namespace: &'a Namespace, key: &[u8]) -> Self {
        let (key, limit) = (namespace.key_as_it_is(key), Limit::of_read(namespace));
        Self { namespace, key, vivify: None, recache_below: None, counts_as_access: true, limit }
    }

    /// Makes an empty item of this life on a miss, and wins. Not by default.
    pub fn vivify(mut self, ttl: impl Into<Ttl>) -> Self {
        self.vivify = Some(ttl.into());
        self
    }

    /// Wins when the item has less than this left, and nobody has won. Not by default.
    pub fn recache_below(mut self, left: Duration) -> Self {
        self.recache_below = Some(left);
        self
    }

    /// Whether the read counts as an access there. Default yes.
    pub fn counts_as_access(mut self, counts: bool) -> Self {
        self.counts_as_access = counts;
        self
    }

    limit_options!("How long all attempts together may take. Default the client's, 50 ms.", limit);

    /// Runs it; awaiting the operation does the same.
    ///
    /// # Errors
    ///
    /// [`ReadError`], when the key is wrong or no zone could answer.
    pub async fn run(self) -> Result<Option<HomeItem>, ReadError> {
        match Watch::begin(self.namespace, Operation::GetAtHome, 1) {
            None => self.execute().await,
            Some(watch) => watch.over(self.execute()).await,
        }
    }

    async fn execute(mut self) -> Result<Option<HomeItem>, ReadError> {
        let key = std::mem::replace(&mut self.key, Err(KeyError::Empty))?;
        let core = &self.namespace.core;
        core.count_reads(1);
        let found = self.ask(&key).await;
        match &found {
            Ok(Some(item)) if !item.made() => core.metrics.hits.increment(1),
            Ok(_) => core.metrics.misses.increment(1),
            Err(_) => core.metrics.read_errors.increment(1),
        }
        found
    }

    async fn ask(&self, key: &Key) -> Result<Option<HomeItem>, ReadError> {
        let core = &self.namespace.core;
        let cluster = core.cluster().ok_or(ReadError::Closed)?;
        let deadline = self.limit.end(Instant::now());
        let hash = cluster.placement().key_hash(key.as_bytes());
        let mut attempts = Vec::new();
        for group in cluster.placement().home_order(hash) {
            let Some(member) = cluster.owner(group, hash) else { continue };
            let due = deadline.min(Instant::now() + core.settings.read_attempt_timeout);
            match self.ask_member(member, key, due).await {
                Ok(found) => {
                    // Whoever is to fill an item that this read made has to write something newer.
                    let version = found.as_ref().and_then(|found| found.item.version);
                    version.iter().for_each(|version| core.clock.observe(*version, core.now()));
                    return match found {
                        Some(found) => self.shown(&cluster, member, key, found, deadline).await,
                        None => Ok(None),
                    };
                }
                Err(cause) => attempts.push(member.attempt(cause)),
            }
            if Instant::now() >= deadline {
                break;
            }
        }
        Err(ReadError::Unanswered { attempts })
    }

    /// With the value as its caller stored it.
    async fn shown(
        &self,
        cluster: &Cluster,
        from: &Member,
        key: &Key,
        found: HomeItem,
        deadline: Instant,
    ) -> Result<Option<HomeItem>, ReadError> {
        let (core, form) = (&self.namespace.core, self.namespace.form());
        let hit = Hit { item: found.item.clone(), from };
        let item = assemble(core, cluster, form, key, hit, deadline).await?;
        Ok(item.map(|item| HomeItem { item, ..found }))
    }

    async fn ask_member(
        &self,
        member: &Member,
        key: &Key,
        due: Instant,
    ) -> Result<Option<HomeItem>, NodeError> {
        let link = &member.link;
        let versions = link.connection.speaks_versions();
        let vivify = self.vivify.map(|ttl| ttl.exptime(self.namespace.core.nodes_now()));
        let recache_below = self.recache_below.map(|left| i64::try_from(left.as_secs()).unwrap_or(i64::MAX));
        let flags = get_flags(key, Want::Item, None, versions, link.next_opaque()).flag(b'h').flag(b'l');
        let flags = self.more_flags(flags, vivify, recache_below);
        let request = Request::MetaGet(MetaGet {
            key: key.meta(),
            flags: flags.as_flags(),
            value: true,
            quiet: false,
            touch: None,
            vivify,
            recache_below,
            compare: None,
            cas_override: None,
            counts_as_access: self.counts_as_access,
            promise: None,
            insists: false,
        });
        let mut reply = link.judge(link.connection.call(&request, due).await)?;
        Ok(read_hit(&mut reply)?.map(|item| HomeItem::of(item, &reply)))
    }

    fn more_flags(
        &self,
        flags: MetaFlagsBuf,
        vivify: Option<Exptime>,
        recache_below: Option<i64>,
    ) -> MetaFlagsBuf {
        let flags = vivify.iter().fold(flags, |flags, exptime| flags.number(b'N', exptime.0));
        let flags = recache_below.iter().fold(flags, |flags, secs| flags.number(b'R', *secs));
        if self.counts_as_access { flags } else { flags.flag(b'u') }
    }
}

impl Namespace {
    /// Reads an item from its key's home zone, with what that zone keeps of it, and may win the right to fill it.
    pub fn get_at_home(&self, key: impl AsRef<[u8]>) -> GetAtHome<'_> {
        GetAtHome::new(self, key.as_ref())
    }
}

impl HomeItem {
    fn of(item: Item, reply: &MetaReply) -> Self {
        Self {
            item,
            hit_before: reply.hit_before().unwrap_or(false),
            last_access: Duration::from_secs(reply.last_access_secs().unwrap_or(0)),
            won: reply.win(),
            won_by_other: reply.won_by_other(),
            stale: reply.stale(),
        }
    }

    /// Whether it looks as if the read has made it.
    fn made(&self) -> bool {
        self.won && self.item.value.is_empty() && !self.stale
    }
}

impl<'a> IntoFuture for GetAtHome<'a> {
    type Output = Result<Option<HomeItem>, ReadError>;
    type IntoFuture = OpFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
