//! The address of a discovery, checked once.

use std::time::Duration;

use tonic::transport::{Channel, Endpoint, Uri};

use crate::options::MembershipOptions;

/// Why a list of discoveries cannot be used. The configuration is at fault; retrying does not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// The list is empty.
    #[error("no discovery given: name at least one, as host:port")]
    None,
    /// One of them is not an address.
    #[error("discovery address {address:?} {fault}: write host:port or http://host:port")]
    Malformed {
        /// As given.
        address: String,
        /// What is wrong with it.
        fault: &'static str,
    },
}

/// The address of a discovery.
#[derive(Debug, Clone)]
pub(crate) struct Discovery {
    /// As `host:port`.
    pub(crate) address: String,
    endpoint: Endpoint,
    /// For connecting, name resolution included.
    patience: Duration,
    #[cfg(feature = "simulation")]
    connector: Option<crate::simulation::Connector>,
}

impl Discovery {
    /// Reads a list; an address given twice counts once.
    pub(crate) fn parse_all<S: AsRef<str>>(
        addresses: &[S],
        options: &MembershipOptions,
    ) -> Result<Vec<Self>, EndpointError> {
        let mut all: Vec<Self> = Vec::with_capacity(addresses.len());
        for address in addresses {
            let discovery = Self::parse(address.as_ref(), options)?;
            if all.iter().all(|known| known.address != discovery.address) {
                all.push(discovery);
            }
        }
        if all.is_empty() { Err(EndpointError::None) } else { Ok(all) }
    }

    fn parse(text: &str, options: &MembershipOptions) -> Result<Self, EndpointError> {
        let malformed = |fault| EndpointError::Malformed { address: text.to_owned(), fault };
        let bare = match text.trim().split_once("://") {
            None => text.trim(),
            Some(("http", rest)) => rest.strip_suffix('/').unwrap_or(rest),
            Some(_) => return Err(malformed("has a scheme other than http")),
        };
        let uri: Uri = format!("http://{bare}").parse().map_err(|_| malformed("cannot be read"))?;
        let authority = uri.authority().ok_or_else(|| malformed("names no host"))?;
        if authority.as_str() != bare {
            return Err(malformed("has more than host and port"));
        }
        if authority.host().is_empty() || bare.contains('@') {
            return Err(malformed("names no host"));
        }
        if authority.port_u16().is_none_or(|port| port == 0) {
            return Err(malformed("names no port"));
        }
        let patience = options.connect_timeout;
        Ok(Self {
            address: bare.to_owned(),
            endpoint: endpoint(uri, options),
            patience,
            #[cfg(feature = "simulation")]
            connector: options.connector,
        })
    }

    /// Opens a connection, or says why not in words for an operator.
    pub(crate) async fn connect(&self) -> Result<Channel, String> {
        let connecting = tokio::time::timeout(self.patience, self.open());
        let connected = connecting.await.map_err(|_| "cannot connect: no answer in time".to_owned())?;
        connected.map_err(|error| format!("cannot connect: {}", root_cause(&error)))
    }

    async fn open(&self) -> Result<Channel, tonic::transport::Error> {
        #[cfg(feature = "simulation")]
        if let Some(open) = self.connector {
            return crate::simulation::connect(&self.endpoint, open).await;
        }
        self.endpoint.connect().await
    }
}

fn endpoint(uri: Uri, options: &MembershipOptions) -> Endpoint {
    Endpoint::from(uri)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(options.keepalive_every)
        .keep_alive_timeout(options.keepalive_timeout)
        .keep_alive_while_idle(true)
}

/// The innermost error: tonic's own text says only "transport error".
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<String, EndpointError> {
        Discovery::parse(text, &MembershipOptions::default()).map(|discovery| discovery.address)
    }

    #[test]
    fn addresses_with_and_without_scheme_are_read() {
        for (text, address) in [
            ("127.0.0.1:11300", "127.0.0.1:11300"),
            ("http://127.0.0.1:11300", "127.0.0.1:11300"),
            ("http://disc-a:11300/", "disc-a:11300"),
            (" disc-a.example.org:1 ", "disc-a.example.org:1"),
            ("[::1]:11300", "[::1]:11300"),
        ] {
            assert_eq!(parse(text).as_deref(), Ok(address), "{text}");
        }
    }

    #[test]
    fn malformed_addresses_are_refused_with_what_to_write() {
        for text in [
            "",
            "disc-a",
            "http://",
            ":1",
            "a:0",
            "a:99999",
            "https://a:1",
            "a:1/path",
            "a b:1",
            "u@a:1",
            "::1:2",
        ] {
            let refusal = parse(text).expect_err(text).to_string();
            assert!(refusal.contains("write host:port"), "{refusal}");
        }
    }

    #[test]
    fn list_is_deduplicated_and_not_empty() {
        let options = MembershipOptions::default();
        let all = Discovery::parse_all(&["a:1", "http://a:1", "b:1"], &options).unwrap();
        assert_eq!(all.iter().map(|one| one.address.as_str()).collect::<Vec<_>>(), ["a:1", "b:1"]);
        assert_eq!(Discovery::parse_all::<&str>(&[], &options).unwrap_err(), EndpointError::None);
    }
}
