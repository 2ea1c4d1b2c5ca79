//! What the agent costs, measured on whole processes: `e2e/bench/run.sh` runs it. A goal that is not met fails nothing; a number
//! that is missing or impossible fails the run, after everything else was measured and kept.

mod agent;
mod api;
mod bench;
mod cgroup;
mod empty_program;
mod machine;
mod measure;
mod node;
mod pinned;
mod pods;
mod process;
mod request_load;
mod samples;
mod servers;
mod table;
mod traffic;
mod waiting;

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand, ValueEnum};

use crate::{bench::Bench, machine::Machine, measure::What, node::Node, samples::FEWEST_PAIRS, traffic::Traffic};

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
    /// How often each thing is measured; fewer than nine pairs decide nothing.
    #[arg(long, default_value_t = FEWEST_PAIRS)]
    runs: usize,
    /// The file that the table is kept in; it must not be there.
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
        Command::Run(arguments) => measure_and_print(&arguments),
        Command::Traffic { traffic } => traffic::generate(&traffic),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure_and_print(arguments: &Run) -> Result<()> {
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
        lines.extend(measure::measure(&bench, *what));
    }
    let page = table::page(&arguments.date, &arguments.revision, &machine, "make bench", &lines);
    keep(&arguments.output, &page)?;
    write!(std::io::stdout(), "{page}").context("printing the table")?;
    let absent = lines.iter().filter(|line| line.is_absent()).count();
    ensure!(absent == 0, "{absent} of {} numbers could not be measured; the table says why", lines.len());
    let impossible = lines.iter().filter(|line| line.is_impossible()).count();
    ensure!(impossible == 0, "{impossible} ratios cannot be true: the benchmark measures something else there");
    Ok(())
}

/// A result that is there stays: numbers are compared with those of before.
fn keep(path: &Path, page: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    }
    let made = fs::OpenOptions::new().write(true).create_new(true).open(path);
    made.and_then(|mut file| file.write_all(page.as_bytes())).with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_that_is_there_is_never_written_over() {
        let path = std::env::temp_dir().join(format!("trilobite-bench-{}/results/one.md", std::process::id()));
        keep(&path, "first").unwrap();
        assert!(keep(&path, "second").is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "first");
        fs::remove_dir_all(path.ancestors().nth(2).unwrap()).unwrap();
    }
}
