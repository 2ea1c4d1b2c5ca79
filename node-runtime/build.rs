//! Compiles the `.proto` files: our own text, with the names and numbers that the clients know.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files: &[&str] = &[];
    if !files.is_empty() {
        tonic_prost_build::configure().build_client(true).compile_protos(files, &["proto"])?;
    }
    Ok(())
}
