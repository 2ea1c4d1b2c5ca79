//! What every measurement needs: the agent's binary, the workloads, and a node.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::{node::Node, table::Line};

/// A run of the benchmark.
pub(crate) struct Bench {
    /// The agent's binary.
    pub agent: PathBuf,
    /// The folder of the compiled `e2e/workloads`.
    pub workloads: PathBuf,
    /// How often each thing is measured.
    pub runs: usize,
    /// The node, unless it could not be started.
    pub node: Result<Node>,
}

impl Bench {
    /// The stack of this name.
    pub(crate) fn stack(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("stacks").join(format!("{name}.yaml"))
    }

    /// Measures on the node; a failure is one line that says why.
    pub(crate) fn on_node(
        &self,
        what: &str,
        command: &str,
        measure: impl FnOnce(&Node) -> Result<Vec<Line>>,
    ) -> Vec<Line> {
        let result = match &self.node {
            Ok(node) => measure(node),
            Err(error) => Err(anyhow::anyhow!("no node: {error:#}")),
        };
        result.unwrap_or_else(|error| vec![absent(what, &error, command)])
    }
}

/// Prints the whole reason why something is not measured; the table has the first line of it.
pub(crate) fn absent(what: &str, error: &anyhow::Error, command: &str) -> Line {
    eprintln!("{what}: {error:#}");
    let text = format!("{error:#}");
    let first: String = text.lines().next().unwrap_or_default().chars().take(120).collect();
    Line::absent(what, &first, command)
}

/// The command that repeats a measurement.
pub(crate) fn command(what: &str) -> String {
    format!("`e2e/bench/run.sh {what}`")
}
