//! The command line of the agent: one binary, several ways in.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use jiff::SignedDuration;

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
    /// Removes the filters that a killed agent has left on interfaces, as its list says. Not while an agent runs.
    Cleanup(CleanupArguments),
    /// Records what sockets carry for an AppProfile on this machine, without what no row of it shows.
    Record(RecordArguments),
    /// Makes the rows of a recording, and prints them on standard output. Needs no privilege.
    Replay(ReplayArguments),
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

/// Where the list of a killed agent is.
#[derive(Clone, Debug, Args)]
pub struct CleanupArguments {
    /// The state directory of that agent.
    #[arg(long, env = "TRILOBITE_STATE_DIR", default_value = "/var/lib/trilobite")]
    pub state_dir: PathBuf,
}

/// What is recorded, and for how long.
#[derive(Clone, Debug, Args)]
pub struct RecordArguments {
    #[command(flatten)]
    /// Where the host's file systems are.
    pub host: HostArguments,
    /// Name of this node in the recording; the host's name by default.
    #[arg(long, env = "NODE_NAME")]
    pub node_name: Option<String>,
    /// The worker's binary; beside the agent's by default.
    #[arg(long, env = "TRILOBITE_WORKER", hide = true)]
    pub worker: Option<PathBuf>,
    /// Resources in YAML: one AppProfile with requests and, where it asks for payloads, the stack that allows them; `-` is standard
    /// input.
    #[arg(short = 'f', long = "file", required = true, num_args = 1..)]
    pub files: Vec<PathBuf>,
    /// The recording, which must not exist yet.
    #[arg(short, long)]
    pub output: PathBuf,
    /// How long, e.g. 30s; as long as the AppProfile says by default.
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub duration: Option<SignedDuration>,
    /// Bytes of the recording at most, e.g. 500Ki or 64Mi. Calls that do not fit are counted in it.
    #[arg(long, value_name = "BYTES", default_value = "64Mi", value_parser = bytes)]
    pub max_size: u64,
}

/// How rows are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ReplayFormat {
    /// A line of JSON for each request, as `trilobite requests -o json` prints it.
    #[default]
    Json,
}

/// A recording.
#[derive(Clone, Debug, Args)]
pub struct ReplayArguments {
    /// What `trilobite-node record` has written.
    pub file: PathBuf,
    /// How rows are printed.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: ReplayFormat,
    /// The worker's binary; beside the agent's by default.
    #[arg(long, env = "TRILOBITE_WORKER", hide = true)]
    pub worker: Option<PathBuf>,
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

/// Least bytes of a recording: its header and its end.
const RECORDING_MIN: u64 = 64 << 10;

fn duration(text: &str) -> Result<SignedDuration, String> {
    let duration: SignedDuration = text.parse().map_err(|_| format!("{text:?} is no duration, e.g. 30s"))?;
    if duration.is_positive() { Ok(duration) } else { Err("a duration must be above 0".into()) }
}

/// A number of bytes with a suffix of Kubernetes, or without.
fn bytes(text: &str) -> Result<u64, String> {
    let fault = || format!("{text:?} is no number of bytes, e.g. 64Mi");
    let (number, unit) = text.split_at(text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len()));
    let unit: u64 = match unit {
        "" => 1,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        _ => return Err(fault()),
    };
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)).ok_or_else(fault)?;
    if bytes < RECORDING_MIN {
        return Err(format!("a recording has at least {RECORDING_MIN} bytes"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_the_suffixes_of_kubernetes() {
        assert_eq!((bytes("65536"), bytes("500Ki"), bytes("64Mi")), (Ok(65_536), Ok(512_000), Ok(64 << 20)));
        for text in ["", "Mi", "1", "64M", "-1Ki", "99999999999999999999", "99999999999Gi"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn recording_lasts_for_a_time_above_zero() {
        assert_eq!(duration("30s"), Ok(SignedDuration::from_secs(30)));
        assert!(["0s", "-5s", "soon"].into_iter().all(|text| duration(text).is_err()));
    }
}
