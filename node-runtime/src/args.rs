//! The command line of the agent: one binary, several ways in.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// One slim node runtime: security, network and application by eBPF.
#[derive(Debug, Parser)]
#[command(name = "trilobite-node", version)]
pub struct Arguments {
    /// Which way in.
    #[command(subcommand)]
    pub command: Command,
}

/// The ways in.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The node's agent: does what its NodeRuntime says.
    Agent(AgentArguments),
    /// The same without a cluster: does what the files say, and prints events on standard output.
    Run(RunArguments),
    /// Prints what this kernel and this privilege allow, as JSON.
    Probe(ProbeArguments),
    /// Explains what policies become on a kernel.
    Policy(PolicyArguments),
    /// Joins standard input and output to the agent's socket: how a client gets in through `kubectl exec`.
    Proxy(SocketArguments),
    /// Ends with 0 when the agent answers on its socket.
    Ready(SocketArguments),
}

/// What is to be looked at.
#[derive(Clone, Debug, Args)]
pub struct ProbeArguments {
    #[command(flatten)]
    /// Where the host's file systems are.
    pub host: HostArguments,
    /// Also has the kernel load every program of this agent once, attaches none, and prints what it said of each.
    #[arg(long)]
    pub load: bool,
}

/// Policies, without loading them.
#[derive(Clone, Debug, Args)]
pub struct PolicyArguments {
    /// What is asked.
    #[command(subcommand)]
    pub command: PolicyCommand,
}

/// What can be asked about policies.
#[derive(Clone, Debug, Subcommand)]
pub enum PolicyCommand {
    /// Prints the plan of the policies together: hooks, ways to attach, conditions, refusals. Needs no privilege.
    Explain(ExplainArguments),
}

/// Policies and the kernel that they are planned for.
#[derive(Clone, Debug, Args)]
pub struct ExplainArguments {
    /// Resources in YAML, several documents a file; `-` is standard input.
    #[arg(required = true, num_args = 1.., value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Plans for the kernel that this file describes; for the running one by default.
    #[arg(long, value_name = "FACTS")]
    pub kernel: Option<PathBuf>,
}

/// Where the host's file systems are.
#[derive(Clone, Debug, Args)]
pub struct HostArguments {
    /// Where the host's cgroup file system can be read; where it is mounted here, by default.
    #[arg(long, env = "TRILOBITE_CGROUP_ROOT")]
    pub cgroup_root: Option<PathBuf>,
}

/// Where the agent is reached.
#[derive(Clone, Debug, Args)]
pub struct SocketArguments {
    /// The agent's socket.
    #[arg(long, env = "TRILOBITE_SOCKET", default_value = "/run/trilobite/agent.sock")]
    pub socket: PathBuf,
}

/// What both kinds of agent take.
#[derive(Clone, Debug, Args)]
pub struct CommonArguments {
    #[command(flatten)]
    /// Where the host's file systems are.
    pub host: HostArguments,
    #[command(flatten)]
    /// Where the agent is reached.
    pub socket: SocketArguments,
    /// Name of this node in events; the host's name by default.
    #[arg(long, env = "NODE_NAME")]
    pub node_name: Option<String>,
    /// Where the last good state, results and exported files are kept.
    #[arg(long, env = "TRILOBITE_STATE_DIR", default_value = "/var/lib/trilobite")]
    pub state_dir: PathBuf,
    /// Serves /metrics on this address; nothing is served by default.
    #[arg(long, env = "TRILOBITE_METRICS_ADDRESS")]
    pub metrics_address: Option<std::net::SocketAddr>,
    /// The worker's binary; beside the agent's by default.
    #[arg(long, env = "TRILOBITE_WORKER", hide = true)]
    pub worker: Option<PathBuf>,
}

/// The node's agent.
#[derive(Debug, Args)]
pub struct AgentArguments {
    #[command(flatten)]
    /// What both kinds of agent take.
    pub common: CommonArguments,
    /// Where the container export-stdout reads the events that the stack wants on standard output; the agent's own standard
    /// output by default.
    #[arg(long, env = "TRILOBITE_EXPORT_FIFO")]
    pub export_fifo: Option<PathBuf>,
}

/// The agent without a cluster.
#[derive(Debug, Args)]
pub struct RunArguments {
    #[command(flatten)]
    /// What both kinds of agent take.
    pub common: CommonArguments,
    /// Resources in YAML, several documents a file; `-` is standard input.
    #[arg(short = 'f', long = "file", required = true, num_args = 1..)]
    pub files: Vec<PathBuf>,
}
