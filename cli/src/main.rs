//! The command line: what the stack is doing, what is wrong, and what to do.

fn main() {}
