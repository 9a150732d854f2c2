//! What the tier does, namespace by namespace: read from TOML, and checked whole.
//!
//! ```toml
//! log_dir = "/var/lib/evanesce/gateway"      # where writes wait; only for write-behind
//!
//! [stores.users]
//! kind = "embedded"                          # and what that kind wants
//! path = "/var/lib/evanesce/users"
//! concurrency_max = 32                       # calls at once; and so on, see StoreLimits
//!
//! [clusters.sessions]                        # a cluster beside the own one
//! cluster = "SESSIONS"                       # what its nodes register as
//! discovery = ["10.0.0.9:11300"]
//!
//! [namespaces.user]                          # keys user:...; `default` is all others
//! store = "users"
//! mode = "write-behind"                      # none, read-through, write-through
//! ttl = "15min"
//! flush = "every write"                      # or a time
//!
//! [namespaces.session]
//! cluster = "sessions"
//! mode = "none"
//! ```

mod cluster;
mod faults;
mod fields;
mod namespace;
mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

pub use cluster::ClusterConfig;
pub use namespace::{FlushPolicy, LogConfig, Mode, NamespaceConfig, NearConfig};
pub use store::{StoreConfig, StoreLimits};

use faults::Faults;
use fields::Fields;

/// Namespaces of one gateway: as many as a client keeps near caches for.
const NAMESPACES_MAX: usize = 256;

/// All that is configured.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// By name.
    pub stores: BTreeMap<String, StoreConfig>,
    /// Clusters beside the own one, by name.
    pub clusters: BTreeMap<String, ClusterConfig>,
    /// By name; `default` is for the keys of no other.
    pub namespaces: BTreeMap<String, NamespaceConfig>,
    /// Where the logs of write-behind namespaces are, each in a directory of its name.
    pub log_dir: Option<PathBuf>,
}

/// Everything that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<String>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

impl std::error::Error for ConfigErrors {}

impl Config {
    /// Reads a file's text.
    ///
    /// # Errors
    ///
    /// All that is wrong with it, together.
    pub fn parse(text: &str) -> Result<Self, ConfigErrors> {
        let mut faults = Faults::of(text);
        // What is no TOML is a fault by now.
        let config = text.parse().map(|table| Self::of(table, &mut faults)).unwrap_or_default();
        faults.finish()?;
        Ok(config)
    }

    fn of(table: toml::Table, faults: &mut Faults) -> Self {
        let mut fields = Fields::new(&[], table, faults);
        let log_dir = fields.text("log_dir").map(PathBuf::from);
        let (stores, namespaces) = (fields.tables("stores"), fields.tables("namespaces"));
        let clusters = fields.tables("clusters");
        match namespaces.len() {
            0 => fields.fault(
                "names no namespace: write [namespaces.NAME]; if it was half written, write it whole, by rename",
            ),
            1..=NAMESPACES_MAX => {}
            many => fields
                .fault_of("namespaces", format!("has {many} namespaces: {NAMESPACES_MAX} at most")),
        }
        fields.finish();
        let mut config = Self { log_dir, ..Self::default() };
        let known: BTreeSet<String> = stores.keys().cloned().collect();
        for (name, table) in stores {
            if let Some(store) = StoreConfig::of(&name, table, faults) {
                config.stores.insert(name, store);
            }
        }
        for (name, table) in clusters {
            config.clusters.insert(name.clone(), ClusterConfig::of(&name, table, faults));
        }
        for (name, table) in namespaces {
            let namespace = NamespaceConfig::of(&name, table, faults);
            config.namespaces.insert(name, namespace);
        }
        config.check_stores(faults);
        for (name, namespace) in &config.namespaces {
            config.check_namespace(name, namespace, &known, faults);
        }
        config
    }

    /// An embedded store is opened once, and says only at the start that somebody has it.
    fn check_stores(&self, faults: &mut Faults) {
        let mut paths: BTreeMap<&str, &str> = BTreeMap::new();
        for (name, store) in &self.stores {
            let text = |key| store.written.get(key).and_then(toml::Value::as_str);
            let (Some("embedded"), Some(path)) = (text("kind"), text("path")) else { continue };
            if let Some(other) = paths.insert(path, name) {
                let what = format!(
                    "[stores.{name}] has the path of [stores.{other}], and an embedded store is opened once: name one of them in \
                     both namespaces"
                );
                faults.put(&["stores", name, "path"], what);
            }
        }
    }

    /// What one table alone cannot tell.
    fn check_namespace(
        &self,
        name: &str,
        namespace: &NamespaceConfig,
        known: &BTreeSet<String>,
        faults: &mut Faults,
    ) {
        let mut fault = |key: &str, what: String| {
            faults.put(&["namespaces", name, key], format!("[namespaces.{name}] {what}"));
        };
        let mode = namespace.mode;
        match namespace.store.as_ref().map(|store| (store, self.stores.get(store))) {
            None if mode == Mode::None => {}
            None => fault("mode", format!("is {mode} and names no store: write store = \"...\"")),
            Some((store, None)) if known.contains(store) => {
                fault("store", format!("names the store {store:?}, and [stores.{store}] is wrong itself"));
            }
            Some((store, None)) => {
                fault("store", format!("names the store {store:?}, and there is no [stores.{store}]"));
            }
            Some((store, Some(there))) => {
                if mode.writes() && !there.settings.takes_writes() {
                    fault(
                        "mode",
                        format!("is {mode}, and [stores.{store}] is of a kind that takes no writes"),
                    );
                }
                let most = there.limits.queue_max;
                if let Some(budget) = namespace.budget.filter(|budget| *budget > most) {
                    let what = format!(
                        "budget = {budget} is more than may wait for [stores.{store}] at all: its queue_max is {most}"
                    );
                    fault("budget", what);
                }
            }
        }
        if let Some(cluster) = namespace.cluster.as_ref().filter(|name| !self.clusters.contains_key(*name)) {
            fault("cluster", format!("names the cluster {cluster:?}, and there is no [clusters.{cluster}]"));
        }
        if mode == Mode::WriteBehind && self.log_dir.is_none() {
            let what = "is write-behind: set log_dir, at the top of the file, to a directory on a disk";
            fault("mode", what.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const STORE: &str = "[stores.main]\nkind = 'memory'\n";

    fn faults(text: &str) -> String {
        Config::parse(text).expect_err("it is wrong").to_string()
    }

    #[test]
    fn defaults_are_those_of_a_cache_before_a_database() {
        let config = Config::parse(&format!("{STORE}[namespaces.user]\nstore = 'main'")).expect("sound");
        let user = &config.namespaces["user"];
        assert_eq!((user.mode, user.ttl), (Mode::ReadThrough, Duration::from_secs(900)));
        assert_eq!(config.stores["main"].limits, StoreLimits::default());
    }

    #[test]
    fn everything_is_read() {
        let text = format!(
            "log_dir = '/l'\n{STORE}concurrency_max = 4\nrate_max = 100\nqueue_max = 10\ntimeout = '1s'\n\
             breaker_errors = 3\nbreaker_pause = '2s'\n[namespaces.user]\nstore = 'main'\nmode = 'write-behind'\nttl = '1min'\n\
             jitter = 0.2\nnegative_ttl = '3s'\nstale = '30s'\nrefresh_ahead = 2\nload_timeout = '500ms'\n\
             write_timeout = '700ms'\nbudget = 5\nnear_cache = '1MiB'\nnear_ttl = '2s'\nflush = '100ms'\n\
             log_max = '32MiB'\nretries_max = 9\n"
        );
        let config = Config::parse(&text).expect("sound");
        let (store, user) = (&config.stores["main"].limits, &config.namespaces["user"]);
        assert_eq!((store.concurrency_max, store.rate_max, store.queue_max), (4, Some(100), 10));
        assert_eq!((user.jitter, user.refresh_ahead, user.budget), (0.2, 2.0, Some(5)));
        assert_eq!(user.log.flush, FlushPolicy::Every(Duration::from_millis(100)));
        assert_eq!((user.log.bytes_max, user.log.retries_max), (32 << 20, 9));
        assert_eq!(user.near.map(|near| near.bytes_max), Some(1 << 20));
    }

    #[test]
    fn clusters_are_read_and_namespaces_live_in_them() {
        let config = Config::parse(
            "[clusters.sessions]\ncluster = 'SESSIONS'\nzone = 'b'\ndiscovery = ['http://d:1/', '[::1]:2']\n\
             [clusters.USERS]\ndiscovery = ['d:3']\n[namespaces.session]\nmode = 'none'\ncluster = 'sessions'\n",
        );
        let config = config.expect("sound");
        let sessions = &config.clusters["sessions"];
        assert_eq!((&sessions.cluster[..], sessions.zone.as_deref()), ("SESSIONS", Some("b")));
        assert_eq!(sessions.discoveries, ["d:1", "[::1]:2"]);
        assert_eq!((&config.clusters["USERS"].cluster[..], &config.clusters["USERS"].zone), ("USERS", &None));
        assert_eq!(config.namespaces["session"].cluster.as_deref(), Some("sessions"));
    }

    #[test]
    fn faults_of_clusters_are_told_together() {
        let told = faults(
            "[clusters.a]\n[clusters.b]\ndiscovery = 'd:1'\nport = 1\n[clusters.'c d']\ndiscovery = ['d']\nzone = 7\n\
             [namespaces.n]\nmode = 'none'\ncluster = 'e'\n",
        );
        for fault in [
            "[clusters.a] has no discovery",
            "[clusters.b] discovery = \"d:1\": write a list such as [\"10.0.0.9:11300\"]",
            "[clusters.b] has no key `port`",
            "[clusters.c d] is no name of a cluster",
            "[clusters.c d] discovery = [\"d\"]: write a list",
            "[clusters.c d] zone = 7: write 1 to 64 letters",
            "[namespaces.n] names the cluster \"e\", and there is no [clusters.e]",
        ] {
            assert!(told.contains(fault), "{fault} is not in {told}");
        }
    }

    #[test]
    fn all_faults_are_told_together() {
        let told = faults(
            "colour = 1\n[stores.main]\nkind = 'memory'\nconcurrency_max = 0\n[stores.odd]\nkind = 'x'\n\
             [namespaces.a]\nmode = 'sideways'\nttl = 'soon'\njitter = 2\n[namespaces.b]\nstore = 'odd'\n\
             mode = 'write-behind'\n[namespaces.c]\nstale = 7\nstores = 'main'\n[namespaces.'d:e']\nmode = 'none'\n",
        );
        for fault in [
            "the file has no key `colour`",
            "[stores.main] concurrency_max = 0",
            "[stores.odd] kind \"x\" is not known",
            "[namespaces.a] mode = \"sideways\": write none, read-through, write-through or write-behind",
            "[namespaces.a] ttl = \"soon\"",
            "[namespaces.a] jitter = 2",
            "[namespaces.b] names the store \"odd\"",
            "[namespaces.b] is write-behind: set log_dir",
            "[namespaces.c] stale = 7: write a time",
            "[namespaces.c] has no key `stores`",
            "[namespaces.c] is read-through and names no store",
            "[namespaces.d:e]",
        ] {
            assert!(told.contains(fault), "{fault} is not in {told}");
        }
        assert!(faults("a = ").contains("not TOML"));
    }

    /// An operator looks for the line, not for the table.
    #[test]
    fn every_fault_has_its_line_and_they_are_told_in_their_order() {
        let told = Config::parse(
            "log_dir = '/l'\n\n[namespaces.a] # of users\nstore = 'main'\ntll = '1min'\nmode = 'write-through'\n\
             write_timeout = '1min'\nflush = '1s'\nbudget = 9\n\n[namespaces.b]\nstore = 'other'\nnear_cache = '1MiB'\n\
             near_ttl = '0s'\n[namespaces]\nc = 1\n[stores.main]\nkind = 'memory'\nqueue_max = 8\n[stores.two]\n\
             kind = 'memory'\ncolour = 'red'\n",
        );
        let told = told.expect_err("it is wrong").0;
        for fault in [
            "line 5: [namespaces.a] has no key `tll`: did you mean `ttl`?",
            "line 7: [namespaces.a] write_timeout = \"1min\": write a time such as \"500ms\" or \"15min\", in quotes, up to 10s",
            "line 8: [namespaces.a] has flush, and is write-through, which has no log: write mode = \"write-behind\", or drop flush",
            "line 9: [namespaces.a] budget = 9 is more than may wait for [stores.main] at all: its queue_max is 8",
            "line 12: [namespaces.b] names the store \"other\", and there is no [stores.other]",
            "line 14: [namespaces.b] near_ttl is zero: nothing would be kept near; write a time, or drop near_cache",
            "line 16: the file has `c` under [namespaces], which is no table: write [namespaces.c]",
        ] {
            assert!(told.iter().any(|told| told == fault), "{fault} is not in {told:#?}");
        }
        assert!(told.last().is_some_and(|last| last.starts_with("line 22: [stores.two] ")), "{told:#?}");
        let line = |told: &String| told.split([' ', ':']).nth(1).and_then(|line| line.parse::<usize>().ok());
        let lines: Vec<usize> = told.iter().map(|told| line(told).expect("it has a line")).collect();
        assert!(lines.is_sorted() && lines.len() == 8, "{told:#?}");
    }

    #[test]
    fn contradictions_are_faults() {
        let told = faults(
            "[stores.a]\nkind = 'embedded'\npath = '/same'\n[stores.b]\nkind = 'embedded'\npath = '/same'\n\
             [namespaces.n]\nstore = 'a'\nretries_max = 3\n",
        );
        assert!(told.contains("line 6: [stores.b] has the path of [stores.a]"), "{told}");
        assert!(told.contains("line 9: [namespaces.n] has retries_max, and is read-through"), "{told}");
        assert!(
            faults("log_dir = '/l'\n").starts_with("the file names no namespace: write [namespaces.NAME]")
        );
        let syntax = faults("[namespaces.n]\nmode = \nstore = 'x'\n");
        assert!(syntax.starts_with("line 2: this is not TOML"), "{syntax}");
        let off = "[namespaces.n]\nmode = 'none'\nstore = 'a'\nflush = '1s'\n[stores.a]\nkind = 'memory'\n";
        assert!(Config::parse(off).is_ok(), "what is off for a while may say how it was");
    }

    #[test]
    fn name_that_leads_out_of_the_log_directory_and_times_of_zero_are_refused() {
        let told = faults(
            "[stores.main]\nkind = 'memory'\ntimeout = '0s'\n[namespaces.'..']\nmode = 'none'\nwrite_timeout = '0s'\n",
        );
        for fault in ["[namespaces...] is no name", "[stores.main] timeout is zero", "write_timeout is zero"]
        {
            assert!(told.contains(fault), "{fault} is not in {told}");
        }
    }
}
