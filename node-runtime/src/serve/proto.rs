//! The types that the `.proto` files describe, package by package. Nothing here is written by hand.

#![allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]

/// `tetragon`: FineGuidanceSensors and its events.
pub mod tetragon {
    tonic::include_proto!("tetragon");
}

/// `flow`: one observation of one flow, and what a client may ask for.
pub mod flow {
    tonic::include_proto!("flow");
}

/// `relay`: the states of a node.
pub mod relay {
    tonic::include_proto!("relay");
}

/// `observer`: the service that Hubble's clients talk to.
pub mod observer {
    tonic::include_proto!("observer");
}

/// `peer`: who serves flows.
pub mod peer {
    tonic::include_proto!("peer");
}

/// `trilobite.v1`: Profiles.
pub mod trilobite {
    tonic::include_proto!("trilobite.v1");
}
