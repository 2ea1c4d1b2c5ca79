//! Boots each supported kernel under QEMU with the agent in it.

fn main() {}
