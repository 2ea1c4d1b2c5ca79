//! The agent on each node: chooses a way in.

use std::process::ExitCode;

use clap::Parser;
use trilobite_node::{args::Arguments, commands};

fn main() -> ExitCode {
    abort_on_panic();
    commands::execute(Arguments::parse().command)
}

/// Logs a panic and ends the process: a thread that is gone would leave the others without its part of the work.
fn abort_on_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        tracing::error!("{panic}");
        std::process::abort();
    }));
}
