//! The Admin service over gRPC.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use evanesce_grpc::admin::v1;
use tonic::{Request, Response, Status};

use crate::role::{FlushRefusal, TopologyRefusal};
use crate::serve::Shared;
use crate::stores::{Stores, StoresRefusal};

/// Answers for the role.
pub(crate) struct AdminService {
    pub(crate) shared: Arc<Shared>,
}

#[tonic::async_trait]
impl v1::admin_server::Admin for AdminService {
    async fn get_status(
        &self,
        _request: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::GetStatusResponse>, Status> {
        Ok(Response::new(status_of(&self.shared)))
    }

    async fn get_topology(
        &self,
        request: Request<v1::GetTopologyRequest>,
    ) -> Result<Response<v1::GetTopologyResponse>, Status> {
        let topology = self.shared.role.topology(&request.get_ref().cluster).map_err(refusal_status)?;
        Ok(Response::new(v1::GetTopologyResponse { topology: Some(topology) }))
    }

    async fn get_stats(
        &self,
        _request: Request<v1::GetStatsRequest>,
    ) -> Result<Response<v1::GetStatsResponse>, Status> {
        let stats = self.shared.role.stats();
        let stats = stats.into_iter().map(|(name, value)| v1::Stat { name, value }).collect();
        Ok(Response::new(v1::GetStatsResponse { stats }))
    }

    async fn flush(&self, request: Request<v1::FlushRequest>) -> Result<Response<v1::FlushResponse>, Status> {
        let namespace = &request.get_ref().namespace;
        let items = self.shared.role.flush(namespace).map_err(|refusal| flush_status(&refusal))?;
        tracing::warn!(namespace, items, "flushed over gRPC");
        Ok(Response::new(v1::FlushResponse { items }))
    }

    async fn drain(&self, request: Request<v1::DrainRequest>) -> Result<Response<v1::DrainResponse>, Status> {
        let deadline_ms = request.get_ref().deadline_ms;
        let deadline = (deadline_ms > 0).then(|| Duration::from_millis(deadline_ms));
        tracing::info!(?deadline, "drain requested over gRPC");
        // Only a request: the process ends in its own time, and the answer to this call is among what it finishes.
        self.shared.role.request_drain(deadline);
        Ok(Response::new(v1::DrainResponse {}))
    }

    async fn get_stored(
        &self,
        request: Request<v1::GetStoredRequest>,
    ) -> Result<Response<v1::GetStoredResponse>, Status> {
        answered(self.stores()?.get(request.into_inner()).await)
    }

    async fn change_stored(
        &self,
        request: Request<v1::ChangeStoredRequest>,
    ) -> Result<Response<v1::ChangeStoredResponse>, Status> {
        let request = request.into_inner();
        tracing::warn!(store = request.store, key = %request.key.escape_ascii(), "a store is changed over gRPC");
        answered(self.stores()?.change(request).await)
    }

    async fn list_dead_letters(
        &self,
        request: Request<v1::ListDeadLettersRequest>,
    ) -> Result<Response<v1::ListDeadLettersResponse>, Status> {
        answered(self.stores()?.dead_letters(request.get_ref()))
    }

    async fn settle_dead_letters(
        &self,
        request: Request<v1::SettleDeadLettersRequest>,
    ) -> Result<Response<v1::SettleDeadLettersResponse>, Status> {
        let request = request.into_inner();
        let settled = self.stores()?.settle(request.clone()).await;
        tracing::warn!(namespace = request.namespace, how = ?request.how(), ?settled, "dead letters settled over gRPC");
        answered(settled)
    }
}

impl AdminService {
    fn stores(&self) -> Result<&dyn Stores, Status> {
        let none =
            || Status::failed_precondition("this process has no backing stores: ask a gateway that has some");
        self.shared.role.stores().ok_or_else(none)
    }
}

fn answered<T>(outcome: Result<T, StoresRefusal>) -> Result<Response<T>, Status> {
    match outcome {
        Ok(answer) => Ok(Response::new(answer)),
        Err(StoresRefusal::Unknown(message)) => Err(Status::not_found(message)),
        Err(StoresRefusal::Invalid(message)) => Err(Status::invalid_argument(message)),
        Err(StoresRefusal::Failed(message)) => Err(Status::unavailable(message)),
    }
}

fn status_of(shared: &Shared) -> v1::GetStatusResponse {
    let status = shared.role.status();
    let ready = shared.not_ready(&status).is_empty();
    let mut addresses: BTreeMap<String, String> =
        status.addresses.into_iter().map(|(purpose, address)| (purpose, address.to_string())).collect();
    for (purpose, address) in [("grpc", shared.grpc), ("http", shared.http)] {
        addresses.extend(address.map(|address| (purpose.to_owned(), address.to_string())));
    }
    v1::GetStatusResponse {
        role: status.role.to_owned(),
        name: status.name,
        cluster: status.cluster,
        zone: status.zone,
        state: status.state.to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: u64::from(std::process::id()),
        uptime_ms: u64::try_from(shared.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        ready,
        warnings: status.warnings,
        addresses,
    }
}

fn flush_status(refusal: &FlushRefusal) -> Status {
    let message = refusal.to_string();
    match refusal {
        FlushRefusal::NoItems => Status::failed_precondition(message),
        FlushRefusal::UnknownNamespace { .. } => Status::not_found(message),
    }
}

fn refusal_status(refusal: TopologyRefusal) -> Status {
    let message = refusal.to_string();
    match refusal {
        TopologyRefusal::NotFollowed => Status::failed_precondition(message),
        TopologyRefusal::NotYet => Status::unavailable(message),
        TopologyRefusal::UnknownCluster => Status::not_found(message),
    }
}
