//! `trilobite policy check`: the files by themselves, then every node's agent by policies with the annotation of a dry run, of which
//! nothing is loaded, and which are deleted in any case.

mod dry_run;
mod files;
mod nodes;
mod verdict;

use std::io::Write;

use self::{
    files::{CheckedFiles, check_files},
    nodes::ask_nodes,
    verdict::Verdict,
};
use super::{failure::Failure, print::print_line};
use crate::{
    agent::Transport,
    args::{ConnectionArgs, PolicyArgs, PolicyCheckArgs, PolicyCommand},
    output::stderr::stderr_line,
};

/// Why no node is asked.
const OFFLINE: &str = "--offline was given";
const LOCAL_AGENT: &str =
    "an agent on a socket checks no files; run on its machine: trilobite-node policy explain FILE";

pub(super) async fn execute(
    arguments: &PolicyArgs,
    connection: &ConnectionArgs,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    match &arguments.command {
        PolicyCommand::Check(arguments) => check_policies(arguments, connection, out).await,
    }
}

async fn check_policies(
    arguments: &PolicyCheckArgs,
    connection: &ConnectionArgs,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let CheckedFiles { mut verdicts, accepted } = check_files(&arguments.files)?;
    if arguments.offline {
        verdicts.extend(accepted.iter().map(|policy| Verdict::not_asked(policy.to_string(), OFFLINE)));
    } else if !accepted.is_empty() {
        match Transport::new(connection).await {
            Ok(Transport::Cluster { client, .. }) => {
                verdicts.extend(ask_nodes(&client, accepted, arguments.timeout).await?);
            }
            Ok(Transport::Socket(_)) => {
                verdicts.extend(accepted.iter().map(|policy| Verdict::not_asked(policy.to_string(), LOCAL_AGENT)));
            }
            Err(error) => {
                let why = error.to_string();
                verdicts.extend(accepted.iter().map(|policy| Verdict::not_asked(policy.to_string(), &why)));
            }
        }
    }
    for verdict in &verdicts {
        print_line(out, &verdict.to_string())?;
    }
    let refused = verdicts.iter().filter(|verdict| verdict.is_refused()).count();
    let unasked = verdicts.iter().filter(|verdict| verdict.unchecked.is_some()).count();
    stderr_line!("{}", summary(verdicts.len(), refused, unasked));
    if refused > 0 { Err(Failure::PoliciesRefused { refused, all: verdicts.len() }) } else { Ok(()) }
}

fn summary(all: usize, refused: usize, unasked: usize) -> String {
    let mut text = format!("{all} checked: {} accepted, {refused} refused", all - refused);
    if unasked > 0 {
        text += &format!("; of {unasked} not everything was checked (see above)");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn files_are_checked_without_a_cluster() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policies.yaml");
        let policy = |name: &str, spec: &str| {
            format!("apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata: {{name: {name}}}\nspec: {spec}\n")
        };
        let good = policy("watch-ink", "{tracepoints: [{subsystem: sched, event: sched_switch}]}");
        let bad = policy("later", "{lsmhooks: [{hook: file_open}]}");
        std::fs::write(&path, format!("{good}---\n{bad}")).unwrap();
        let arguments = PolicyCheckArgs { files: vec![path], offline: true, timeout: Duration::from_secs(1) };
        let mut out = Vec::new();
        let ended = check_policies(&arguments, &ConnectionArgs::default(), &mut out).await;
        assert!(matches!(ended, Err(Failure::PoliciesRefused { refused: 1, all: 2 })), "{ended:?}");
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("CiliumTracingPolicy/later: refused\n  Unsupported: spec.lsmhooks"), "{text}");
        assert!(text.contains("CiliumTracingPolicy/watch-ink: accepted\n  not checked: "), "{text}");
        assert!(text.contains("--offline"), "{text}");
    }

    #[test]
    fn summary_says_of_how_many_nothing_is_known_of_nodes() {
        assert_eq!(summary(3, 1, 0), "3 checked: 2 accepted, 1 refused");
        assert_eq!(summary(3, 0, 2), "3 checked: 3 accepted, 0 refused; of 2 not everything was checked (see above)");
    }
}
