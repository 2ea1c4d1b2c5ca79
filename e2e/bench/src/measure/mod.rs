//! The measurements, a file each. Each gives lines of the table; what cannot be measured here is a line that says why.

mod exec;
mod flows;
mod load;
mod memory;
mod profile;
mod read;
mod requests;
mod security;

use clap::ValueEnum;

use crate::{bench::Bench, table::Line};

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
    /// What policies cost: a call, memory, a change.
    Security,
    /// What captured requests cost: nginx and Redis, the worker, memory.
    Requests,
    /// The relay and the agents' port, on the two-node cluster.
    Read,
}

/// One kind of measurement.
pub(crate) fn measure(bench: &Bench, what: What) -> Vec<Line> {
    match what {
        What::Memory => memory::measure(bench),
        What::Load => load::measure(bench),
        What::Exec => exec::measure(bench),
        What::Flows => flows::measure(bench),
        What::Profile => profile::measure(bench),
        What::Security => security::measure(bench),
        What::Requests => requests::measure(bench),
        What::Read => read::measure(bench),
    }
}
