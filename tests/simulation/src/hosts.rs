//! What runs on the hosts: discoveries, nodes, and the machines of clients.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use std::{io, iter};

use evanesce_client::{Client, ConnectError, Simulation};
use evanesce_discovery::SimulatedDiscovery;
use evanesce_discovery::registry::LeaseTerms;
use evanesce_membership::{MembershipOptions, NodeFacts, Registration};
use evanesce_node::{NodeConfig, SimulatedNode};
use evanesce_topology::{Node, NodeState, RingHash, RingProfile};
use futures_util::stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::spawn_local;
use tonic::transport::server::Connected;
use turmoil::net::{TcpListener, TcpStream};

use crate::plan::{CLIENT_ZONES, Host, ZONES};
use crate::work;
use crate::world::{DISCOVERY_PORT, NODE_PORT, Seat, World, unix_ms, wall, wall_ahead};

/// The cluster's name.
const CLUSTER: &str = "HOME";

/// Fewer points than nodes have: rings are built again and again, and six nodes need not be equal.
const PROFILE: RingProfile = RingProfile { hash: RingHash::Evanesce, points_per_node: 64 };

/// Short, so that leases lapse within a fault.
const LEASE: LeaseTerms =
    LeaseTerms { lease: Duration::from_millis(2_400), renew_every: Duration::from_millis(800) };

/// The least that a node's store takes, many times what the workload puts there: nothing is evicted.
const NODE_BYTES: usize = 4 << 20;

/// Larger than any value of the workload, small enough for the store.
const ITEM_BYTES_MAX: usize = 64 << 10;

/// Between two attempts of a client to find the cluster.
const CONNECT_AGAIN: Duration = Duration::from_millis(200);

/// A discovery, from its start to its end.
pub(crate) async fn discovery(world: Rc<World>, host: Host) -> turmoil::Result {
    world.history.lock().note(format!("{} starts", host.name()));
    let discovery = SimulatedDiscovery::start(LEASE, wall)?;
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, DISCOVERY_PORT)).await?;
    let incoming = stream::unfold(listener, |listener| async move {
        let accepted = listener.accept().await.map(|(stream, _)| Accepted(stream));
        Some((accepted, listener))
    });
    discovery.serve(Box::pin(incoming)).await?;
    Ok(())
}

/// A node, from its start to its end.
pub(crate) async fn node(world: Rc<World>, host: Host) -> turmoil::Result {
    let (start, skew_ms) = (world.start(), world.node_skew_ms(host));
    world.history.lock().note(format!("{} starts as number {start}", host.name()));
    let config = NodeConfig {
        group: host.name(),
        name: host.name(),
        threads: NonZeroUsize::MIN,
        memory_bytes: NODE_BYTES,
        item_bytes_max: ITEM_BYTES_MAX,
        hash_seed: Some(world.plan.seed),
        ..NodeConfig::default()
    };
    let node = Rc::new(SimulatedNode::start(&config, unix_ms(wall_ahead(skew_ms)))?);
    world.seat(host, Seat { node: Rc::clone(&node), start });
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, NODE_PORT)).await?;
    let running = Rc::clone(&node);
    spawn_local(async move { running.run().await });
    spawn_local(register(Rc::clone(&world), host, start));
    loop {
        let (mut stream, _) = listener.accept().await?;
        let node = Rc::clone(&node);
        spawn_local(async move {
            // Its end is the client's to see.
            let _ = node.serve(&mut stream).await;
        });
    }
}

async fn register(world: Rc<World>, host: Host, incarnation: u64) {
    let options = MembershipOptions { connector: Some(to_discovery), ..MembershipOptions::default() };
    let facts = facts(&world, host, incarnation);
    let registration = Registration::start(&world.discoveries(), facts, options).expect("good addresses");
    registration.registered().await;
    registration.set_state(NodeState::Serving);
    // As long as the process lives.
    std::future::pending::<()>().await;
}

fn facts(world: &World, host: Host, incarnation: u64) -> NodeFacts {
    let Host::Node(zone, _) = host else { unreachable!("only nodes register") };
    NodeFacts {
        cluster: CLUSTER.to_owned(),
        profile: PROFILE,
        group: ZONES[zone].to_owned(),
        zone: ZONES[zone].to_owned(),
        node: Node {
            name: host.name(),
            ring_text: host.name(),
            weight: 1,
            state: NodeState::Joining,
            incarnation,
            memcached: world.address(host),
            grpc: None,
            http: None,
            version: "0.1.0".to_owned(),
            capabilities: Vec::new(),
        },
    }
}

/// The machine of a client: connects, works until work is over, and stays.
pub(crate) async fn client(world: Rc<World>, number: usize) -> turmoil::Result {
    let host = Host::Client(number);
    let client = loop {
        match connect(&world, number).await {
            Ok(client) => break client,
            Err(error) => world.history.lock().note(format!("{}: {error}", host.name())),
        }
        tokio::time::sleep(CONNECT_AGAIN).await;
    };
    world.history.lock().note(format!("{} is connected", host.name()));
    world.clients.borrow_mut().insert(host, client.clone());
    work::work(&world, number, &client).await;
    work::read_all(&world, number, &client).await;
    std::future::pending().await
}

async fn connect(world: &World, number: usize) -> Result<Client, ConnectError> {
    let ahead_ms = world.plan.client_skews_ms[number];
    let simulation = Simulation {
        connector: to_node,
        discovery_connector: to_discovery,
        clock: Arc::new(move || wall_ahead(ahead_ms)),
        seed: world.plan.seed.wrapping_mul(31).wrapping_add(number as u64),
    };
    let builder = Client::builder(CLUSTER).discovery(world.discoveries());
    let builder = builder.zone(ZONES[CLIENT_ZONES[number]]).repair_queue_bytes(world.plan.repair_bytes_max);
    builder.simulation(&simulation).connect().await
}

fn to_node(address: SocketAddr) -> evanesce_transport::Opening {
    Box::pin(async move { Ok(Box::new(TcpStream::connect(address).await?) as _) })
}

fn to_discovery(address: String) -> evanesce_membership::Opening {
    Box::pin(async move { Ok(Box::new(TcpStream::connect(address).await?) as _) })
}

/// A stream that tonic takes.
struct Accepted(TcpStream);

impl Connected for Accepted {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Accepted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// All hosts of a run.
pub(crate) fn all() -> Vec<Host> {
    let discoveries = (0..crate::plan::DISCOVERIES).map(Host::Discovery);
    let nodes = (0..ZONES.len()).flat_map(crate::plan::nodes_of);
    let clients = (0..CLIENT_ZONES.len()).map(Host::Client);
    iter::empty().chain(discoveries).chain(nodes).chain(clients).collect()
}
