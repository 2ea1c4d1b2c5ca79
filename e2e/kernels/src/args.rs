//! The command line. Says nothing about what a command does beyond its help.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::kernels::Kernel;

/// Boots each supported kernel under QEMU's software emulation with the agent in it, and shows what it can do there.
#[derive(Debug, Parser)]
#[command(name = "trilobite-kernels")]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Get the kernels from Debian's packages into the cache ($TRILOBITE_CACHE, or ~/.cache/trilobite).
    Fetch {
        /// Only this kernel; may be repeated.
        #[arg(long = "kernel", value_name = "5.10|6.1|6.12|7.2")]
        kernels: Vec<Kernel>,
        /// Also those that are in the cache: Debian may have a newer build.
        #[arg(long)]
        again: bool,
        /// For a node of the test cluster (`trilobite-cluster up --guest`), with the modules of one.
        #[arg(long)]
        node: bool,
    },
    /// Boot the kernels, run the tests, print a table per kernel; fails when a test fails, is missing or surprises.
    Run {
        /// The static `trilobite-node` to test.
        #[arg(long, value_name = "PATH")]
        agent: Option<PathBuf>,
        /// Only this kernel; may be repeated.
        #[arg(long = "kernel", value_name = "5.10|6.1|6.12|7.2")]
        kernels: Vec<Kernel>,
        /// This script or table of acts instead of all of e2e/kernels; may be repeated.
        #[arg(long = "script", value_name = "FILE")]
        scripts: Vec<PathBuf>,
        /// A kernel that says nothing for so many seconds is switched off.
        #[arg(long, default_value_t = 600, value_name = "SECONDS")]
        silence: u64,
        /// So many kernels at a time; each keeps one processor busy. The default is one per processor.
        #[arg(long, value_name = "COUNT")]
        jobs: Option<usize>,
    },
}
