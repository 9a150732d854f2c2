//! The registry over gRPC: messages in, messages out, nothing decided.

mod changes;

use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use evanesce_grpc::convert::{self, ConvertError};
use evanesce_grpc::discovery::v1;
use evanesce_grpc::discovery::v1::discovery_server::Discovery;
use evanesce_topology::Topology;
use parking_lot::Mutex;
use tokio_stream::wrappers::WatchStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Code, Request, Response, Status};

use crate::desk::{Desk, Watching};
use crate::metrics::{self, count};
use crate::missed::Missed;
use crate::registry::{Published, Refusal, Register, Renew, Return};

/// Open watch streams of one discovery: each costs some kilobytes, so this is a few hundred megabytes.
const WATCHERS_MAX: usize = 65_536;

/// How long a call that brings a newer epoch than ours waits for us to number past it: a tick, and then some.
const NUMBERING_MAX: Duration = Duration::from_secs(1);

/// The gRPC service.
#[derive(Debug, Clone)]
pub(crate) struct DiscoveryService {
    desk: Arc<Desk>,
    /// Lock order: alone.
    missed: Arc<Mutex<Missed>>,
}

/// One watch stream's view of what is published.
struct Watcher {
    desk: Arc<Desk>,
    cluster: String,
    epoch_seen: u64,
    spoken: bool,
    _watching: Watching,
}

impl DiscoveryService {
    pub(crate) fn new(desk: Arc<Desk>) -> Self {
        // The standard library's random hasher keys come from the system's source of randomness.
        let first = RandomState::new().hash_one(0);
        Self { desk, missed: Arc::new(Mutex::new(Missed::new(first))) }
    }

    fn check_open(&self) -> Result<(), Status> {
        if self.desk.is_closed() { Err(ending()) } else { Ok(()) }
    }
}

#[tonic::async_trait]
impl Discovery for DiscoveryService {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<v1::WatchResponse, Status>> + Send>>;

    async fn register(
        &self,
        request: Request<v1::RegisterRequest>,
    ) -> Result<Response<v1::RegisterResponse>, Status> {
        self.check_open()?;
        let mut request = request.into_inner();
        let (told, mark) = (std::mem::take(&mut request.rosters), request.rosters_mark);
        let request = read_register(request).map_err(invalid)?;
        let who = format!("{}/{}/{}", request.cluster, request.group, request.node.name);
        let registered = self.desk.with(|registry, now| {
            let cluster = request.cluster.clone();
            let granted = registry.register(request, now)?;
            // Before the next tick: a newcomer that others know to stand by is never on the ring here.
            registry.learn(&cluster, told, now);
            Ok((granted, registry.rosters(&cluster, mark)))
        });
        let (granted, (rosters, rosters_mark)) = registered.map_err(|r| status(&r))?;
        count(&metrics::REGISTRATIONS, 1);
        tracing::info!(node = %who, "registered");
        Ok(Response::new(v1::RegisterResponse {
            epoch: granted.epoch.0,
            lease_ms: millis(granted.terms.lease),
            renew_every_ms: millis(granted.terms.renew_every),
            rosters,
            rosters_mark,
        }))
    }

    async fn renew(&self, request: Request<v1::RenewRequest>) -> Result<Response<v1::RenewResponse>, Status> {
        self.check_open()?;
        let mut request = request.into_inner();
        let (told, mark) = (std::mem::take(&mut request.rosters), request.rosters_mark);
        let report = request.report.take();
        let missed_seen = request.missed_seen;
        let request = read_renew(request).map_err(invalid)?;
        let renewed = self.desk.with(|registry, now| {
            let granted = registry.renew(&request, now)?;
            let Renew { cluster, group, name, .. } = &request;
            registry.learn(cluster, told, now);
            if let Some(report) = report {
                registry.report(cluster, group, name, report);
            }
            Ok((granted, registry.rosters(cluster, mark)))
        });
        let (granted, (rosters, rosters_mark)) = renewed.map_err(|r| status(&r))?;
        count(&metrics::RENEWALS, 1);
        let Renew { cluster, group, name, .. } = request;
        let missed = self.missed.lock().on_renewal(&(cluster, group, name), missed_seen);
        Ok(Response::new(v1::RenewResponse {
            missed_since: missed.map_or(0, |missed| missed.since),
            missed_number: missed.map_or(0, |missed| missed.number),
            epoch: granted.epoch.0,
            lease_ms: millis(granted.terms.lease),
            renew_every_ms: millis(granted.terms.renew_every),
            rosters,
            rosters_mark,
        }))
    }

    async fn deregister(
        &self,
        request: Request<v1::DeregisterRequest>,
    ) -> Result<Response<v1::DeregisterResponse>, Status> {
        self.check_open()?;
        let v1::DeregisterRequest { cluster, group, name, incarnation } = request.into_inner();
        let request = Return { cluster, group, name, incarnation };
        self.desk.with(|registry, now| registry.give_back(&request, now)).map_err(|r| status(&r))?;
        count(&metrics::RETURNS, 1);
        tracing::info!(node = %format!("{}/{}/{}", request.cluster, request.group, request.name), "deregistered");
        Ok(Response::new(v1::DeregisterResponse {}))
    }

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let v1::WatchRequest { cluster, epoch_seen } = request.into_inner();
        let published = self.desk.subscribe().ok_or_else(ending)?;
        let watching = self
            .desk
            .enter(WATCHERS_MAX)
            .ok_or_else(|| status(&Refusal::TooMany { what: "watchers", max: WATCHERS_MAX }))?;
        self.desk
            .with(|registry, now| registry.watched(&cluster, epoch_seen, now))
            .map_err(|r| status(&r))?;
        let desk = Arc::clone(&self.desk);
        let mut watcher = Watcher { desk, cluster, epoch_seen, spoken: false, _watching: watching };
        let newest = WatchStream::new(published).filter_map(move |published| watcher.next(&published));
        Ok(Response::new(Box::pin(newest)))
    }

    async fn get_topology(
        &self,
        request: Request<v1::GetTopologyRequest>,
    ) -> Result<Response<v1::GetTopologyResponse>, Status> {
        let v1::GetTopologyRequest { cluster, epoch_seen } = request.into_inner();
        let mut published = self.desk.subscribe().ok_or_else(ending)?;
        self.desk.with(|registry, now| {
            registry.watched(&cluster, epoch_seen, now).map_err(|refusal| status(&refusal))?;
            match registry.clusters().any(|known| known == cluster) {
                _ if !registry.is_settled() => {
                    Err(Status::unavailable("not settled yet: ask again in a moment"))
                }
                true => Ok(()),
                false => {
                    Err(Status::not_found("this registry knows no cluster of that name: see ListClusters"))
                }
            }
        })?;
        let numbered = published.wait_for(|published| {
            published.get(&cluster).is_some_and(|topology| topology.epoch.0 >= epoch_seen)
        });
        let published = match tokio::time::timeout(NUMBERING_MAX, numbered).await {
            Ok(Ok(published)) => Published::clone(&published),
            Ok(Err(_)) => return Err(ending()),
            Err(_) => return Err(Status::unavailable("nothing published yet: ask again in a moment")),
        };
        let topology = published.get(&cluster).map(|topology| v1::Topology::from(topology.as_ref()));
        Ok(Response::new(v1::GetTopologyResponse { topology }))
    }

    async fn report_missed(
        &self,
        request: Request<v1::ReportMissedRequest>,
    ) -> Result<Response<v1::ReportMissedResponse>, Status> {
        self.check_open()?;
        let v1::ReportMissedRequest { cluster, group, name, since_version } = request.into_inner();
        let published = self.desk.subscribe().ok_or_else(ending)?;
        let known = published.borrow().get(&cluster).map(|topology| {
            let group = topology.group(&group);
            group.is_some_and(|group| group.nodes.iter().any(|node| node.name == name))
        });
        match known {
            None => Err(Status::unavailable("not settled yet, or no such cluster: ask again in a moment")),
            Some(false) => Err(Status::not_found("there is no such node")),
            Some(true) => {
                tracing::info!(node = %format!("{cluster}/{group}/{name}"), since_version, "told to have missed writes");
                self.missed.lock().tell((cluster, group, name), since_version);
                Ok(Response::new(v1::ReportMissedResponse {}))
            }
        }
    }

    async fn list_clusters(
        &self,
        _: Request<v1::ListClustersRequest>,
    ) -> Result<Response<v1::ListClustersResponse>, Status> {
        self.check_open()?;
        Ok(Response::new(self.desk.with(|registry, _| v1::ListClustersResponse {
            clusters: registry.clusters().map(str::to_owned).collect(),
            settled: registry.is_settled(),
        })))
    }

    async fn change_group(
        &self,
        request: Request<v1::ChangeGroupRequest>,
    ) -> Result<Response<v1::ChangeGroupResponse>, Status> {
        self.change(request).await
    }

    async fn get_changes(
        &self,
        request: Request<v1::GetChangesRequest>,
    ) -> Result<Response<v1::GetChangesResponse>, Status> {
        self.changes(request)
    }

    async fn abort_change(
        &self,
        request: Request<v1::AbortChangeRequest>,
    ) -> Result<Response<v1::AbortChangeResponse>, Status> {
        self.abort(request)
    }
}

impl Watcher {
    /// What to send of what is published now: the cluster's topology when the watcher can take it, once.
    fn next(&mut self, published: &Published) -> Option<Result<v1::WatchResponse, Status>> {
        let topology: &Topology = published.get(&self.cluster)?;
        let epoch = topology.epoch.0;
        if epoch < self.epoch_seen {
            // It came before we knew the cluster: ask again to be numbered past.
            let asked = self.desk.with(|registry, now| registry.watched(&self.cluster, self.epoch_seen, now));
            return asked.err().map(|refusal| Err(status(&refusal)));
        }
        if self.spoken && epoch == self.epoch_seen {
            return None;
        }
        self.spoken = true;
        self.epoch_seen = epoch;
        Some(Ok(v1::WatchResponse { topology: Some(topology.into()) }))
    }
}

fn read_register(request: v1::RegisterRequest) -> Result<Register, ConvertError> {
    Ok(Register {
        cluster: request.cluster,
        profile: convert::profile(request.profile)?,
        group: request.group,
        zone: request.zone,
        node: convert::node(request.node)?,
        epoch_seen: request.epoch_seen,
    })
}

fn read_renew(request: v1::RenewRequest) -> Result<Renew, ConvertError> {
    Ok(Renew {
        state: convert::node_state(request.state)?,
        cluster: request.cluster,
        group: request.group,
        name: request.name,
        incarnation: request.incarnation,
        epoch_seen: request.epoch_seen,
    })
}

fn invalid(error: ConvertError) -> Status {
    let status = Status::from(error);
    note(&status);
    status
}

fn ending() -> Status {
    Status::unavailable("this discovery is ending: use another")
}

fn status(refusal: &Refusal) -> Status {
    let code = match refusal {
        Refusal::Unknown => Code::NotFound,
        Refusal::NameHeld { .. } => Code::AlreadyExists,
        Refusal::RingTextHeld { .. }
        | Refusal::OtherProfile { .. }
        | Refusal::OtherZone { .. }
        | Refusal::UnderWay { .. }
        | Refusal::NoChange { .. }
        | Refusal::TooLate { .. }
        | Refusal::Change(_) => Code::FailedPrecondition,
        Refusal::TooMany { .. } => Code::ResourceExhausted,
        Refusal::Roster { .. } | Refusal::Topology(_) | Refusal::AbsurdEpoch(_) | Refusal::NotLive => {
            Code::InvalidArgument
        }
    };
    tracing::debug!(%refusal, "refused");
    let status = Status::new(code, refusal.to_string());
    note(&status);
    status
}

/// Counts a refused call.
fn note(status: &Status) {
    ::metrics::counter!(metrics::REFUSALS.name, "code" => format!("{:?}", status.code())).increment(1);
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
