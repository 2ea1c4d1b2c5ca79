//! What is measured, a file each. Each gives lines of the table; what cannot be had here is a line that says why.

mod exec;
mod flows;
mod load;
mod memory;
mod profile;

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::ValueEnum;

use crate::{node::Node, table::Line};

/// What to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum What {
    /// Memory, idle and with each layer.
    Memory,
    /// Time to load and to unload.
    Load,
    /// What an exec costs.
    Exec,
    /// Flows, connections and throughput.
    Flows,
    /// What a CPU profile costs.
    Profile,
}

/// What every measurement needs.
pub(crate) struct Bench {
    /// The agent's binary.
    pub agent: PathBuf,
    /// The folder of the compiled `e2e/workloads`.
    pub workloads: PathBuf,
    /// How often each thing is done.
    pub runs: u32,
    /// The node, unless it could not be had.
    pub node: Result<Node>,
}

impl Bench {
    /// The stack of this name.
    pub(crate) fn stack(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("stacks").join(format!("{name}.yaml"))
    }

    /// One kind of measurement.
    pub(crate) fn measure(&self, what: What) -> Vec<Line> {
        match what {
            What::Memory => memory::measure(self),
            What::Load => load::measure(self),
            What::Exec => exec::measure(self),
            What::Flows => flows::measure(self),
            What::Profile => profile::measure(self),
        }
    }

    /// Measures on the node; why it cannot is one line.
    fn on_node(&self, what: &str, command: &str, measure: impl FnOnce(&Node) -> Result<Vec<Line>>) -> Vec<Line> {
        let result = match &self.node {
            Ok(node) => measure(node),
            Err(error) => Err(anyhow::anyhow!("no node: {error:#}")),
        };
        result.unwrap_or_else(|error| vec![absent(what, &error, command)])
    }
}

/// Says on standard error why something is not measured; the table has the first line of it.
fn absent(what: &str, error: &anyhow::Error, command: &str) -> Line {
    eprintln!("{what}: {error:#}");
    let text = format!("{error:#}");
    let first: String = text.lines().next().unwrap_or_default().chars().take(120).collect();
    Line::absent(what, &first, command)
}

/// The command that repeats a measurement.
fn command(what: &str) -> String {
    format!("`e2e/bench/run.sh {what}`")
}
