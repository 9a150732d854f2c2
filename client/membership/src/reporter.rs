//! Telling a discovery which node missed writes that nobody will bring it.

use evanesce_grpc::discovery::v1;
use evanesce_grpc::discovery::v1::discovery_client::DiscoveryClient;

use crate::endpoint::{Discovery, EndpointError};
use crate::options::MembershipOptions;

/// Tells whichever discovery takes it: nodes renew with all of them.
#[derive(Debug, Clone)]
pub struct Reporter {
    discoveries: Vec<Discovery>,
    cluster: String,
    options: MembershipOptions,
}

impl Reporter {
    /// Of one cluster, to `discoveries` (`host:port` or `http://host:port`). Connects only when there is something to tell.
    ///
    /// # Errors
    ///
    /// [`EndpointError`] when the list is empty or an address cannot be read.
    pub fn new<S: AsRef<str>>(
        discoveries: &[S],
        cluster: &str,
        options: MembershipOptions,
    ) -> Result<Self, EndpointError> {
        let discoveries = Discovery::parse_all(discoveries, &options)?;
        Ok(Self { discoveries, cluster: cluster.to_owned(), options })
    }

    /// Tells that a node missed writes from this version on. Whether a discovery took it. Cancel-safe.
    pub async fn missed(&self, group: &str, node: &str, since_version: u64) -> bool {
        let request = v1::ReportMissedRequest {
            cluster: self.cluster.clone(),
            group: group.to_owned(),
            name: node.to_owned(),
            since_version,
        };
        for discovery in &self.discoveries {
            let Ok(channel) = discovery.connect().await else { continue };
            let mut client = DiscoveryClient::new(channel);
            let told = tokio::time::timeout(self.options.call_timeout, client.report_missed(request.clone()));
            match told.await {
                Ok(Ok(_)) => return true,
                Ok(Err(status)) => {
                    tracing::debug!(discovery = %discovery.address, %status, "a report was not taken");
                }
                Err(_) => {
                    tracing::debug!(discovery = %discovery.address, "a report was not answered in time");
                }
            }
        }
        false
    }
}
