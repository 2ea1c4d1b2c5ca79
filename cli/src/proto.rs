//! The types and clients that the agent's `.proto` files describe. Nothing here is written by hand.

#![allow(missing_docs, unreachable_pub, dead_code, deprecated, clippy::all, reason = "generated")]

pub(crate) mod tetragon {
    tonic::include_proto!("tetragon");
}

pub(crate) mod flow {
    tonic::include_proto!("flow");
}

pub(crate) mod relay {
    tonic::include_proto!("relay");
}

pub(crate) mod observer {
    tonic::include_proto!("observer");
}

pub(crate) mod trilobite {
    tonic::include_proto!("trilobite.v1");
}

/// All of the above as an encoded `FileDescriptorSet`: names and numbers for printing as JSON.
pub(crate) static DESCRIPTORS: &[u8] = include_bytes!(env!("TRILOBITE_CLI_DESCRIPTORS"));
