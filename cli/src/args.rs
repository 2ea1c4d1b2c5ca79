//! The command line.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use trilobite_api::tetragon::EventType;

use crate::pod_name::PodName;

/// What the stack is doing, what is wrong, and what to do.
#[derive(Debug, Parser)]
#[command(name = "trilobite", version, arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Arguments {
    /// Parses the command line, or prints what is wrong with it and exits. Help names `kubectl trilobite` when started
    /// as a plugin of kubectl.
    pub(crate) fn from_command_line(program: &Path, line: impl Iterator<Item = OsString>) -> Self {
        let mut command = Self::command();
        if program.file_stem().is_some_and(|name| name == "kubectl-trilobite") {
            command = command.bin_name("kubectl trilobite");
        }
        let matches = command.get_matches_from(line);
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the stack, its nodes, what is wrong and what to do.
    Status(StatusArgs),
    /// Print process events of all nodes as they happen.
    Events(EventsArgs),
    /// Print network flows of all nodes: the latest, or as they happen.
    Flows(FlowsArgs),
    /// Draw a CPU flame graph of one pod.
    Profile(ProfileArgs),
    /// Forward a local port to one node's agent, for tetra and hubble.
    Tunnel(TunnelArgs),
}

/// How to reach the cluster or an agent.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ConnectionArgs {
    /// Kubeconfig file; KUBECONFIG and ~/.kube/config otherwise.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig.
    #[arg(long, global = true)]
    pub(crate) context: Option<String>,
    /// Namespace in which Trilobite is installed.
    #[arg(
        long,
        global = true,
        env = "TRILOBITE_NAMESPACE",
        default_value = "trilobite-system",
        value_name = "NAMESPACE"
    )]
    pub(crate) trilobite_namespace: String,
    /// Talk to the agent on this socket, without a cluster.
    #[arg(long, global = true, value_name = "PATH", conflicts_with_all = ["kubeconfig", "context"])]
    pub(crate) socket: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StatusFormat {
    Table,
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Output format.
    #[arg(short, long, value_enum, default_value_t = StatusFormat::Table)]
    pub(crate) output: StatusFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EventsFormat {
    Compact,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EventKind {
    Exec,
    Exit,
    Tracepoint,
}

impl EventKind {
    pub(crate) fn event_type(self) -> EventType {
        match self {
            Self::Exec => EventType::ProcessExec,
            Self::Exit => EventType::ProcessExit,
            Self::Tracepoint => EventType::ProcessTracepoint,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorMode {
    Auto,
    Always,
    Never,
}

/// Which pods and which node.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct FilterArgs {
    /// Only pods of this namespace.
    #[arg(short, long)]
    pub(crate) namespace: Option<String>,
    /// Only pods whose name begins with this, as POD or NAMESPACE/POD.
    #[arg(long)]
    pub(crate) pod: Option<String>,
    /// Only this node's agent.
    #[arg(long)]
    pub(crate) node: Option<String>,
}

impl FilterArgs {
    /// Namespace and prefix of the pod's name, given by either flag.
    pub(crate) fn pod(&self) -> (Option<&str>, Option<&str>) {
        match self.pod.as_deref().map(|pod| pod.split_once('/').ok_or(pod)) {
            None => (self.namespace.as_deref(), None),
            Some(Err(pod)) => (self.namespace.as_deref(), Some(pod)),
            Some(Ok((namespace, pod))) => {
                let namespace = Some(namespace).filter(|namespace| !namespace.is_empty());
                (namespace.or(self.namespace.as_deref()), Some(pod).filter(|pod| !pod.is_empty()))
            }
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
    /// Keep watching until Ctrl-C; without it the command ends after --for.
    #[arg(short, long, conflicts_with = "span")]
    pub(crate) follow: bool,
    /// How long to watch; agents do not keep past events.
    #[arg(long = "for", value_name = "TIME", value_parser = span, default_value = "10s")]
    pub(crate) span: Duration,
    /// Stop after this many events.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// Kinds of events, comma-separated.
    #[arg(long = "type", value_enum, value_delimiter = ',')]
    pub(crate) types: Vec<EventKind>,
    /// Output format.
    #[arg(short, long, value_enum, default_value_t = EventsFormat::Compact)]
    pub(crate) output: EventsFormat,
    /// Begin each compact line with the time.
    #[arg(long)]
    pub(crate) timestamps: bool,
    /// Color compact lines.
    #[arg(long, value_enum, default_value_t = ColorMode::Auto)]
    pub(crate) color: ColorMode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FlowsFormat {
    Compact,
    Json,
    Table,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FlowProtocol {
    Tcp,
    Udp,
}

impl FlowProtocol {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct FlowsArgs {
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
    /// Keep watching until Ctrl-C.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Number of latest flows to print; with --follow the default is none.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) last: Option<u64>,
    /// Only this protocol.
    #[arg(long, value_enum)]
    pub(crate) protocol: Option<FlowProtocol>,
    /// Output format; a table cannot be combined with --follow.
    #[arg(short, long, value_enum, default_value_t = FlowsFormat::Compact)]
    pub(crate) output: FlowsFormat,
}

#[derive(Debug, Args)]
pub(crate) struct ProfileArgs {
    /// Pod to profile; with --socket, an AppProfile from the agent's files.
    #[arg(value_name = "NAMESPACE/POD")]
    pub(crate) pod: PodName,
    /// How long to sample, from 1s to 1h.
    #[arg(long = "for", value_name = "TIME", value_parser = profile_span, default_value = "30s")]
    pub(crate) span: Duration,
    /// File for the flame graph.
    #[arg(short, long, value_name = "FILE", default_value = "flame.svg")]
    pub(crate) output: PathBuf,
    /// File for the folded stacks, if you want them too.
    #[arg(long, value_name = "FILE")]
    pub(crate) folded: Option<PathBuf>,
    /// Samples per second on each CPU.
    #[arg(long, default_value_t = 49, value_parser = clap::value_parser!(i32).range(1..=999))]
    pub(crate) frequency: i32,
}

#[derive(Debug, Args)]
pub(crate) struct TunnelArgs {
    /// Name of the node; not needed with --socket.
    #[arg(required_unless_present = "socket")]
    pub(crate) node: Option<String>,
    /// Port on 127.0.0.1; 0 picks a free one.
    #[arg(long, default_value_t = 0)]
    pub(crate) port: u16,
}

/// `30s`, `5m`, `1h` or `500ms`.
fn span(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a time such as 30s, 5m or 1h");
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" | "" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    match number.checked_mul(milliseconds) {
        Some(0) => Err("must be more than zero".into()),
        Some(total) if total <= 366 * 24 * 3_600_000 => Ok(Duration::from_millis(total)),
        _ => Err("is longer than a year".into()),
    }
}

/// What an AppProfile's `durationSeconds` can hold.
fn profile_span(text: &str) -> Result<Duration, String> {
    match span(text)? {
        time if time.subsec_nanos() == 0 && (1..=3600).contains(&time.as_secs()) => Ok(time),
        _ => Err("a profile takes whole seconds, from 1s to 1h".into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::error::ErrorKind;

    use super::*;

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(line.split_whitespace())
    }

    fn refused(line: &str) -> ErrorKind {
        let error = parse(line).err().unwrap_or_else(|| panic!("{line} was accepted"));
        assert_eq!(error.exit_code(), 2, "{line}");
        error.kind()
    }

    #[test]
    fn command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn profile_takes_a_pod_a_time_and_a_file() {
        let Command::Profile(profile) = parse("trilobite profile shop/till-1 --for 30s -o flame.svg").unwrap().command
        else {
            panic!("another command");
        };
        assert_eq!((profile.pod.namespace.as_str(), profile.pod.name.as_str()), ("shop", "till-1"));
        assert_eq!((profile.span, profile.frequency), (Duration::from_secs(30), 49));
    }

    #[test]
    fn invalid_command_lines_exit_with_2() {
        assert_eq!(refused("trilobite profile till-1"), ErrorKind::ValueValidation);
        assert_eq!(refused("trilobite profile shop/till-1 --for 0s"), ErrorKind::ValueValidation);
        assert_eq!(refused("trilobite profile shop/till-1 --for 2h"), ErrorKind::ValueValidation);
        assert_eq!(refused("trilobite profile shop/till-1 --frequency 1000"), ErrorKind::ValueValidation);
        assert_eq!(refused("trilobite events --type kprobe"), ErrorKind::InvalidValue);
        assert_eq!(refused("trilobite events -f --for 3s"), ErrorKind::ArgumentConflict);
        assert_eq!(refused("trilobite tunnel"), ErrorKind::MissingRequiredArgument);
        assert_eq!(refused("trilobite status --socket /s --context c"), ErrorKind::ArgumentConflict);
        assert_eq!(refused("trilobite frobnicate"), ErrorKind::InvalidSubcommand);
    }

    #[test]
    fn local_agent_needs_no_node_and_flags_may_come_last() {
        let arguments = parse("trilobite tunnel --port 7 --socket /run/s").unwrap();
        assert_eq!(arguments.connection.socket.unwrap().to_str(), Some("/run/s"));
    }

    #[test]
    fn pod_may_be_given_with_or_without_its_namespace() {
        let filter = |namespace: Option<&str>, pod: Option<&str>| FilterArgs {
            namespace: namespace.map(Into::into),
            pod: pod.map(Into::into),
            node: None,
        };
        assert_eq!(filter(Some("shop"), None).pod(), (Some("shop"), None));
        assert_eq!(filter(Some("shop"), Some("till")).pod(), (Some("shop"), Some("till")));
        assert_eq!(filter(None, Some("shop/till")).pod(), (Some("shop"), Some("till")));
        assert_eq!(filter(None, Some("shop/")).pod(), (Some("shop"), None));
        assert_eq!(
            filter(None, Some("/till")).pod(),
            (None, Some("till")),
            "a pod of any namespace, and no process of the host"
        );
        assert_eq!(filter(Some("shop"), Some("/till")).pod(), (Some("shop"), Some("till")));
    }

    #[test]
    fn times_are_parsed_with_their_units() {
        for (text, milliseconds) in [("30s", 30_000), ("500ms", 500), ("5m", 300_000), ("1h", 3_600_000), ("7", 7_000)]
        {
            assert_eq!(span(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "s", "-1s", "1.5s", "1d", "99999999999999999999s", "18446744073709551615h"] {
            assert!(span(text).is_err(), "{text}");
        }
    }
}
