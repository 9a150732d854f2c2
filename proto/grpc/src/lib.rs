//! Evanesce's gRPC contracts: .proto files, generated code, and conversions to the topology's types.

pub mod convert;

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
