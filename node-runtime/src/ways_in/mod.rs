//! The ways into the binary. Each ends with an exit code and, where it failed, one line on standard error.

mod ready;

use std::{future::Future, process::ExitCode};

use crate::{args::Command, serve::proxy};

/// Runs one command to its end.
pub fn enter(command: Command) -> ExitCode {
    let result = match command {
        Command::Proxy(arguments) => one_threaded(async move { Ok(proxy::run(&arguments.socket).await?) }),
        Command::Ready(arguments) => ready::run(&arguments.socket),
        _ => Err(anyhow::anyhow!("not linked in yet")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            eprintln!("trilobite-node: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// One thread is enough for all that the agent does, and costs the least memory.
fn one_threaded<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}
