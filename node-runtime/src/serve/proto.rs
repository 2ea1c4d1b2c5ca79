//! The types that the `.proto` files describe, package by package. Nothing here is written by hand.

#![allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]

/// `tetragon`: FineGuidanceSensors and its events.
pub mod tetragon {
    tonic::include_proto!("tetragon");
}
