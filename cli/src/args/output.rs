//! Output formats as kubectl has them, and the commands that have little else.

use clap::{Args, ValueEnum};
use clap_complete::Shell;

use super::color::ColorArgs;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    #[default]
    Table,
    Wide,
    Json,
    Yaml,
}

#[derive(Debug, Default, Args)]
pub(crate) struct StatusArgs {
    /// Output format.
    #[arg(short, long, value_enum, default_value_t = OutputFormat::Table)]
    pub(crate) output: OutputFormat,
    /// Exit with 3 unless everything is ready.
    #[arg(long)]
    pub(crate) exit_code: bool,
    /// Print the status again each time it changes, until Ctrl-C; with --exit-code, until everything is ready.
    #[arg(short, long)]
    pub(crate) watch: bool,
    #[command(flatten)]
    pub(crate) color: ColorArgs,
}

#[derive(Debug, Args)]
pub(crate) struct VersionArgs {
    /// Only the version of the command line, without a request to the cluster.
    #[arg(long)]
    pub(crate) client: bool,
    /// Output format.
    #[arg(short, long, value_enum, default_value_t = OutputFormat::Table)]
    pub(crate) output: OutputFormat,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionArgs {
    /// The shell; e.g. in ~/.bashrc: source <(trilobite completion bash)
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}
