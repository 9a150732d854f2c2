//! Calls and streams.

use std::time::Duration;

use evanesce_grpc::discovery::v1::{self, NodeState};
use tonic::Code;

use crate::world::{client, config, eventually, next, registration, renewal, start, states, watch};

#[tokio::test]
async fn node_that_registers_renews_and_falls_silent_is_streamed_as_serving_then_down() {
    let discovery = start(None).unwrap();
    let mut client = client(&discovery).await;
    let mut stream = client.watch(watch(0)).await.unwrap().into_inner();
    let granted = client.register(registration("n1", 1)).await.unwrap().into_inner();
    assert_eq!((granted.lease_ms, granted.renew_every_ms), (1500, 500));
    let first = next(&mut stream).await;
    assert_eq!(states(&first), [("n1", NodeState::Serving)]);
    assert_eq!(client.renew(renewal("n1", 1)).await.unwrap().into_inner().epoch, first.epoch);
    let second = next(&mut stream).await;
    assert_eq!(states(&second), [("n1", NodeState::Down)]);
    assert!(second.epoch > first.epoch);
    client.renew(renewal("n1", 1)).await.unwrap();
    assert_eq!(states(&next(&mut stream).await), [("n1", NodeState::Serving)]);
}

#[tokio::test]
async fn returned_lease_is_streamed_as_down_at_once() {
    let discovery = start(None).unwrap();
    let mut client = client(&discovery).await;
    client.register(registration("n1", 1)).await.unwrap();
    let mut stream = client.watch(watch(0)).await.unwrap().into_inner();
    next(&mut stream).await;
    let renewal = renewal("n1", 1);
    let request = v1::DeregisterRequest {
        cluster: renewal.cluster,
        group: renewal.group,
        name: renewal.name,
        incarnation: 1,
    };
    client.deregister(request).await.unwrap();
    assert_eq!(states(&next(&mut stream).await), [("n1", NodeState::Down)]);
}

#[tokio::test]
async fn node_hears_what_it_missed_until_it_says_that_it_heard() {
    let discovery = start(None).unwrap();
    let mut client = client(&discovery).await;
    client.register(registration("n1", 1)).await.unwrap();
    let mut stream = client.watch(watch(0)).await.unwrap().into_inner();
    next(&mut stream).await;
    let quiet = client.renew(renewal("n1", 1)).await.unwrap().into_inner();
    assert_eq!((quiet.missed_since, quiet.missed_number), (0, 0));
    let v1::RenewRequest { cluster, group, name, .. } = renewal("n1", 1);
    let report = v1::ReportMissedRequest { cluster, group, name, since_version: 70 };
    client.report_missed(report.clone()).await.unwrap();
    let stranger = v1::ReportMissedRequest { name: "n9".to_owned(), ..report };
    assert_eq!(client.report_missed(stranger).await.unwrap_err().code(), Code::NotFound);
    let told = client.renew(renewal("n1", 1)).await.unwrap().into_inner();
    assert_eq!(told.missed_since, 70);
    let again = client.renew(renewal("n1", 1)).await.unwrap().into_inner();
    assert_eq!((again.missed_since, again.missed_number), (70, told.missed_number), "the answer may be lost");
    let heard = v1::RenewRequest { missed_seen: told.missed_number, ..renewal("n1", 1) };
    assert_eq!(client.renew(heard.clone()).await.unwrap().into_inner().missed_number, 0);
    assert_eq!(client.renew(heard).await.unwrap().into_inner().missed_number, 0);
}

#[tokio::test]
async fn refusals_carry_their_codes() {
    let discovery = start(None).unwrap();
    let mut client = client(&discovery).await;
    client.register(registration("n1", 1)).await.unwrap();
    let mut other_ring = registration("n2", 2);
    other_ring.profile = Some(v1::RingProfile { hash: v1::RingHash::Evanesce.into(), points_per_node: 512 });
    let mut no_node = registration("n2", 2);
    no_node.node = None;
    let mut long = registration("n2", 2);
    long.cluster = "x".repeat(1000);
    for (request, code) in [
        (registration("n1", 2), Code::AlreadyExists),
        (other_ring, Code::FailedPrecondition),
        (no_node, Code::InvalidArgument),
        (long, Code::InvalidArgument),
        (v1::RegisterRequest::default(), Code::InvalidArgument),
    ] {
        assert_eq!(client.register(request).await.unwrap_err().code(), code);
    }
    assert_eq!(client.renew(renewal("n1", 2)).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(client.renew(v1::RenewRequest::default()).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(client.watch(watch(u64::MAX)).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(client.watch(v1::WatchRequest::default()).await.unwrap_err().code(), Code::InvalidArgument);
    client.renew(renewal("n1", 1)).await.expect("the connection survives them all");
}

#[tokio::test]
async fn watcher_with_a_newer_epoch_gets_ours_under_a_newer_one_still() {
    let discovery = start(None).unwrap();
    let mut client = client(&discovery).await;
    client.register(registration("n1", 1)).await.unwrap();
    let mut first = client.watch(watch(0)).await.unwrap().into_inner();
    let held = next(&mut first).await.epoch + 3_600_000;
    let mut second = client.watch(watch(held)).await.unwrap().into_inner();
    assert!(next(&mut second).await.epoch > held);
    assert!(next(&mut first).await.epoch > held, "and the others go along");
    let request = v1::GetTopologyRequest { cluster: "HOME".to_owned(), epoch_seen: held * 2 };
    let answer = client.get_topology(request).await.unwrap().into_inner();
    assert!(answer.topology.unwrap().epoch > held * 2);
}

/// The watcher came with a newer epoch before any node of its cluster had registered here.
#[tokio::test]
async fn watcher_of_an_unknown_cluster_is_numbered_past_when_it_appears() {
    let discovery = start(None).unwrap();
    let mut client = client(&discovery).await;
    client.register(registration("n1", 1)).await.unwrap();
    let now = next(&mut client.watch(watch(0)).await.unwrap().into_inner()).await.epoch;
    let request = v1::WatchRequest { cluster: "OTHER".to_owned(), epoch_seen: now + 3_600_000 };
    let mut stream = client.watch(request).await.unwrap().into_inner();
    let mut registration = registration("n1", 1);
    registration.cluster = "OTHER".to_owned();
    client.register(registration).await.unwrap();
    let topology = next(&mut stream).await;
    assert_eq!(topology.cluster, "OTHER");
    assert!(topology.epoch > now + 3_600_000);
}

#[tokio::test]
async fn topology_and_clusters_are_told_on_request() {
    let discovery = start(None).unwrap();
    let mut client = client(&discovery).await;
    let request = || v1::GetTopologyRequest { cluster: "HOME".to_owned(), epoch_seen: 0 };
    assert_eq!(client.get_topology(request()).await.unwrap_err().code(), Code::NotFound);
    client.register(registration("n1", 1)).await.unwrap();
    let topology = client.get_topology(request()).await.unwrap().into_inner().topology.unwrap();
    assert_eq!(states(&topology), [("n1", NodeState::Serving)]);
    let answer = client.list_clusters(v1::ListClustersRequest {}).await.unwrap().into_inner();
    assert_eq!((answer.clusters, answer.settled), (vec!["HOME".to_owned()], true));
}

#[tokio::test]
async fn many_registrations_make_few_topologies() {
    let discovery = start(None).unwrap();
    let mut client = client(&discovery).await;
    let mut stream = client.watch(watch(0)).await.unwrap().into_inner();
    for index in 0..300 {
        client.register(registration(&format!("n{index}"), index)).await.unwrap();
    }
    let mut topologies = 0;
    while states(&next(&mut stream).await).len() < 300 {
        topologies += 1;
    }
    assert!(topologies < 150, "{topologies} topologies before the whole");
}

#[tokio::test]
async fn drain_ends_the_streams_and_the_calls() {
    let discovery = start(None).unwrap();
    let mut client = client(&discovery).await;
    let mut stream = client.watch(watch(0)).await.unwrap().into_inner();
    discovery.drain(Duration::from_secs(5)).await;
    let end = tokio::time::timeout(Duration::from_secs(5), stream.message()).await.expect("it ends");
    assert!(!matches!(end, Ok(Some(_))));
    eventually("calls fail", async || client.renew(renewal("n1", 1)).await.err()).await;
    discovery.ended().await;
}

#[tokio::test]
async fn terms_that_do_not_fit_are_refused() {
    for (lease, renew_every) in [(900, 301), (900, 10), (0, 0)] {
        let mut config = config(None);
        config.lease = Duration::from_millis(lease);
        config.renew_every = Duration::from_millis(renew_every);
        let error = evanesce_discovery::Discovery::start(config).unwrap_err().to_string();
        assert!(error.contains("at most a third of the lease"), "{error}");
    }
}
