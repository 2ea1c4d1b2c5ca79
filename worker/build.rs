//! Links the worker with packed relocations.

fn main() {
    // The start of a static-pie reads every relocation; packed, they take less resident memory.
    println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    println!("cargo:rerun-if-changed=build.rs");
}
