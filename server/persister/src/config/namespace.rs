//! What is said of a namespace.

use std::fmt;
use std::time::Duration;

use super::faults::Faults;
use super::fields::{Fields, NAME_RULE, is_name};
use crate::tier::WRITE_MAX;

/// A mistake in a unit, or a namespace of its own machine.
const LOG_BYTES_MAX: u64 = 1 << 40;

/// Less holds no large value.
const LOG_BYTES_MIN: u64 = 4 << 20;

/// What is said of a log alone.
const LOG_KEYS: [&str; 3] = ["flush", "log_max", "retries_max"];

/// How a namespace stands to its store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// The cluster alone.
    None,
    /// What is not in the cluster is loaded. Writes go to the cluster alone: somebody else writes to the store.
    ReadThrough,
    /// And writes go to the store first, then to the cluster: acknowledged when both have them.
    WriteThrough,
    /// And writes go to a log on this machine's disk and to the cluster, and from the log to the store.
    WriteBehind,
}

impl Mode {
    const WORDS: [(&'static str, Self); 4] = [
        ("none", Self::None),
        ("read-through", Self::ReadThrough),
        ("write-through", Self::WriteThrough),
        ("write-behind", Self::WriteBehind),
    ];

    /// Whether writes go down to the store.
    #[must_use]
    pub fn writes(self) -> bool {
        matches!(self, Self::WriteThrough | Self::WriteBehind)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = Self::WORDS.iter().find(|(_, mode)| mode == self).map_or("none", |(word, _)| word);
        f.write_str(word)
    }
}

/// When a write to the log is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlushPolicy {
    /// Before it is acknowledged: the end of the machine loses nothing. Writes that come together are flushed together.
    EveryWrite,
    /// Within this time. The end of the process loses nothing; that of the machine loses what was acknowledged in this
    /// time at most.
    Every(Duration),
}

/// The log of a write-behind namespace.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LogConfig {
    /// When it is flushed. Every write by default.
    pub flush: FlushPolicy,
    /// How many bytes of writes may wait. 256 MiB by default; more are refused. The files take up to twice that.
    pub bytes_max: u64,
    /// How often a write that fails for a while is tried before it becomes a dead letter. 100,000 by default, about a day
    /// and a half.
    pub retries_max: usize,
}

/// What this process keeps of a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NearConfig {
    /// How much.
    pub bytes_max: usize,
    /// For how long, and so for how long what others write is not seen.
    pub ttl: Duration,
}

/// How a namespace is served.
#[derive(Debug, Clone, PartialEq)]
pub struct NamespaceConfig {
    /// How it stands to its store. Read-through by default.
    pub mode: Mode,
    /// The store's name.
    pub store: Option<String>,
    /// The cluster that its keys live in, by its name in the configuration. By default the own one.
    pub cluster: Option<String>,
    /// How long the cluster keeps what was loaded, and at most what was written where writes go down. 15 min by default.
    pub ttl: Duration,
    /// Up to which share of the TTL it is shortened. 0.1 by default.
    pub jitter: f64,
    /// How long it is remembered that the store has nothing. 5 s by default; 0 is not at all.
    pub negative_ttl: Duration,
    /// How long beyond its TTL an item is served while it is loaded anew, or cannot be. 0 by default.
    pub stale: Duration,
    /// How many load times before its TTL ends an item that is read is loaded anew. 1 by default, 0 is never.
    pub refresh_ahead: f64,
    /// How long a load may take, all waiting included. 2 s by default.
    pub load_timeout: Duration,
    /// How long a write may wait for the store or the log. 2 s by default, 10 s at most.
    pub write_timeout: Duration,
    /// Keys of this namespace that may wait for its store at once; by default as many as may wait at all.
    pub budget: Option<usize>,
    /// What this process keeps of it; nothing by default.
    pub near: Option<NearConfig>,
    /// How writes wait, where they do.
    pub log: LogConfig,
}

impl Default for NamespaceConfig {
    fn default() -> Self {
        Self {
            mode: Mode::ReadThrough,
            store: None,
            cluster: None,
            ttl: Duration::from_secs(15 * 60),
            jitter: 0.1,
            negative_ttl: Duration::from_secs(5),
            stale: Duration::ZERO,
            refresh_ahead: 1.0,
            load_timeout: Duration::from_secs(2),
            write_timeout: Duration::from_secs(2),
            budget: None,
            near: None,
            log: LogConfig { flush: FlushPolicy::EveryWrite, bytes_max: 256 << 20, retries_max: 100_000 },
        }
    }
}

impl NamespaceConfig {
    pub(super) fn of(name: &str, table: toml::Table, faults: &mut Faults) -> Self {
        let mut fields = Fields::new(&["namespaces", name], table, faults);
        if !is_name(name) {
            fields.fault(format!("is no name of a namespace: write {NAME_RULE}"));
        }
        let default = Self::default();
        let of_logs = LOG_KEYS.into_iter().filter(|key| fields.has(key)).collect();
        let modes = "none, read-through, write-through or write-behind";
        let namespace = Self {
            mode: fields.word("mode", modes, &Mode::WORDS).unwrap_or(default.mode),
            store: fields.text("store"),
            cluster: fields.text("cluster"),
            ttl: fields.time("ttl").unwrap_or(default.ttl),
            jitter: fields.fraction("jitter", 0.0..=1.0).unwrap_or(default.jitter),
            negative_ttl: fields.time("negative_ttl").unwrap_or(default.negative_ttl),
            stale: fields.time("stale").unwrap_or(default.stale),
            refresh_ahead: fields.fraction("refresh_ahead", 0.0..=100.0).unwrap_or(default.refresh_ahead),
            load_timeout: fields.time("load_timeout").unwrap_or(default.load_timeout),
            write_timeout: fields.time_up_to("write_timeout", WRITE_MAX).unwrap_or(default.write_timeout),
            budget: fields.number("budget", 1..=100_000),
            near: near(&mut fields),
            log: log(&mut fields, default.log),
        };
        let times = [
            ("ttl", namespace.ttl),
            ("load_timeout", namespace.load_timeout),
            ("write_timeout", namespace.write_timeout),
        ];
        for (key, time) in times {
            if time.is_zero() {
                fields.fault_of(
                    key,
                    format!("{key} is zero: nothing would ever be there or done; write a time"),
                );
            }
        }
        needs_log(&mut fields, namespace.mode, of_logs);
        fields.finish();
        namespace
    }
}

/// Whoever says how a log is flushed takes his writes for logged. `none` is for a while, and what else is said may stay.
fn needs_log(fields: &mut Fields<'_>, mode: Mode, of_logs: Vec<&str>) {
    if matches!(mode, Mode::ReadThrough | Mode::WriteThrough) {
        for key in of_logs {
            let what = format!(
                "has {key}, and is {mode}, which has no log: write mode = \"write-behind\", or drop {key}"
            );
            fields.fault_of(key, what);
        }
    }
}

fn near(fields: &mut Fields<'_>) -> Option<NearConfig> {
    let bytes_max = fields.size("near_cache", 0..=1 << 40);
    let ttl = fields.time("near_ttl");
    if ttl.is_some_and(|ttl| ttl.is_zero()) {
        let what = "near_ttl is zero: nothing would be kept near; write a time, or drop near_cache";
        fields.fault_of("near_ttl", what);
    }
    if bytes_max.is_none() && ttl.is_some() {
        fields.fault_of("near_ttl", "has a near_ttl and no near_cache: write near_cache = \"64MiB\"");
    }
    let bytes_max = usize::try_from(bytes_max?).ok()?;
    Some(NearConfig { bytes_max, ttl: ttl.unwrap_or(Duration::from_secs(1)) })
}

fn log(fields: &mut Fields<'_>, default: LogConfig) -> LogConfig {
    let flush = fields.time_or("flush", "every write", FlushPolicy::EveryWrite, FlushPolicy::Every);
    LogConfig {
        flush: flush.unwrap_or(default.flush),
        bytes_max: fields.size("log_max", LOG_BYTES_MIN..=LOG_BYTES_MAX).unwrap_or(default.bytes_max),
        retries_max: fields.number("retries_max", 1..=usize::MAX).unwrap_or(default.retries_max),
    }
}
