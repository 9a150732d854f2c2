//! What a front may be told.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use evanesce_wire::limits::Limits;

use crate::listen::Listen;
use crate::tls::TlsFiles;

/// Connections that a front serves at once unless told otherwise: memcached's default is 1024, too few for a fleet
/// of clients that each keep several.
pub const CONNECTIONS_MAX_DEFAULT: usize = 16_384;

/// Budget of requests that arrive in pieces: 64 sets of the largest default value at once.
pub const INPUT_BYTES_MAX_DEFAULT: usize = 64 << 20;

/// Budget of replies that wait for slow readers: a thousand connections with a full output buffer each.
pub const OUTPUT_BYTES_MAX_DEFAULT: usize = 64 << 20;

/// How long a peer may leave a request half sent: longer than any retransmission pause worth waiting for.
pub const READ_STALL_DEFAULT: Duration = Duration::from_secs(60);

/// How long a peer may leave a reply unread: it holds replies in our memory meanwhile.
pub const WRITE_STALL_DEFAULT: Duration = Duration::from_secs(30);

/// What a front listens on and what it grants its peers.
#[derive(Debug, Clone)]
pub struct FrontConfig {
    /// Where to listen, and what is spoken and asked for there.
    pub listen: Vec<Listen>,
    /// The certificate of those that speak TLS. None by default.
    pub tls: Option<TlsFiles>,
    /// Users and passwords, one `user:password` a line, as memcached's `-Y` has them. Peers of every listener that has
    /// [`Listen::auth`] must then authenticate: by a first `set`, or by SASL in the binary protocol. None by default.
    pub auth_file: Option<PathBuf>,
    /// Worker threads, each with its own event loop.
    pub threads: NonZeroUsize,
    /// Connections served at once; more are told so and closed. [`CONNECTIONS_MAX_DEFAULT`].
    pub connections_max: usize,
    /// Limits of one request.
    pub limits: Limits,
    /// Bytes that requests arriving in pieces may hold, all connections together. [`INPUT_BYTES_MAX_DEFAULT`].
    pub input_bytes_max: usize,
    /// Bytes that replies to slow readers may hold, all connections together. [`OUTPUT_BYTES_MAX_DEFAULT`].
    pub output_bytes_max: usize,
    /// Close a connection that made no progress for this long within a request. [`READ_STALL_DEFAULT`].
    pub read_stall: Duration,
    /// Close a connection that took no byte of a reply for this long. [`WRITE_STALL_DEFAULT`].
    pub write_stall: Duration,
    /// Close a connection that sent nothing for this long between requests. `None`, the default, never does.
    pub idle_timeout: Option<Duration>,
}

impl FrontConfig {
    /// A front that listens there with this many threads, all else by default.
    #[must_use]
    pub fn new(listen: Vec<Listen>, threads: NonZeroUsize) -> Self {
        Self {
            listen,
            tls: None,
            auth_file: None,
            threads,
            connections_max: CONNECTIONS_MAX_DEFAULT,
            limits: Limits::default(),
            input_bytes_max: INPUT_BYTES_MAX_DEFAULT,
            output_bytes_max: OUTPUT_BYTES_MAX_DEFAULT,
            read_stall: READ_STALL_DEFAULT,
            write_stall: WRITE_STALL_DEFAULT,
            idle_timeout: None,
        }
    }
}
