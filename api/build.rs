//! Compiles the `.proto` files, which are our own text with the names and numbers that Tetragon's and Hubble's clients
//! know, and writes the table by which messages are printed as JSON (`build/json_table.rs`).

#[path = "build/json_table.rs"]
mod json_table;

use std::{env, error::Error, path::PathBuf};

/// One file of each package, in the order of their packages.
const FILES: &[&str] = &[
    "tetragon/sensors.proto",
    "flow/flow.proto",
    "observer/observer.proto",
    "peer/peer.proto",
    "trilobite/v1/profiles.proto",
    "trilobite/requests.proto",
];

/// Messages that are printed as JSON: the full name, and the Rust type in this crate.
const PRINTED: &[(&str, &str)] = &[
    ("tetragon.GetEventsResponse", "tetragon::GetEventsResponse"),
    ("tetragon.ListTracingPoliciesResponse", "tetragon::ListTracingPoliciesResponse"),
    ("observer.GetFlowsResponse", "observer::GetFlowsResponse"),
    ("observer.ServerStatusResponse", "observer::ServerStatusResponse"),
    ("flow.Flow", "flow::Flow"),
    ("flow.FlowFilter", "flow::FlowFilter"),
    ("trilobite.requests.v1.Request", "requests::Request"),
    ("trilobite.requests.v1.GetRequestsResponse", "requests::GetRequestsResponse"),
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=build");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let descriptors = out.join("descriptors.bin");
    // Maps of a few labels: a BTreeMap is cheaper than a HashMap, and has the order of JSON.
    tonic_prost_build::configure()
        .btree_map(".")
        .file_descriptor_set_path(&descriptors)
        .compile_protos(FILES, &["proto"])?;
    json_table::write(&std::fs::read(descriptors)?, PRINTED, &out.join("json_table.rs"))
}
