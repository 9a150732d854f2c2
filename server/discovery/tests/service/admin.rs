//! What an operator sees and does.

use std::collections::BTreeMap;

use evanesce_discovery::{Discovery, DiscoveryConfig};
use evanesce_grpc::admin::v1::admin_client::AdminClient;
use evanesce_grpc::admin::v1::{DrainRequest, GetStatsRequest, GetStatusRequest, GetTopologyRequest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::Code;

use crate::world::{PATIENCE, channel, client, config, eventually, next, registration, start, states, watch};

#[tokio::test]
async fn status_stats_and_topology_are_shown() {
    let discovery = start(None).unwrap();
    let mut admin = AdminClient::new(channel(&discovery).await);
    let mut client = client(&discovery).await;
    let unknown = GetTopologyRequest { cluster: "HOME".to_owned() };
    assert_eq!(admin.get_topology(unknown).await.unwrap_err().code(), Code::NotFound);
    client.register(registration("n1", 1)).await.unwrap();
    let mut stream = client.watch(watch(0)).await.unwrap().into_inner();
    let streamed = next(&mut stream).await;
    let status = admin.get_status(GetStatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.role.as_str(), status.zone.as_str()), ("discovery", "a"));
    assert_eq!((status.state.as_str(), status.ready, status.warnings.len()), ("serving", true, 0));
    for cluster in ["HOME", ""] {
        let request = GetTopologyRequest { cluster: cluster.to_owned() };
        let topology = admin.get_topology(request).await.unwrap().into_inner().topology.unwrap();
        assert_eq!((states(&topology), topology.epoch), (states(&streamed), streamed.epoch));
    }
    let stats = admin.get_stats(GetStatsRequest {}).await.unwrap().into_inner().stats;
    let stats: BTreeMap<_, _> = stats.into_iter().map(|stat| (stat.name, stat.value)).collect();
    assert_eq!((stats["nodes_serving"].as_str(), stats["watchers"].as_str()), ("1", "1"));
    assert_eq!(stats["epoch_HOME"], streamed.epoch.to_string());
    drop(stream);
    let watchers = async || {
        let stats = admin.get_stats(GetStatsRequest {}).await.unwrap().into_inner().stats;
        stats.into_iter().find(|stat| stat.name == "watchers" && stat.value == "0")
    };
    eventually("the watcher is gone", watchers).await;
}

#[tokio::test]
async fn metrics_are_scraped() {
    let listen_http = Some("127.0.0.1:0".parse().unwrap());
    let discovery = Discovery::start(DiscoveryConfig { listen_http, ..config(None) }).unwrap();
    let mut client = client(&discovery).await;
    client.register(registration("n1", 1)).await.unwrap();
    next(&mut client.watch(watch(0)).await.unwrap().into_inner()).await;
    let mut socket = tokio::net::TcpStream::connect(discovery.http_addr().unwrap()).await.unwrap();
    socket.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await.unwrap();
    let mut page = String::new();
    socket.read_to_string(&mut page).await.unwrap();
    for line in ["evanesce_discovery_nodes{state=\"serving\"} 1", "evanesce_discovery_settled 1"] {
        assert!(page.contains(line), "{line} in {page}");
    }
    for name in ["evanesce_discovery_registrations_total", "evanesce_discovery_mass_lapses_total"] {
        assert!(page.contains(&format!("# HELP {name} ")), "{name} in {page}");
    }
}

#[tokio::test]
async fn drain_asked_for_over_grpc_ends_the_discovery() {
    let discovery = start(None).unwrap();
    let mut admin = AdminClient::new(channel(&discovery).await);
    admin.drain(DrainRequest { deadline_ms: 1000 }).await.unwrap();
    tokio::time::timeout(PATIENCE, discovery.ended()).await.expect("it ends");
}
