//! The agent on each node.

fn main() {}
