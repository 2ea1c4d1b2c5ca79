//! `hubble`, by which name the agent's image answers as well: a client of the agent's socket with the commands and the output of
//! Hubble's own, and those of its flags that this node's flows have a use for.

mod args;
mod connection;
mod observe;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use anyhow::Context;
use clap::Parser;
use trilobite_api::{
    json,
    observer::{ServerStatusRequest, ServerStatusResponse},
};

use self::{
    args::{Command, FlowFormat, HubbleArguments, ServerArguments},
    connection::connect,
};
use super::{foreign_client::is_broken_pipe, one_threaded};

/// Parses the command line, whose first word is `hubble`.
pub fn execute() -> ExitCode {
    let arguments = HubbleArguments::parse();
    match one_threaded(async move { dispatch(arguments).await }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn dispatch(HubbleArguments { command, server }: HubbleArguments) -> anyhow::Result<()> {
    match command {
        Command::Observe(arguments) => observe::print_flows(&arguments, &server).await,
        Command::Status { output } => print_status(&server, output).await,
    }
}

async fn print_status(server: &ServerArguments, output: FlowFormat) -> anyhow::Result<()> {
    let mut client = connect(server).await?;
    let status = client.server_status(ServerStatusRequest {}).await.context("failed getting status")?.into_inner();
    let text = match output {
        FlowFormat::Compact => format!("Healthcheck (via {}): Ok\n{}", server.address(), status_text(&status)),
        FlowFormat::Json | FlowFormat::Jsonpb => format!("{}\n", json::to_string(&status)),
    };
    Ok(io::stdout().lock().write_all(text.as_bytes())?)
}

fn status_text(status: &ServerStatusResponse) -> String {
    let ServerStatusResponse { num_flows, max_flows, seen_flows, uptime_ns, .. } = status;
    let share = if *max_flows == 0 {
        String::new()
    } else {
        format!(" ({:.2}%)", *num_flows as f64 * 100.0 / *max_flows as f64)
    };
    let rate = match *uptime_ns {
        0 => "N/A".to_owned(),
        uptime => format!("{:.2}", *seen_flows as f64 * 1e9 / uptime as f64),
    };
    format!("Current/Max Flows: {}/{}{share}\nFlows/s: {rate}\n", with_commas(*num_flows), with_commas(*max_flows))
}

fn with_commas(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_is_printed_as_hubble_does() {
        let status = ServerStatusResponse {
            num_flows: 4095,
            max_flows: 16_383,
            seen_flows: 300,
            uptime_ns: 60_000_000_000,
            ..ServerStatusResponse::default()
        };
        assert_eq!(status_text(&status), "Current/Max Flows: 4,095/16,383 (25.00%)\nFlows/s: 5.00\n");
    }
}
