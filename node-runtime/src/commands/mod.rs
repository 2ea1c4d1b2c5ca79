//! The commands of the binary. Each returns an exit code and prints at most one line of error on standard error.

mod agent;
mod cleanup;
mod foreign_client;
mod health;
pub mod hubble;
pub mod policy;
mod probe;
mod proxy;
mod record;
mod replay;
mod run;
pub mod tetra;

use std::{future::Future, process::ExitCode};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::task::LocalSet;
use tracing_subscriber::EnvFilter;

use crate::args::Command;

pub fn execute(command: Command) -> ExitCode {
    set_up_logs();
    let result = match command {
        Command::Agent(arguments) => {
            raise_descriptor_limit();
            one_threaded(async move { agent::run_agent(&arguments).await })
        }
        Command::Run(arguments) => {
            raise_descriptor_limit();
            one_threaded(async move { run::run_from_files(&arguments).await })
        }
        Command::Record(arguments) => {
            raise_descriptor_limit();
            one_threaded(async move { record::record_requests(&arguments).await })
        }
        Command::Replay(arguments) => one_threaded(async move { replay::print_requests(&arguments).await }),
        Command::Probe(arguments) => probe::print_facts(&arguments),
        Command::Cleanup(arguments) => cleanup::remove_filters(&arguments.state_dir),
        Command::Proxy(arguments) => one_threaded(async move { Ok(proxy::join_to_socket(&arguments.socket).await?) }),
        Command::Policy(arguments) => policy::execute(&arguments.command),
        Command::Ready(arguments) => health::check(&arguments.socket),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A CPU profile takes three descriptors per CPU, more on a large machine than the soft limit allows.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
}

/// The agent's work fits on one thread, which costs the least memory.
fn one_threaded<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = LocalSet::new().block_on(&runtime, work);
    // A blocking read of standard input cannot be interrupted: the runtime must not wait for it.
    runtime.shutdown_background();
    result
}

/// Logs go to standard error: standard output carries events.
fn set_up_logs() {
    let filter = EnvFilter::try_from_env("TRILOBITE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    // A line that cannot be written is dropped: reporting that on standard error would panic, and a panic ends the process.
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .log_internal_errors(false)
        .init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptor_limit_is_raised_to_the_hard_limit() {
        let limit = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: Some(1024), ..limit }).unwrap();
        raise_descriptor_limit();
        assert_eq!(getrlimit(Resource::Nofile).current, limit.maximum);
    }
}
