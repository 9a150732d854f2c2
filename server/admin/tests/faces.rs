//! Each face of the admin side, from outside, over real sockets.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use evanesce_admin::{Admin, AdminConfig, DrainSignal, Role, RoleState, RoleStatus, RunningAdmin, Services};
use evanesce_grpc::admin::v1::admin_client::AdminClient;
use evanesce_grpc::admin::v1::{
    DrainRequest, FlushRequest, GetStatsRequest, GetStatusRequest, GetTopologyRequest,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::Code;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

/// A role that only remembers that it was asked to drain.
struct Recording {
    drain: DrainSignal,
}

impl Role for Recording {
    fn status(&self) -> RoleStatus {
        let state = if self.drain.is_requested() { RoleState::Draining } else { RoleState::Joining };
        let mut status = RoleStatus::new("node", state);
        "n1".clone_into(&mut status.name);
        status.warnings.push("no discovery reached".to_owned());
        status.addresses.insert("memcached".to_owned(), loopback());
        status
    }

    fn stats(&self) -> Vec<(String, String)> {
        vec![("b".to_owned(), "2".to_owned()), ("a".to_owned(), "1".to_owned())]
    }

    fn publish_metrics(&self) {
        metrics::gauge!("test_items").set(7.0);
    }

    fn request_drain(&self, deadline: Option<Duration>) {
        self.drain.request(deadline);
    }
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn start() -> (RunningAdmin, DrainSignal) {
    let drain = DrainSignal::new();
    let bound = Admin::bind(AdminConfig { grpc: Some(loopback()), http: Some(loopback()) }).unwrap();
    assert_ne!(bound.grpc_addr().unwrap().port(), 0);
    let running = bound.start(Arc::new(Recording { drain: drain.clone() }), Services::default()).unwrap();
    (running, drain)
}

async fn channel(running: &RunningAdmin) -> Channel {
    let address = running.grpc_addr().unwrap();
    Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

/// The whole answer to one GET.
async fn http_get(running: &RunningAdmin, path: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(running.http_addr().unwrap()).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: evanesce\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn status_names_role_addresses_and_process() {
    let (running, _) = start();
    let mut client = AdminClient::new(channel(&running).await);
    let status = client.get_status(GetStatusRequest {}).await.unwrap().into_inner();
    assert_eq!(
        (status.role.as_str(), status.name.as_str(), status.state.as_str()),
        ("node", "n1", "joining")
    );
    assert_eq!(status.pid, u64::from(std::process::id()));
    assert!(!status.ready);
    assert_eq!(status.addresses["grpc"], running.grpc_addr().unwrap().to_string());
    assert_eq!(status.addresses["http"], running.http_addr().unwrap().to_string());
    assert_eq!(status.addresses["memcached"], loopback().to_string());
    let stats = client.get_stats(GetStatsRequest {}).await.unwrap().into_inner().stats;
    assert_eq!(stats.iter().map(|stat| stat.name.as_str()).collect::<Vec<_>>(), ["b", "a"]);
}

#[tokio::test]
async fn role_without_topology_refuses_with_what_to_do() {
    let (running, _) = start();
    let mut client = AdminClient::new(channel(&running).await);
    let refused = client.get_topology(GetTopologyRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("ask a discovery"), "{refused}");
}

#[tokio::test]
async fn role_without_items_refuses_a_flush_with_what_to_do() {
    let (running, _) = start();
    let mut client = AdminClient::new(channel(&running).await);
    let refused = client.flush(FlushRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("ask a node"), "{refused}");
}

#[tokio::test]
async fn drain_is_answered_then_reaches_the_assembly_with_its_deadline() {
    let (running, drain) = start();
    let mut client = AdminClient::new(channel(&running).await);
    client.drain(DrainRequest { deadline_ms: 1500 }).await.unwrap();
    assert_eq!(drain.requested().await, Some(Duration::from_millis(1500)));
    running.stop().await;
    client.get_status(GetStatusRequest {}).await.unwrap_err();
}

#[tokio::test]
async fn readiness_says_why_not_until_ready_and_again_while_draining() {
    let (running, drain) = start();
    let answer = http_get(&running, "/health/ready").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains(r#""reasons":["joining: not ready yet","no discovery reached"]"#), "{answer}");
    assert!(http_get(&running, "/health/live").await.starts_with("HTTP/1.1 200"));
    running.set_ready(true);
    let answer = http_get(&running, "/health/ready").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    drain.request(None);
    let answer = http_get(&running, "/health/ready").await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("draining"), "{answer}");
}

#[tokio::test]
async fn scrape_publishes_the_roles_metrics_first() {
    let (running, _) = start();
    let answer = http_get(&running, "/metrics").await;
    for line in ["test_items 7", "evanesce_ready 0", "evanesce_build_info{"] {
        assert!(answer.contains(line), "{line} is not in {answer}");
    }
    for name in ["evanesce_ready", "evanesce_build_info", "evanesce_uptime_seconds"] {
        assert!(answer.contains(&format!("# HELP {name} ")), "{name} is not explained in {answer}");
    }
}

#[tokio::test]
async fn health_follows_readiness_for_every_service() {
    let (running, _) = start();
    let mut client = HealthClient::new(channel(&running).await);
    for service in ["", "evanesce.admin.v1.Admin"] {
        running.set_ready(false);
        let request = HealthCheckRequest { service: service.to_owned() };
        let mut watch = client.watch(request).await.unwrap().into_inner();
        until(&mut watch, ServingStatus::NotServing).await;
        running.set_ready(true);
        until(&mut watch, ServingStatus::Serving).await;
    }
}

/// Reads a health watch until it says `wanted`.
async fn until(watch: &mut tonic::Streaming<tonic_health::pb::HealthCheckResponse>, wanted: ServingStatus) {
    while watch.message().await.unwrap().expect("the watch goes on").status() != wanted {}
}

#[tokio::test]
async fn reflection_lists_our_services() {
    let (running, _) = start();
    let mut client = ServerReflectionClient::new(channel(&running).await);
    let message_request = Some(MessageRequest::ListServices(String::new()));
    let request = ServerReflectionRequest { host: String::new(), message_request };
    let stream = tokio_stream::iter([request]);
    let mut answers = client.server_reflection_info(stream).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(list) = answer else { panic!("{answer:?}") };
    let names: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
    assert!(names.contains(&"evanesce.admin.v1.Admin"), "{names:?}");
}

#[tokio::test]
async fn taken_address_is_refused_with_its_purpose() {
    let (running, _) = start();
    let config = AdminConfig { grpc: None, http: running.http_addr() };
    let refused = Admin::bind(config).unwrap_err();
    assert!(refused.to_string().contains("for HTTP"), "{refused}");
}
