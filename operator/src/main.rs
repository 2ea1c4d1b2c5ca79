//! The controllers: user resources in, node runtimes and their truth out.

fn main() {}
