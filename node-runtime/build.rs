//! Options of the linker.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // The start of a static-pie reads every relocation: packed, three quarters of a megabyte of them need not be resident.
    println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
}
