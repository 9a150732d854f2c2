//! A discovery on streams and a clock that a simulation gives. Only of the feature `simulation`.
//!
//! The registry, the desk and the gRPC service are those of a discovery. What is missing is its admin side and its file:
//! one that starts remembers nothing.

use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use evanesce_grpc::discovery::v1::discovery_server::DiscoveryServer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_stream::Stream;
use tonic::transport::Server;
use tonic::transport::server::Connected;

use crate::desk::{Clock, Desk};
use crate::registry::{LeaseTerms, Refusal, Registry};
use crate::service::DiscoveryService;

/// A discovery that a simulation runs.
#[derive(Debug)]
pub struct SimulatedDiscovery {
    desk: Arc<Desk>,
}

impl SimulatedDiscovery {
    /// A discovery that remembers nothing, with a clock that tells the time of day.
    ///
    /// # Errors
    ///
    /// Those of a registry.
    pub fn start(terms: LeaseTerms, wall: fn() -> SystemTime) -> Result<Self, Refusal> {
        let clock = Clock::start(wall);
        let registry = Registry::new(terms, Vec::new(), clock.moment())?;
        Ok(Self { desk: Desk::new(registry, clock) })
    }

    /// Serves these connections. Never ends while more of them come.
    ///
    /// # Errors
    ///
    /// When none can be taken any more.
    pub async fn serve<IO>(
        &self,
        incoming: impl Stream<Item = io::Result<IO>>,
    ) -> Result<(), tonic::transport::Error>
    where
        IO: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    {
        let service = DiscoveryServer::new(DiscoveryService::new(Arc::clone(&self.desk)));
        let ticking = tokio::spawn(Arc::clone(&self.desk).keep_ticking());
        let served = Server::builder().add_service(service).serve_with_incoming(incoming).await;
        ticking.abort();
        served
    }
}
