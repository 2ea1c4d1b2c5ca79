//! The agent on each node: chooses a way in.

use std::{path::Path, process::ExitCode};

use clap::Parser;
use trilobite_node::{args::Arguments, commands};

fn main() -> ExitCode {
    abort_on_panic();
    match called_as().as_deref() {
        Some("tetra") => commands::tetra::execute(),
        Some("hubble") => commands::hubble::execute(),
        _ => commands::execute(Arguments::parse().command),
    }
}

/// The name that the caller used: the image has links to the binary.
fn called_as() -> Option<String> {
    let first = std::env::args_os().next()?;
    Some(Path::new(&first).file_name()?.to_string_lossy().into_owned())
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
