//! `tetra`, by which name the agent's image answers as well: a client of the agent's socket with the commands, flags and output
//! of Tetragon's own. `kubectl exec ds/trilobite-node -- tetra getevents -o compact`

mod args;
mod connection;
mod getevents;
mod policies;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use anyhow::Context;
use clap::Parser;
use trilobite_api::tetragon::{GetHealthStatusRequest, GetVersionRequest};

use self::{
    args::{Command, ConnectionArguments, TetraArguments},
    connection::{connect, print},
};
use super::{foreign_client::is_broken_pipe, one_threaded};

/// Parses the command line, whose first word is `tetra`.
pub fn execute() -> ExitCode {
    let arguments = TetraArguments::parse();
    match one_threaded(async move { dispatch(arguments).await }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn dispatch(TetraArguments { command, connection }: TetraArguments) -> anyhow::Result<()> {
    match command {
        Command::Getevents(arguments) => getevents::print_events(&arguments, &connection).await,
        Command::Status => print_status(&connection).await,
        Command::Version(arguments) => {
            print(&format!("CLI version: {}\n", env!("CARGO_PKG_VERSION")))?;
            if arguments.server {
                let mut client = connect(&connection).await?;
                let version =
                    client.get_version(GetVersionRequest {}).await.context("failed to retrieve server version")?;
                print(&format!("Server version: {}\n", version.into_inner().version))?;
            }
            Ok(())
        }
        Command::Tracingpolicy(arguments) => policies::execute(&arguments.command, &connection).await,
    }
}

async fn print_status(connection: &ConnectionArguments) -> anyhow::Result<()> {
    let mut client = connect(connection).await?;
    let health = client.get_health(GetHealthStatusRequest::default()).await.context("failed to get health status")?;
    match health.into_inner().health_status.first() {
        Some(status) => print(&format!("Health Status: {}\n", status.details)),
        None => print("Health Status: no status available\n"),
    }
}
