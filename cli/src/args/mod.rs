//! The command line.

mod color;
mod events;
mod filter;
mod flow_filter;
mod observe;
mod output;
mod policy;
mod profile;
mod requests;
mod time;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

pub(crate) use events::{EventsArgs, EventsFormat};
pub(crate) use filter::FilterArgs;
pub(crate) use flow_filter::FlowFilterArgs;
pub(crate) use observe::{FlowsFormat, ObserveArgs};
pub(crate) use output::{CompletionArgs, OutputFormat, StatusArgs, VersionArgs};
pub(crate) use policy::{PolicyArgs, PolicyCheckArgs, PolicyCommand};
pub(crate) use profile::{ProfileArgs, ProfileTarget, ProfilesArgs};
pub(crate) use requests::{REQUESTS_MAX, RequestsArgs, RequestsFormat};

/// Where Trilobite is installed unless the user says otherwise.
pub(crate) const DEFAULT_NAMESPACE: &str = "trilobite-system";

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
    #[command(visible_alias = "flows")]
    Observe(Box<ObserveArgs>),
    /// Print requests of the pods that AppProfiles select: the latest, or as they come.
    Requests(RequestsArgs),
    /// Draw a CPU flame graph of one pod, or fetch the result of an AppProfile.
    Profile(ProfileArgs),
    /// List AppProfiles, their state, and how to fetch their results.
    Profiles(ProfilesArgs),
    /// Check policies before they are applied.
    Policy(PolicyArgs),
    /// Forward a local port to the agents, for tetra and hubble.
    Tunnel(TunnelArgs),
    /// Print the versions of the command line, the operator and the agents.
    Version(VersionArgs),
    /// Print the completion script of a shell.
    Completion(CompletionArgs),
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
        default_value = DEFAULT_NAMESPACE,
        value_name = "NAMESPACE"
    )]
    pub(crate) trilobite_namespace: String,
    /// Talk to the agent on this socket, without a cluster.
    #[arg(long, global = true, value_name = "PATH", conflicts_with_all = ["kubeconfig", "context"])]
    pub(crate) socket: Option<PathBuf>,
    /// Say on standard error which way is taken to what agents know.
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
}

/// `trilobite COMMAND` for a next step, with the namespace of Trilobite where it is not the default.
pub(crate) fn own_command(command: &str, trilobite_namespace: &str) -> String {
    match trilobite_namespace {
        DEFAULT_NAMESPACE => format!("trilobite {command}"),
        other => format!("trilobite {command} --trilobite-namespace {other}"),
    }
}

#[derive(Debug, Args)]
pub(crate) struct TunnelArgs {
    /// Only this node's agent; without it, all nodes behind one port.
    pub(crate) node: Option<String>,
    /// Port on 127.0.0.1; 0 picks a free one.
    #[arg(long, default_value_t = 0)]
    pub(crate) port: u16,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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

    fn profile(line: &str) -> ProfileArgs {
        let Command::Profile(profile) = parse(line).unwrap().command else { panic!("another command") };
        profile
    }

    #[test]
    fn command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn profile_takes_a_pod_a_time_and_a_file() {
        let profile = profile("trilobite profile shop/till-1 --for 30s -o flame.svg");
        let target = profile.target("default").unwrap();
        assert_eq!(target, ProfileTarget::Pod("shop/till-1".parse().unwrap()));
        assert_eq!((profile.span, profile.frequency), (Duration::from_secs(30), 49));
    }

    #[test]
    fn profile_takes_a_pod_as_kubectl_does() {
        let target = |line: &str| profile(line).target("here").unwrap();
        let pod = |name: &str| ProfileTarget::Pod(name.parse().unwrap());
        assert_eq!(target("trilobite profile -n shop till-1"), pod("shop/till-1"));
        assert_eq!(target("trilobite profile till-1 --namespace shop"), pod("shop/till-1"));
        assert_eq!(target("trilobite profile till-1"), pod("here/till-1"));
        assert_eq!(target("trilobite profile -n shop pod/till-1"), pod("shop/till-1"));
        assert!(profile("trilobite profile -n shelf shop/till-1").target("here").is_err(), "two namespaces");
        assert!(profile("trilobite profile -n shop shop/till-1").target("here").is_ok(), "twice the same");
    }

    #[test]
    fn profile_takes_the_name_of_an_appprofile() {
        let target = |line: &str| profile(line).target("here").unwrap();
        let existing = |name: &str| ProfileTarget::AppProfile(name.parse().unwrap());
        assert_eq!(target("trilobite profile --name shop/slow"), existing("shop/slow"));
        assert_eq!(target("trilobite profile -n shop --name slow"), existing("shop/slow"));
        assert_eq!(refused("trilobite profile shop/till-1 --name shop/slow"), ErrorKind::ArgumentConflict);
        assert_eq!(refused("trilobite profile"), ErrorKind::MissingRequiredArgument);
    }

    #[test]
    fn invalid_command_lines_exit_with_2() {
        assert_eq!(refused("trilobite profile shop/till-1 --for 0s"), ErrorKind::ValueValidation);
        assert_eq!(refused("trilobite profile shop/till-1 --for 2h"), ErrorKind::ValueValidation);
        assert_eq!(refused("trilobite profile shop/till-1 --frequency 1000"), ErrorKind::ValueValidation);
        assert_eq!(refused("trilobite events --type kprobe"), ErrorKind::InvalidValue);
        assert_eq!(refused("trilobite events -f --for 3s"), ErrorKind::ArgumentConflict);
        assert_eq!(refused("trilobite observe --port 70000"), ErrorKind::ValueValidation);
        assert_eq!(refused("trilobite observe --ip shop"), ErrorKind::ValueValidation);
        assert_eq!(refused("trilobite observe --verdict lost"), ErrorKind::InvalidValue);
        assert_eq!(refused("trilobite observe --type lost"), ErrorKind::ValueValidation);
        assert_eq!(refused("trilobite observe --reply --not-reply"), ErrorKind::ArgumentConflict);
        assert_eq!(refused("trilobite profiles -A -n shop"), ErrorKind::ArgumentConflict);
        assert_eq!(refused("trilobite requests -A -n shop"), ErrorKind::ArgumentConflict);
        assert_eq!(refused("trilobite requests --protocol mqtt"), ErrorKind::InvalidValue);
        assert_eq!(refused("trilobite requests --limit 5001"), ErrorKind::ValueValidation);
        assert_eq!(refused("trilobite status --socket /s --context c"), ErrorKind::ArgumentConflict);
        assert_eq!(refused("trilobite frobnicate"), ErrorKind::InvalidSubcommand);
    }

    #[test]
    fn flows_is_another_name_of_observe() {
        assert!(matches!(parse("trilobite flows -f").unwrap().command, Command::Observe(_)));
    }

    #[test]
    fn every_command_that_paints_takes_color() {
        for command in ["status", "events", "observe", "requests", "profiles"] {
            for mode in ["auto", "always", "never"] {
                assert!(parse(&format!("trilobite {command} --color {mode}")).is_ok(), "{command} {mode}");
            }
        }
    }

    #[test]
    fn next_step_names_the_namespace_unless_it_is_the_default() {
        assert_eq!(own_command("status", DEFAULT_NAMESPACE), "trilobite status");
        assert_eq!(own_command("status", "fossils"), "trilobite status --trilobite-namespace fossils");
    }

    #[test]
    fn local_agent_needs_no_node_and_flags_may_come_last() {
        let arguments = parse("trilobite tunnel --port 7 --socket /run/s").unwrap();
        assert_eq!(arguments.connection.socket.unwrap().to_str(), Some("/run/s"));
    }
}
