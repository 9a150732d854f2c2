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
mod fields;
mod namespace;
mod store;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

pub use cluster::ClusterConfig;
pub use namespace::{FlushPolicy, LogConfig, Mode, NamespaceConfig, NearConfig};
pub use store::{StoreConfig, StoreLimits};

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
        let table = text.parse::<toml::Table>();
        let table =
            table.map_err(|error| ConfigErrors(vec![format!("this is not TOML: {}", error.message())]))?;
        let mut faults = Vec::new();
        let config = Self::of(table, &mut faults);
        if faults.is_empty() { Ok(config) } else { Err(ConfigErrors(faults)) }
    }

    fn of(table: toml::Table, faults: &mut Vec<String>) -> Self {
        let mut fields = Fields::new("the file", table, faults);
        let log_dir = fields.text("log_dir").map(PathBuf::from);
        let (stores, namespaces) = (fields.tables("stores"), fields.tables("namespaces"));
        let clusters = fields.tables("clusters");
        fields.finish();
        let mut config = Self { log_dir, ..Self::default() };
        for (name, table) in stores {
            if let Some(store) = StoreConfig::of(&name, table, faults) {
                config.stores.insert(name, store);
            }
        }
        for (name, table) in clusters {
            config.clusters.insert(name.clone(), ClusterConfig::of(&name, table, faults));
        }
        if namespaces.len() > NAMESPACES_MAX {
            faults.push(format!("there are {} namespaces: {NAMESPACES_MAX} at most", namespaces.len()));
        }
        for (name, table) in namespaces {
            let namespace = NamespaceConfig::of(&name, table, faults);
            config.namespaces.insert(name, namespace);
        }
        config.check(faults);
        config
    }

    /// What one table alone cannot tell.
    fn check(&self, faults: &mut Vec<String>) {
        for (name, namespace) in &self.namespaces {
            let mut fault = |what: String| faults.push(format!("[namespaces.{name}] {what}"));
            match (&namespace.store, namespace.mode) {
                (_, Mode::None) => {}
                (None, mode) => fault(format!("is {mode} and names no store: write store = \"...\"")),
                (Some(store), _) if !self.stores.contains_key(store) => {
                    fault(format!("names the store {store:?}: there is no sound [stores.{store}]"));
                }
                (Some(_), _) => {}
            }
            if let Some(cluster) =
                namespace.cluster.as_ref().filter(|name| !self.clusters.contains_key(*name))
            {
                fault(format!("names the cluster {cluster:?}: there is no [clusters.{cluster}]"));
            }
            if namespace.mode == Mode::WriteBehind && self.log_dir.is_none() {
                fault(
                    "is write-behind: set log_dir, at the top of the file, to a directory on a disk"
                        .to_owned(),
                );
            }
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
            "[namespaces.n] names the cluster \"e\": there is no [clusters.e]",
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
