//! The ways into the binary. Each ends with an exit code and, where it failed, one line on standard error.

mod agent;
mod node;
mod probe;
mod ready;
mod run;
mod upkeep;

use std::{future::Future, process::ExitCode};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::task::LocalSet;
use tracing_subscriber::EnvFilter;

use crate::{args::Command, serve::proxy, worker};

/// Runs one command to its end.
pub fn enter(command: Command) -> ExitCode {
    log();
    let result = match command {
        Command::Agent(arguments) => {
            use_all_descriptors();
            one_threaded(async move { agent::run(&arguments).await })
        }
        Command::Run(arguments) => {
            use_all_descriptors();
            one_threaded(async move { run::run(&arguments).await })
        }
        Command::Probe(arguments) => probe::run(&arguments),
        Command::Proxy(arguments) => one_threaded(async move { Ok(proxy::run(&arguments.socket).await?) }),
        Command::Worker => return worker::run(),
        Command::Ready(arguments) => ready::run(&arguments.socket),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A profile takes three descriptors for each processor: as many as the limit that nobody raises by itself allows are not
/// enough on a large machine.
fn use_all_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, "the limit of open files stays at what it is");
    }
}

/// One thread is enough for all that the agent does, and costs the least memory.
fn one_threaded<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = LocalSet::new().block_on(&runtime, work);
    // A read of standard input cannot be interrupted, and nobody waits for it.
    runtime.shutdown_background();
    result
}

/// Logs go to standard error; standard output belongs to events.
fn log() {
    let filter = EnvFilter::try_from_env("TRILOBITE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_may_open_as_many_files_as_its_hard_limit_allows() {
        let limit = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: Some(1024), ..limit }).unwrap();
        use_all_descriptors();
        assert_eq!(getrlimit(Resource::Nofile).current, limit.maximum);
    }
}
