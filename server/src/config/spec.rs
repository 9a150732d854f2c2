//! Every option of every role, each defined once: its flag, its environment variable, its key in the file, its default
//! and its doc all come from here.

use std::fmt;

use RoleName::{Discovery, Gateway, Node};

use crate::config::bounds;
use crate::config::form::Form;

/// The roles that are configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RoleName {
    /// Stores items.
    Node,
    /// Keeps the membership.
    Discovery,
    /// Speaks memcached in front of a cluster.
    Gateway,
}

impl RoleName {
    /// All of them, in the order to show them.
    pub(crate) const ALL: [Self; 3] = [Node, Discovery, Gateway];

    /// As on the command line and as the file's section.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Node => "node",
            Discovery => "discovery",
            Gateway => "gateway",
        }
    }
}

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What an option has when nobody sets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unset {
    /// This value.
    Text(&'static str),
    /// A value computed at the start; the words say how.
    Computed(&'static str),
    /// Nothing. Whether that will do is checked with the rest.
    Nothing,
}

/// One option.
#[derive(Debug)]
pub(crate) struct Spec {
    /// Its key in the file.
    pub(crate) name: &'static str,
    /// How it is written.
    pub(crate) form: Form,
    /// The roles that have it, each with what holds when it is not set.
    pub(crate) roles: &'static [(RoleName, Unset)],
    /// What it does, in sentences.
    pub(crate) doc: &'static str,
}

impl Spec {
    /// What holds when it is not set, or `None` where `role` has no such option.
    pub(crate) fn unset(&self, role: RoleName) -> Option<Unset> {
        self.roles.iter().find(|(has, _)| *has == role).map(|(_, unset)| *unset)
    }

    /// Its flag, less the dashes.
    pub(crate) fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    /// Its environment variable.
    pub(crate) fn env(&self) -> String {
        format!("EVANESCE_{}", self.name.to_ascii_uppercase())
    }
}

/// The options of `role`, in the order to show them.
pub(crate) fn options_of(role: RoleName) -> impl Iterator<Item = &'static Spec> {
    OPTIONS.iter().filter(move |spec| spec.unset(role).is_some())
}

/// The option of this name, whatever its role.
pub(crate) fn option_named(name: &str) -> Option<&'static Spec> {
    OPTIONS.iter().find(|spec| spec.name == name)
}

const OPTIONS: &[Spec] = &[
    Spec {
        name: "cluster",
        form: Form::One("NAME"),
        roles: &[(Node, Unset::Nothing), (Gateway, Unset::Nothing)],
        doc: "The cluster's name (EVCache: app). Needed, but for a standalone node.",
    },
    Spec {
        name: "zone",
        form: Form::One("NAME"),
        roles: &[(Node, Unset::Nothing), (Discovery, Unset::Text("default")), (Gateway, Unset::Nothing)],
        doc: "The zone this process is in. Needed by a node that is not standalone and by a gateway, which reads \
              from this zone first.",
    },
    Spec {
        name: "group",
        form: Form::One("NAME"),
        roles: &[(Node, Unset::Computed("<cluster>-<zone>"))],
        doc: "The server group: the nodes that hold one full copy together.",
    },
    Spec {
        name: "name",
        form: Form::One("NAME"),
        roles: &[(Node, Unset::Nothing)],
        doc: "The ring name. It outlives process and address: a node started again under its name takes its place \
              on the ring. Needed, but for a standalone node.",
    },
    Spec {
        name: "discovery",
        form: Form::Many("ADDR"),
        roles: &[(Node, Unset::Nothing), (Gateway, Unset::Nothing)],
        doc: "The discoveries' gRPC addresses, as ip:port or host:port, with commas between them. A node registers with all; a \
              gateway follows one and fails over. Needed, but for a standalone node.",
    },
    Spec {
        name: "standalone",
        form: Form::Switch,
        roles: &[(Node, Unset::Text("false"))],
        doc: "One node by itself: no cluster, no discovery; gRPC and HTTP are off unless given.",
    },
    Spec {
        name: "listen",
        form: Form::Many("ADDR"),
        roles: &[(Node, Unset::Text("127.0.0.1:11211")), (Gateway, Unset::Text("127.0.0.1:11211"))],
        doc: "Where to speak memcached, with commas between places: ip:port, tls://ip:port, or unix:/path?mode=0660. Port 0 \
              lets the kernel choose. `?auth=off` behind a place asks nobody for a password there. A node registers the \
              first ip:port or tls://ip:port, and that is where gateways and clients of the cluster come.",
    },
    Spec {
        name: "tls_cert",
        form: Form::WatchedFile,
        roles: &[(Node, Unset::Nothing), (Gateway, Unset::Nothing)],
        doc: "The certificate that tls:// listeners show, and those between it and a root, in PEM form. Read again when it \
              changes, within seconds or at SIGHUP.",
    },
    Spec {
        name: "tls_key",
        form: Form::WatchedFile,
        roles: &[(Node, Unset::Nothing), (Gateway, Unset::Nothing)],
        doc: "The private key of the certificate, in PEM form.",
    },
    Spec {
        name: "tls_client_ca",
        form: Form::WatchedFile,
        roles: &[(Node, Unset::Nothing), (Gateway, Unset::Nothing)],
        doc: "Authorities, in PEM form, one of which must have signed the certificate of whoever connects by TLS. Without \
              it no certificate is asked for.",
    },
    Spec {
        name: "auth_file",
        form: Form::WatchedFile,
        roles: &[(Node, Unset::Nothing), (Gateway, Unset::Nothing)],
        doc: "Users and passwords, one user:password a line, as memcached's -Y has them; memcached clients must give one, by \
              a first `set` or by SASL PLAIN. Read again when it changes, within seconds or at SIGHUP.",
    },
    Spec {
        name: "node_tls_ca",
        form: Form::One("FILE"),
        roles: &[(Gateway, Unset::Nothing)],
        doc: "Speak TLS with the nodes: authorities, in PEM form, one of which must have signed the certificate of each. No \
              node is spoken to in plain text then. Without it all are. Read at the start, as all of the way to nodes.",
    },
    Spec {
        name: "node_tls_cert",
        form: Form::One("FILE"),
        roles: &[(Gateway, Unset::Nothing)],
        doc: "The certificate to show to nodes that ask for one (their tls_client_ca), and those between it and a root, in \
              PEM form.",
    },
    Spec {
        name: "node_tls_key",
        form: Form::One("FILE"),
        roles: &[(Gateway, Unset::Nothing)],
        doc: "The private key of that certificate, in PEM form.",
    },
    Spec {
        name: "node_tls_server_name",
        form: Form::One("NAME"),
        roles: &[(Gateway, Unset::Computed("the IP address of each node"))],
        doc: "The name, or IP address, that the certificates of all nodes must hold, for certificates that do not hold \
              each node's address.",
    },
    Spec {
        name: "node_user",
        form: Form::One("NAME"),
        roles: &[(Gateway, Unset::Nothing)],
        doc: "The user to be to nodes that ask for a password (their auth_file).",
    },
    Spec {
        name: "node_password_file",
        form: Form::One("FILE"),
        roles: &[(Gateway, Unset::Nothing)],
        doc: "A file with that user's password and nothing else. Without TLS whoever sees the packets sees it.",
    },
    Spec {
        name: "grpc",
        form: Form::One("ADDR"),
        roles: &[
            (
                Node,
                Unset::Computed(
                    "port 11212 beside memcached; of loopback if that is off it and not insecure",
                ),
            ),
            (Discovery, Unset::Text("127.0.0.1:11300")),
            (
                Gateway,
                Unset::Computed(
                    "port 11212 beside memcached; of loopback if that is off it and not insecure",
                ),
            ),
        ],
        doc: "Where to speak gRPC: admin, health, reflection, and a discovery's registry. `off` turns it off, but \
              for a discovery.",
    },
    Spec {
        name: "http",
        form: Form::One("ADDR"),
        roles: &[
            (
                Node,
                Unset::Computed(
                    "port 11213 beside memcached; of loopback if that is off it and not insecure",
                ),
            ),
            (Discovery, Unset::Computed("port 11301 of the gRPC address")),
            (
                Gateway,
                Unset::Computed(
                    "port 11213 beside memcached; of loopback if that is off it and not insecure",
                ),
            ),
        ],
        doc: "Where to speak HTTP: /metrics, /health/live, /health/ready. `off` turns it off.",
    },
    Spec {
        name: "advertise",
        form: Form::One("IP"),
        roles: &[(Node, Unset::Computed("as listened on"))],
        doc: "The IP address to tell others, with the ports listened on: needed where that is not the one listened on, \
              as with 0.0.0.0.",
    },
    Spec {
        name: "insecure",
        form: Form::Switch,
        roles: &[
            (Node, Unset::Text("false")),
            (Discovery, Unset::Text("false")),
            (Gateway, Unset::Text("false")),
        ],
        doc: "Allow listening off loopback without asking who comes: whoever reaches the address can read and change \
              everything. gRPC and HTTP never ask.",
    },
    Spec {
        name: "ring",
        form: Form::Word(&["evanesce", "evcache"]),
        roles: &[(Node, Unset::Text("evanesce"))],
        doc: "How keys find their node; all nodes of a cluster must agree. `evanesce`: balanced, by name. `evcache`: \
              as Netflix's Java client computes it, by <name>/<ip>:11211.",
    },
    Spec {
        name: "weight",
        form: Form::Number(bounds::WEIGHT),
        roles: &[(Node, Unset::Text("1"))],
        doc: "This node's share of the ring beside its peers'.",
    },
    Spec {
        name: "memory",
        form: Form::Size(bounds::MEMORY),
        roles: &[(Node, Unset::Computed("a quarter of what this process may use, at least 64MiB"))],
        doc: "The whole budget for items, keys and tables, e.g. 64MiB or 2GiB; the oldest and least used are evicted \
              before it is exceeded.",
    },
    Spec {
        name: "memory_file",
        form: Form::One("FILE"),
        roles: &[(Node, Unset::Nothing)],
        doc: "The file that is the node's memory: a node that is started again with it, however it ended, finds its \
              items, deletes and flushes again, unless the whole system was started anew, or memory, threads, \
              namespaces or hash_seed changed. As large as the memory, all of it taken from its file system at the \
              start. For a file system in memory such as /dev/shm; on a disk it is written all the time. In a cluster \
              it does not know what was written and deleted elsewhere while it was away, until clients bring it that.",
    },
    Spec {
        name: "namespace",
        form: Form::Namespaces,
        roles: &[(Node, Unset::Nothing)],
        doc: "Keys that begin with this name and a colon are counted and can be flushed by themselves. `guarantee`: memory \
              that the others cannot take from them; all together at most nine tenths of it. `limit`: the most they \
              may hold; one below 4 % of the memory may be exceeded up to that. Once for each namespace, at most 64; \
              in the file, a table [[node.namespace]] with name, guarantee, limit; in the environment, with \
              semicolons between them. Those of one layer replace those of the layer before.",
    },
    Spec {
        name: "hash_seed",
        form: Form::One("SEED"),
        roles: &[(Node, Unset::Nothing)],
        doc: "A number of 64 bits, as 0x1f or 31, by which the store hashes keys. Random unless given, which guards \
              against keys made to collide. Nodes whose digests are compared must share it; keep it secret then.",
    },
    Spec {
        name: "item_bytes_max",
        form: Form::Size(bounds::ITEM_BYTES),
        roles: &[(Node, Unset::Text("1MiB")), (Gateway, Unset::Text("1MiB"))],
        doc: "The largest item a node stores, key and value together, at most a quarter of its memory; the largest value \
              a gateway takes.",
    },
    Spec {
        name: "threads",
        form: Form::Number(bounds::THREADS),
        roles: &[
            (Node, Unset::Computed("the cores this process may use")),
            (Gateway, Unset::Computed("the cores this process may use")),
        ],
        doc: "Threads that serve memcached connections.",
    },
    Spec {
        name: "connections_max",
        form: Form::Number(bounds::CONNECTIONS),
        roles: &[(Node, Unset::Text("10000")), (Gateway, Unset::Text("10000"))],
        doc: "Memcached connections at once; further ones are refused. Each takes a file descriptor.",
    },
    Spec {
        name: "idle_timeout",
        form: Form::TimeOrOff(bounds::IDLE_TIMEOUT),
        roles: &[(Node, Unset::Text("off")), (Gateway, Unset::Text("off"))],
        doc: "Close memcached connections that sent nothing for so long. `off` never does.",
    },
    Spec {
        name: "warm_up_limit",
        form: Form::TimeOrOff(bounds::WARM_UP_LIMIT),
        roles: &[(Node, Unset::Text("15m"))],
        doc: "How long a node that starts empty is given items by its siblings, over gRPC, before it is read, at \
              most. `off` gives it none.",
    },
    Spec {
        name: "warm_up_rate",
        form: Form::Size(bounds::WARM_UP_RATE),
        roles: &[(Node, Unset::Nothing)],
        doc: "Bytes of keys and values a second that this node gives others, at most, all of them together: items they \
              lack when they start, when a group is resized, and when this node drains. Choose it so that all it holds \
              is given within warm_up_limit. Unset, it gives what its requests leave of the processors.",
    },
    Spec {
        name: "reconcile_every",
        form: Form::TimeOrOff(bounds::RECONCILE_EVERY),
        roles: &[(Node, Unset::Text("30s"))],
        doc: "How often a node compares what it holds with the nodes of sibling groups, over gRPC, and takes what is newer. It takes a twentieth of a core at most. `off` never does, and then nothing is made up for that nobody \
              repairs.",
    },
    Spec {
        name: "shutdown_command",
        form: Form::Switch,
        roles: &[(Node, Unset::Text("false"))],
        doc: "Whether any client may end the node with memcached's `shutdown`.",
    },
    Spec {
        name: "flush_command",
        form: Form::Switch,
        roles: &[(Gateway, Unset::Text("false"))],
        doc: "Whether any client may empty the whole cluster, in every zone, with memcached's `flush_all`; and with it the \
              other clusters that the file of the option persister names.",
    },
    Spec {
        name: "persister",
        form: Form::WatchedFile,
        roles: &[(Gateway, Unset::Nothing)],
        doc: "The TOML file that says which namespaces have a backing store or live in another cluster, and how they \
              are read and written: [stores.NAME], [clusters.NAME] and [namespaces.NAME]. Read again at SIGHUP.",
    },
    Spec {
        name: "config_get_cluster",
        form: Form::Switch,
        roles: &[(Node, Unset::Text("false"))],
        doc: "Whether `config get cluster` names this node, alone, to clients of ElastiCache's auto discovery. Such clients \
              belong to gateways, which always answer it.",
    },
    Spec {
        name: "gateways",
        form: Form::Many("ADDR"),
        roles: &[(Gateway, Unset::Computed("as listened on"))],
        doc: "The gateways that `config get cluster` lists, as ip:port with commas between them, this one's own address \
              included. A gateway knows of others by this list alone: write the same one for all.",
    },
    Spec {
        name: "connect_timeout",
        form: Form::Time(bounds::CONNECT_TIMEOUT),
        roles: &[(Gateway, Unset::Text("15s"))],
        doc: "How long a start waits for a discovery to send a topology.",
    },
    Spec {
        name: "state_dir",
        form: Form::One("DIR"),
        roles: &[(Discovery, Unset::Nothing)],
        doc: "Where to keep membership and epochs across restarts. Without it they are kept in memory only, and nodes \
              register again.",
    },
    Spec {
        name: "lease",
        form: Form::Time(bounds::LEASE),
        roles: &[(Discovery, Unset::Text("10s"))],
        doc: "How long a node that stopped renewing counts as alive.",
    },
    Spec {
        name: "renew_every",
        form: Form::Time(bounds::RENEW_EVERY),
        roles: &[(Discovery, Unset::Text("3s"))],
        doc: "How often nodes are told to renew; at most a third of the lease.",
    },
    Spec {
        name: "drain_deadline",
        form: Form::Time(bounds::DRAIN_DEADLINE),
        roles: &[(Node, Unset::Text("10s")), (Discovery, Unset::Text("10s")), (Gateway, Unset::Text("10s"))],
        doc: "How long work in flight may take once told to end. A second signal ends at once.",
    },
    Spec {
        name: "log",
        form: Form::One("FILTER"),
        roles: &[
            (Node, Unset::Computed("RUST_LOG, or info")),
            (Discovery, Unset::Computed("RUST_LOG, or info")),
            (Gateway, Unset::Computed("RUST_LOG, or info")),
        ],
        doc: "What to log on standard error: error, warn, info, debug, trace, or per target as in \
              info,evanesce_node=debug.",
    },
    Spec {
        name: "log_format",
        form: Form::Word(&["text", "json"]),
        roles: &[
            (Node, Unset::Text("text")),
            (Discovery, Unset::Text("text")),
            (Gateway, Unset::Text("text")),
        ],
        doc: "`text` for people, `json` for collectors.",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_docs_are_sentences() {
        for (index, spec) in OPTIONS.iter().enumerate() {
            assert!(OPTIONS[..index].iter().all(|other| other.name != spec.name), "{} twice", spec.name);
            assert!(spec.doc.ends_with('.'), "{}: a doc is made of sentences", spec.name);
            assert!(!spec.doc.contains("  "), "{}: a doc is one paragraph", spec.name);
        }
    }
}
