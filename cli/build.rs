//! Compiles the clients of an agent's services, from the same `.proto` text as the agent.

use std::{env, error::Error, path::PathBuf};

/// Where the agent keeps them.
const PROTO: &str = "../node-runtime/proto";

/// The services, and what a flow's extensions may hold.
const FILES: &[&str] = &[
    "tetragon/sensors.proto",
    "observer/observer.proto",
    "trilobite/v1/profiles.proto",
    "google/protobuf/struct.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={PROTO}");
    println!("cargo:rerun-if-changed=build.rs");
    let set = PathBuf::from(env::var("OUT_DIR")?).join("descriptors.bin");
    // The servers are for the agent that the tests pretend to be.
    tonic_prost_build::configure().file_descriptor_set_path(&set).compile_protos(FILES, &[PROTO])?;
    println!("cargo:rustc-env=TRILOBITE_CLI_DESCRIPTORS={}", set.display());
    Ok(())
}
