//! `trilobite`, and `kubectl trilobite`: what the stack is doing, what is wrong, and what to do.
//! Data goes to standard output, everything else to standard error. Ends with 0, 1 for a failure, 2 for bad usage.

mod agent;
mod args;
mod cluster;
mod commands;
mod failure;
mod fold;
mod output;
mod proto;
mod proxy;
mod report;

use std::{env, io, path::Path, process::ExitCode};

use crate::{args::Arguments, failure::Failure};

fn main() -> ExitCode {
    let program = env::args_os().next().unwrap_or_default();
    let arguments = Arguments::from_command_line(Path::new(&program), env::args_os());
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("trilobite: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(commands::run(arguments, &mut io::stdout().lock()));
    // A name that is still being looked up, or a pod that is slow to close, must not hold the prompt back.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read the output has seen enough, as `head` does.
        Err(Failure::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("trilobite: {failure}");
            if matches!(failure, Failure::Usage(_)) { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}
