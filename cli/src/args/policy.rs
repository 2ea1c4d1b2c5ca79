//! `trilobite policy`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};

use super::time::span;

#[derive(Debug, Args)]
pub(crate) struct PolicyArgs {
    #[command(subcommand)]
    pub(crate) command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Ask every node whether it could have the policies of files active; nothing is loaded.
    Check(PolicyCheckArgs),
}

#[derive(Debug, Args)]
pub(crate) struct PolicyCheckArgs {
    /// Files with policies of trilobite.dev or cilium.io; - is standard input.
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Check the files by themselves, without a cluster.
    #[arg(long)]
    pub(crate) offline: bool,
    /// How long to wait for the nodes.
    #[arg(long, value_name = "TIME", value_parser = span, default_value = "30s")]
    pub(crate) timeout: Duration,
}
