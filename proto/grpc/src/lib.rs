//! Evanesce's gRPC contracts: .proto files, generated code, and conversions to the topology's types.
//!
//! # Goals
//! - The .proto files are the contract; they alone say what a field means, for clients of every language.
//! - What a peer sent is checked once, here: whoever holds a [`Topology`](evanesce_topology::Topology) need not.
//! - No protoc on the machine that builds.
//!
//! # Non-goals
//! - No connections, retries or leases: those are the services' and the clients'.
//! - No compatibility with anything but our own adjacent minor versions: a field is never renumbered or reused, an
//!   unknown field is ignored, an unknown enum number refused.
//!
//! # Shape
//! ```text
//! proto/evanesce/*/v1/*.proto ── build.rs: protox ──┬─> FILE_DESCRIPTOR_SET          (reflection)
//!                                                   └─> tonic ─> discovery::v1, admin::v1, peer::v1
//!                                                                      │ ▲
//!                                                     TryFrom, checked ▼ │ From, cannot fail
//!                                                                evanesce-topology
//!
//! packed: the items of a `StreamItemsResponse`, which are many and small
//! ```
//!
//! # Example
//! ```
//! use evanesce_grpc::convert::{self, ConvertError};
//! use evanesce_grpc::discovery::v1;
//! use evanesce_topology::RingProfile;
//!
//! let message = v1::RingProfile::from(RingProfile::EVCACHE);
//! assert_eq!(convert::profile(Some(message)), Ok(RingProfile::EVCACHE));
//! assert_eq!(convert::profile(None), Err(ConvertError::Missing { field: "profile" }));
//! ```

pub mod convert;
pub mod packed;
pub mod rosters;

/// The registry: nodes register and renew leases, clients watch topologies.
pub mod discovery {
    /// Package `evanesce.discovery.v1`, generated.
    #[expect(
        missing_docs,
        clippy::allow_attributes,
        clippy::allow_attributes_without_reason,
        reason = "generated code: the .proto files document it"
    )]
    pub mod v1 {
        tonic::include_proto!("evanesce.discovery.v1");
    }
}

/// What nodes give each other.
pub mod peer {
    /// Package `evanesce.peer.v1`, generated.
    #[expect(
        missing_docs,
        clippy::allow_attributes,
        clippy::allow_attributes_without_reason,
        reason = "generated code: the .proto files document it"
    )]
    pub mod v1 {
        tonic::include_proto!("evanesce.peer.v1");
    }
}

/// What every role shows an operator.
pub mod admin {
    /// Package `evanesce.admin.v1`, generated.
    #[expect(
        missing_docs,
        clippy::allow_attributes,
        clippy::allow_attributes_without_reason,
        reason = "generated code: the .proto files document it"
    )]
    pub mod v1 {
        tonic::include_proto!("evanesce.admin.v1");
    }
}

/// Every message and service of this package as an encoded `FileDescriptorSet`, imports included: for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/evanesce.descriptors.bin"));
