//! What the agent costs, measured on whole processes: `e2e/bench/run.sh` runs it. A goal that is not met is printed and
//! fails nothing.

mod agent;
mod api;
mod cage;
mod machine;
mod measure;
mod node;
mod pods;
mod process;
mod samples;
mod table;
mod traffic;
mod waiting;

use std::{fs, io::Write, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand, ValueEnum};

use crate::{
    machine::Machine,
    measure::{Bench, What},
    node::Node,
    traffic::Traffic,
};

/// The node's name in the API server and in events.
const NODE: &str = "bench";

#[derive(Parser)]
#[command(name = "trilobite-bench", about = "What the agent costs")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measures, prints the table and keeps it.
    Run(Run),
    /// What is done while something is measured.
    Traffic {
        #[command(subcommand)]
        traffic: Traffic,
    },
}

#[derive(clap::Args)]
struct Run {
    /// The agent's binary.
    #[arg(long)]
    agent: PathBuf,
    /// The folder of the compiled programs of e2e/workloads.
    #[arg(long)]
    workloads: PathBuf,
    /// How often each thing is done.
    #[arg(long, default_value_t = 5)]
    runs: u32,
    /// The file that the table is kept in.
    #[arg(long)]
    output: PathBuf,
    /// The date that the table carries.
    #[arg(long)]
    date: String,
    /// The revision that the table carries.
    #[arg(long)]
    revision: String,
    /// What to measure; all by default.
    #[arg(value_enum)]
    what: Vec<What>,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Run(arguments) => run(&arguments),
        Command::Traffic { traffic } => traffic::run(&traffic),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Run) -> Result<()> {
    for file in [&arguments.agent, &arguments.workloads.join("execstorm")] {
        ensure!(file.exists(), "{} is not there: `make bench` builds it", file.display());
    }
    let machine = Machine::here();
    eprintln!("starting an API server, and a node with two pods");
    let node = Node::up();
    let bench =
        Bench { agent: arguments.agent.clone(), workloads: arguments.workloads.clone(), runs: arguments.runs, node };
    let all = What::value_variants();
    let chosen = if arguments.what.is_empty() { all } else { &arguments.what };
    let mut lines = Vec::new();
    for what in chosen {
        eprintln!(
            "measuring {}",
            what.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
        );
        lines.extend(bench.measure(*what));
    }
    let page = table::page(&arguments.date, &arguments.revision, &machine, "make bench", &lines);
    fs::write(&arguments.output, &page).with_context(|| format!("writing {}", arguments.output.display()))?;
    write!(std::io::stdout(), "{page}").context("printing the table")
}
