//! What every role of Evanesce shows an operator: gRPC status, health, reflection, flush and drain; HTTP metrics and health.
//!
//! Goals: one face for all roles, so that a dashboard, a probe and `evanesce ctl` need to know only one; addresses
//! known before anything is served, so that ports may be 0; readiness that is a statement of the role, with reasons.
//!
//! Non-goals: what the numbers mean (the role declares them), deciding when to end (the role's assembly does, see
//! [`DrainSignal`]), authentication (it comes with the protocol's issue; until then roles stay on loopback).
//!
//! ```text
//!   gRPC  ┌ evanesce.admin.v1.Admin      status, stats, flush, drain ────┐
//!         ├ grpc.health.v1.Health        from set_ready                  │
//!         ├ grpc.reflection v1, v1alpha                                  ├──> Role (the assembly's)
//!         └ the role's own services                                      │
//!   HTTP  ┌ /metrics                     publish_metrics, then Prometheus│
//!         ├ /health/live                 200 while the process runs      │
//!         └ /health/ready                200, or 503 with reasons ───────┘
//! ```
//!
//! # Example
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//! use evanesce_admin::{Admin, AdminConfig, DrainSignal, Role, RoleState, RoleStatus, Services};
//!
//! struct Demo(DrainSignal);
//! impl Role for Demo {
//!     fn status(&self) -> RoleStatus {
//!         RoleStatus::new("demo", RoleState::Serving)
//!     }
//!     fn stats(&self) -> Vec<(String, String)> {
//!         vec![("items".to_owned(), "0".to_owned())]
//!     }
//!     fn publish_metrics(&self) {}
//!     fn request_drain(&self, deadline: Option<Duration>) {
//!         self.0.request(deadline);
//!     }
//! }
//!
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
//! # runtime.block_on(async {
//! let any_port = Some("127.0.0.1:0".parse().unwrap());
//! let bound = Admin::bind(AdminConfig { grpc: any_port, http: any_port }).unwrap();
//! let drain = DrainSignal::new();
//! println!("gRPC on {:?}, HTTP on {:?}", bound.grpc_addr(), bound.http_addr());
//! let running = bound.start(Arc::new(Demo(drain.clone())), Services::default()).unwrap();
//! running.set_ready(true);
//! # drain.request(None);
//! drain.requested().await; // `evanesce ctl drain`, for one, ends it.
//! running.set_ready(false);
//! running.stop().await;
//! # });
//! ```

mod drain;
mod http;
mod metrics;
mod role;
mod serve;
mod service;
mod stores;

pub use drain::DrainSignal;
pub use evanesce_grpc::admin::v1 as messages;
pub use evanesce_grpc::discovery::v1::Topology;
pub use metrics::{RecorderError, metrics_recorder};
pub use role::{FlushRefusal, Role, RoleState, RoleStatus, TopologyRefusal};
pub use serve::{Admin, AdminConfig, BindError, Bound, RunningAdmin, Services, StartError};
pub use stores::{Answer, Stores, StoresRefusal};
