//! A real Kubernetes cluster on this machine: started by one program and stopped by it.

fn main() {}
