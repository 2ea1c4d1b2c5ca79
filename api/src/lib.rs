//! The agent's gRPC interfaces, package by package, with clients and servers; their JSON form; and field masks.
//! The types are generated from `proto/`.

#![warn(missing_docs)]

pub mod field_mask;
pub mod filter_values;
pub mod http_values;
pub mod json;
pub mod label_selector;
pub mod lines;
pub mod name_pattern;
pub mod read_scope;
mod unserved;

/// Tetragon's events and their service, `FineGuidanceSensors`.
#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
pub mod tetragon {
    tonic::include_proto!("tetragon");
}

/// Hubble's flows and flow filters.
#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
pub mod flow {
    tonic::include_proto!("flow");
}

/// States of a node as Hubble's relay reports them.
#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
pub mod relay {
    tonic::include_proto!("relay");
}

/// Hubble's `Observer` service.
#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
pub mod observer {
    tonic::include_proto!("observer");
}

/// Hubble's `Peer` service.
#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
pub mod peer {
    tonic::include_proto!("peer");
}

/// `trilobite.v1.Profiles`: CPU profiles of a node.
#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
pub mod profiles {
    tonic::include_proto!("trilobite.v1");
}

/// `trilobite.requests.v1.Requests`: decoded requests of the pods that AppProfiles select.
#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
pub mod requests {
    tonic::include_proto!("trilobite.requests.v1");
}

/// All `.proto` files as an encoded `FileDescriptorSet`.
pub static DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
