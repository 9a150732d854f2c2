//! Requests whose answers are long, or never end: answered by the service itself, with back-pressure.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use evanesce_front::{Connection, ConnectionState, Ended, Flow, Output};
use evanesce_wire::error_lines::TOO_MANY_WATCHERS;
use evanesce_wire::reply::Status;
use evanesce_wire::request::{Request, WatchKinds};
use evanesce_wire::{BinaryCommand, BinaryHead, BinaryRequest, binary, encode};

use crate::execute::Listing;
use crate::service::NodeService;

/// Steps of a key listing, some dozens of microseconds each, before other connections go first though the output is not
/// full: most of a nearly empty store's steps bring nothing.
const LISTING_STEPS_MAX: usize = 8;

/// Whether a request is answered here.
pub(crate) fn is_long(request: &Request<'_>) -> bool {
    match request {
        Request::Stats(argument) => asks_for_connections(argument),
        Request::Binary(BinaryRequest { command: BinaryCommand::Stat { argument }, .. }) => {
            asks_for_connections(argument)
        }
        Request::Watch(_) => true,
        request => Listing::of(request).is_some(),
    }
}

fn asks_for_connections(argument: &[u8]) -> bool {
    argument.split(|byte| *byte == b' ').find(|word| !word.is_empty()) == Some(b"conns")
}

impl NodeService {
    /// Answers a request that [`is_long`].
    pub(crate) async fn answer_at_length(
        &self,
        request: &Request<'_>,
        out: &mut Output<'_>,
    ) -> io::Result<Flow> {
        match request {
            Request::Watch(kinds) => return self.watch(*kinds, out).await,
            Request::Stats(_) => self.stats_conns(None, out).await?,
            Request::Binary(request) => self.stats_conns(Some(request.head), out).await?,
            request => {
                if let Some(listing) = Listing::of(request) {
                    self.list(listing, out).await?;
                }
            }
        }
        Ok(Flow::Continue)
    }

    /// Lists keys, a step at a time.
    async fn list(&self, mut listing: Listing, out: &mut Output<'_>) -> io::Result<()> {
        let mut steps = 0;
        while listing.step(&self.context(out), out.buf()) {
            steps += 1;
            if out.is_full() {
                out.flush().await?;
                steps = LISTING_STEPS_MAX;
            }
            // A flush to a peer that reads fast does not wait: without this a listing would go on for megabytes.
            if steps >= LISTING_STEPS_MAX {
                steps = 0;
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    /// Tells of events until the peer hangs up. What the peer is too slow for is dropped.
    async fn watch(&self, kinds: WatchKinds, out: &mut Output<'_>) -> io::Result<Flow> {
        let Some(watcher) = self.shared.watchers.add(kinds) else {
            encode::error_line(out.buf(), TOO_MANY_WATCHERS);
            return Ok(Flow::Continue);
        };
        encode::status(out.buf(), Status::Ok);
        loop {
            out.flush().await?;
            tokio::select! {
                lines = watcher.lines() => out.buf().extend_from_slice(&lines),
                () = out.hung_up() => return Ok(Flow::Close),
            }
        }
    }

    /// `stats conns`, in the binary protocol where the request has a head.
    async fn stats_conns(&self, head: Option<BinaryHead>, out: &mut Output<'_>) -> io::Result<()> {
        let mut told = Vec::new();
        for (connection, silent) in self.shared.connections() {
            told.clear();
            tell_connection(&connection, silent, &mut told);
            append_stats(head, &told, out.buf());
            if out.is_full() {
                out.flush().await?;
            }
        }
        append_stats(head, b"END\r\n", out.buf());
        Ok(())
    }

    /// Tells those who watch that a connection came.
    pub(crate) fn tell_connected(&self, connection: &Connection) {
        self.tell_connection_event("conn_new", connection, "");
    }

    /// Tells those who watch that a connection ended.
    pub(crate) fn tell_disconnected(&self, connection: &Connection, ended: Ended) {
        let reason = match ended {
            Ended::Normal => " reason=normal",
            Ended::Idle => " reason=idle_timeout",
            Ended::Shutdown => " reason=shutdown",
            _ => " reason=error",
        };
        self.tell_connection_event("conn_close", connection, reason);
    }

    fn tell_connection_event(&self, name: &str, connection: &Connection, reason: &str) {
        let watchers = &self.shared.watchers;
        if !watchers.kinds().has(WatchKinds::CONNEVENTS) {
            return;
        }
        watchers.tell(WatchKinds::CONNEVENTS, self.shared.clock.now(), |line| {
            let (ip, port, transport) = match connection.endpoints().peer {
                Some(peer) => (peer.ip().to_string(), peer.port(), "tcp"),
                None => ("unix".to_owned(), 0, "local"),
            };
            let cfd = connection.id();
            let text = format!("{name} rip={ip} rport={port} transport={transport}{reason} cfd={cfd}");
            line.extend_from_slice(text.as_bytes());
        });
    }
}

/// Appends lines of statistics in the protocol that asked.
fn append_stats(head: Option<BinaryHead>, told: &[u8], out: &mut Vec<u8>) {
    match head {
        Some(head) => binary::encode::stats_of_text(out, head, told),
        None => out.extend_from_slice(told),
    }
}

/// One connection's lines of `stats conns`, with memcached's names of states.
pub(crate) fn tell_connection(connection: &Connection, silent: Duration, out: &mut Vec<u8>) {
    let id = connection.id();
    let address = |address: Option<SocketAddr>| match address {
        Some(address @ SocketAddr::V4(_)) => format!("tcp:{address}"),
        Some(address @ SocketAddr::V6(_)) => format!("tcp6:{address}"),
        None => "unix:".to_owned(),
    };
    let state = match connection.state() {
        ConnectionState::Idle => "conn_read",
        ConnectionState::Partial => "conn_nread",
        ConnectionState::Serving => "conn_parse_cmd",
        ConnectionState::Writing => "conn_mwrite",
        _ => "conn_closing",
    };
    let endpoints = connection.endpoints();
    encode::stat(out, &format!("{id}:addr"), &address(endpoints.peer));
    encode::stat(out, &format!("{id}:listen_addr"), &address(endpoints.local));
    encode::stat(out, &format!("{id}:state"), state);
    encode::stat(out, &format!("{id}:secs_since_last_cmd"), &silent.as_secs().to_string());
}
