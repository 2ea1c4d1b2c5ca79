//! `trilobite`, and `kubectl trilobite`: what the stack is doing, what is wrong, and what to do.
//! Data goes to standard output, everything else to standard error. Ends with 0, 1 for a failure, 2 for bad usage, and 3
//! if `status --exit-code` found something that is not ready.

#![warn(clippy::print_stderr)]

mod agent;
mod args;
mod cluster;
mod commands;
mod error_chain;
mod fold;
mod no_proxy;
mod output;
mod pod_name;
mod read_api;
mod report;

use std::{env, io, path::Path, process::ExitCode};

use crate::{args::Arguments, commands::Failure, output::stderr::stderr_line};

fn main() -> ExitCode {
    let program = env::args_os().next().unwrap_or_default();
    let arguments = Arguments::from_command_line(Path::new(&program), env::args_os());
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            stderr_line!("trilobite: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(commands::execute(arguments, &mut io::stdout().lock()));
    // A DNS lookup that is still running, or an exec that is slow to close, must not delay the prompt.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        // The reader of the output has seen enough, as `head` does.
        Err(Failure::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            stderr_line!("trilobite: {failure}");
            match failure {
                Failure::Usage(_) => ExitCode::from(2),
                Failure::NotReady => ExitCode::from(3),
                _ => ExitCode::FAILURE,
            }
        }
    }
}
