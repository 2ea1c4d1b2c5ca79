//! The agent on each node: chooses a way in.

use std::process::ExitCode;

use clap::Parser;
use trilobite_node::{args::Arguments, ways_in};

fn main() -> ExitCode {
    ways_in::enter(Arguments::parse().command)
}
