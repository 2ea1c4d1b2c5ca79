//! Compiles the `.proto` files: our own text, with the names and numbers that the clients know. Besides the types, a table
//! of the messages that are printed as JSON is written (`build/schema.rs`).

#[path = "build/schema.rs"]
mod schema;

use std::{env, error::Error, path::PathBuf};

/// Compiled, in the order of their packages.
const FILES: &[&str] = &[
    "tetragon/sensors.proto",
    "flow/flow.proto",
    "observer/observer.proto",
    "peer/peer.proto",
    "trilobite/v1/profiles.proto",
];

/// Printed as JSON: the full name, and the Rust type below `serve::proto`.
const PRINTED: &[(&str, &str)] = &[
    ("tetragon.GetEventsResponse", "tetragon::GetEventsResponse"),
    ("observer.GetFlowsResponse", "observer::GetFlowsResponse"),
    ("flow.FlowFilter", "flow::FlowFilter"),
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=build");
    // The start of a static-pie reads every relocation: packed, three quarters of a megabyte of them need not be resident.
    println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let set = out.join("descriptors.bin");
    tonic_prost_build::configure()
        .build_client(true)
        .file_descriptor_set_path(&set)
        .compile_protos(FILES, &["proto"])?;
    println!("cargo:rustc-env=TRILOBITE_DESCRIPTORS={}", set.display());
    schema::write(&std::fs::read(set)?, PRINTED, &out.join("schema.rs"))
}
