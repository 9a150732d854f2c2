//! Connections to nodes that belong to one thread each, for reads.
//!
//! ```text
//!  thread 0   read ── lane 0 ─────────────────> node
//!  thread 1   read ── lane 1 ─────────────────> node
//!  any        write, read behind a change ────> node    the connection that all share
//! ```
//!
//! A lane is driven by the runtime that first reads through it: a read there wakes no other thread. Requests of two connections
//! have no order, so a read takes its lane only while every change that this client has sent to the node is answered: what
//! it was told before it asked has been executed by then. While one is not, reads go behind it, on the shared connection.

use std::net::SocketAddr;
use std::sync::OnceLock;

use evanesce_transport::{Connection, ConnectionOptions};

/// Which of a client's lanes: one for each thread that reads through its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lane(pub(crate) usize);

/// The lanes to one node, each connected when it is first wanted.
#[derive(Debug)]
pub(crate) struct Lanes {
    address: SocketAddr,
    options: ConnectionOptions,
    connections: Box<[OnceLock<Connection>]>,
}

impl Lanes {
    pub(crate) fn new(address: SocketAddr, options: ConnectionOptions, lanes: usize) -> Self {
        Self { address, options, connections: (0..lanes).map(|_| OnceLock::new()).collect() }
    }

    /// The connection of this lane, once there is one. It is made on the current runtime.
    pub(crate) fn get(&self, Lane(lane): Lane) -> Option<&Connection> {
        let connection = self.connections.get(lane)?;
        let connection = connection.get_or_init(|| Connection::spawn(self.address, self.options.clone()));
        connection.speaks_versions().then_some(connection)
    }

    /// Requests on all of them that have no outcome yet.
    pub(crate) fn outstanding(&self) -> usize {
        self.connections.iter().filter_map(OnceLock::get).map(Connection::outstanding).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::net::SocketAddr;
    use std::time::Duration;

    use evanesce_transport::Connection;
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::timeout;

    use super::Lane;
    use crate::core::tests::{core_with_a_lane, topology};
    use crate::key::Key;
    use crate::read::nobody;
    use crate::request::{Change, Stamp, with_change};

    const PATIENCE: Duration = Duration::from_secs(10);

    /// Takes the next connection, of a client that is then told that versions are kept.
    async fn welcome(listener: &TcpListener) -> BufReader<TcpStream> {
        let (stream, _) = listener.accept().await.expect("the client connects");
        let mut stream = BufReader::new(stream);
        assert_eq!(read_line(&mut stream).await, "mn V\r\n");
        stream.write_all(b"MN V K1\r\n").await.expect("the client reads");
        stream
    }

    async fn read_line(stream: &mut BufReader<TcpStream>) -> String {
        let mut line = String::new();
        stream.read_line(&mut line).await.expect("the client asks");
        line
    }

    async fn eventually(what: &str, is_so: impl Fn() -> bool) {
        let wait = async {
            while !is_so() {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("never: {what}"));
    }

    async fn listen() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
        let address = listener.local_addr().expect("it is bound");
        (listener, address)
    }

    /// The story of lanes: a read may overtake nothing that this client has changed.
    #[tokio::test]
    async fn read_takes_its_lane_only_while_all_changes_are_answered() {
        let (listener, address) = listen().await;
        let core = core_with_a_lane();
        core.put(topology(1, &format!("a=n1/{address}"))).expect("a good topology");
        let cluster = core.cluster().expect("it is open");
        let link = &cluster.owner(0, cluster.placement().key_hash(b"k")).expect("it has a node").link;
        let is_lane = || !std::ptr::eq(link.way(Some(Lane(0))), &raw const link.connection);
        let mut shared = welcome(&listener).await;
        eventually("the node is connected", || link.connection.is_up()).await;
        assert!(!is_lane(), "the lane is only being made");
        let lane = welcome(&listener).await;
        eventually("reads take the lane", is_lane).await;
        assert!(std::ptr::eq(link.way(None), &raw const link.connection));
        assert!(std::ptr::eq(link.way(Some(Lane(1))), &raw const link.connection), "there is one lane");

        let key = Key::new(b"", b"k").expect("a good key");
        let send = |connection: &Connection| {
            with_change(&key, &Change::Delete, Stamp::Without, 7, |request| {
                connection.submit(request, nobody(), 0).expect("there is room");
            });
        };
        send(&link.connection);
        assert!(!is_lane(), "a change is under way");
        assert_eq!(read_line(&mut shared).await, "md k O7\r\n");
        assert!(!is_lane(), "a change is not answered");
        shared.write_all(b"HD O7\r\n").await.expect("the client reads");
        eventually("the change is answered", is_lane).await;

        drop(lane);
        eventually("a lost lane is left", || !is_lane()).await;
        let _again = welcome(&listener).await;
        eventually("the lane is back", is_lane).await;
        drop(shared);
        eventually("nobody takes a lane past a lost connection", || !is_lane()).await;
    }

    #[tokio::test]
    async fn lanes_go_with_their_node_and_there_are_none_to_other_zones() {
        let ((near, near_address), (far, far_address)) = (listen().await, listen().await);
        let core = core_with_a_lane();
        core.put(topology(1, &format!("a=n1/{near_address};b=n1/{far_address}"))).expect("a good topology");
        let cluster = core.cluster().expect("it is open");
        let link = |group| &cluster.owner(group, cluster.placement().key_hash(b"k")).expect("a node").link;
        let (_shared, _far) = (welcome(&near).await, welcome(&far).await);
        eventually("the nodes are connected", || (0..2).all(|group| link(group).connection.is_up())).await;
        (0..2).for_each(|group| _ = link(group).way(Some(Lane(0))));
        let mut lane = welcome(&near).await;
        let is_lane =
            |group: usize| !std::ptr::eq(link(group).way(Some(Lane(0))), &raw const link(group).connection);
        eventually("reads take the lane", || is_lane(0)).await;
        assert!(!is_lane(1));
        let mut more = std::pin::pin!(far.accept());
        let none = poll_fn(|cx| std::task::Poll::Ready(more.as_mut().poll(cx).is_pending())).await;
        assert!(none, "the other zone has one connection");
        drop(cluster);
        core.put(topology(2, &format!("b=n1/{far_address}"))).expect("a good topology");
        assert_eq!(timeout(PATIENCE, read_line(&mut lane)).await.expect("the lane is closed"), "");
    }
}
