//! `trilobite status`: the state of the stack from the API server; with --socket, the state of one agent.

mod local;
mod read;

use std::{
    io::{IsTerminal, Write, stdout},
    time::Duration,
};

use kube::Client;
use tokio::time::sleep;

use super::{
    failure::Failure,
    interrupt::Interrupts,
    print::{as_json, as_yaml},
};
use crate::{
    agent::Transport,
    args::{OutputFormat, StatusArgs},
    output::{paint::Paint, stderr::stderr_line},
    report::{Report, ReportStyle, render},
};

/// Interval of reading everything again with --watch.
const WATCH_INTERVAL: Duration = if cfg!(test) { Duration::from_millis(20) } else { Duration::from_secs(2) };
/// Clears a terminal and puts the cursor at its beginning.
const CLEAR: &str = "\x1b[2J\x1b[H";

pub(super) async fn print_status(
    arguments: &StatusArgs,
    transport: &Transport,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let (client, namespace) = match transport {
        Transport::Cluster { client, namespace } => (client, namespace),
        Transport::Socket(_) => return local::print_agent_status(arguments, transport, out).await,
    };
    if arguments.watch {
        return watch(arguments, client, namespace, out).await;
    }
    let report = Report::new(read::read_cluster(client, namespace).await?);
    write_text(out, &formatted(arguments, &report)?)?;
    verdict(arguments, report.is_ready())
}

/// Prints the status each time it changes. An API server that is away for a moment is waited for.
async fn watch(arguments: &StatusArgs, client: &Client, namespace: &str, out: &mut dyn Write) -> Result<(), Failure> {
    let mut interrupts = Interrupts::listen();
    let mut shown: Option<String> = None;
    loop {
        let ready = match read::read_cluster(client, namespace).await {
            Ok(objects) => {
                let report = Report::new(objects);
                let text = formatted(arguments, &report)?;
                if shown.as_ref() != Some(&text) {
                    write_text(out, &format!("{}{text}", separator(arguments.output, shown.is_none())))?;
                    shown = Some(text);
                }
                report.is_ready()
            }
            Err(error) if shown.is_none() => return Err(error.into()),
            Err(error) => {
                stderr_line!("warning: {error}; trying again");
                false
            }
        };
        if arguments.exit_code && ready {
            return Ok(());
        }
        tokio::select! {
            () = sleep(WATCH_INTERVAL) => {}
            () = interrupts.received() => return verdict(arguments, ready),
        }
    }
}

fn separator(format: OutputFormat, first: bool) -> &'static str {
    match format {
        OutputFormat::Table | OutputFormat::Wide if stdout().is_terminal() => CLEAR,
        _ if first => "",
        OutputFormat::Table | OutputFormat::Wide => "\n",
        OutputFormat::Yaml => "---\n",
        OutputFormat::Json => "",
    }
}

fn formatted(arguments: &StatusArgs, report: &Report) -> Result<String, Failure> {
    let style = |wide| ReportStyle { paint: Paint(arguments.color.is_on()), wide };
    Ok(match arguments.output {
        OutputFormat::Table => render(report, style(false)),
        OutputFormat::Wide => render(report, style(true)),
        OutputFormat::Json => as_json(report)? + "\n",
        OutputFormat::Yaml => as_yaml(report)? + "\n",
    })
}

fn write_text(out: &mut dyn Write, text: &str) -> Result<(), Failure> {
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Failure::Write)
}

fn verdict(arguments: &StatusArgs, ready: bool) -> Result<(), Failure> {
    if arguments.exit_code && !ready { Err(Failure::NotReady) } else { Ok(()) }
}
