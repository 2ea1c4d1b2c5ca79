//! Whether a process may be a probe that the kubelet runs in a container. By the rules of Tetragon's `maybe_exec_probe`: the
//! binary is the command's first word, or has its name where that is no path, and the arguments are the rest of the command.

use trilobite_untrusted_text::push_argument;

use crate::{
    identity::{Located, Process},
    layers::security::SecurityEvent,
};

/// The process or its parent may be a probe.
pub(super) fn is_health_check(event: &SecurityEvent) -> bool {
    [Some(&event.process), event.parent.as_ref()].into_iter().flatten().any(is_exec_probe)
}

pub(super) fn is_exec_probe(located: &Located) -> bool {
    let container = located.pod.as_ref().and_then(|place| place.container.as_ref());
    container.is_some_and(|container| container.exec_probes.iter().any(|probe| is_command(&located.process, probe)))
}

fn is_command(process: &Process, command: &[String]) -> bool {
    let Some((binary, arguments)) = command.split_first() else { return false };
    let same_file = match binary.starts_with('/') {
        true => process.binary == *binary,
        false => file_name(&process.binary) == file_name(binary),
    };
    // The interpreter of a script has the script's path as its first argument.
    same_file && (process.arguments == joined(arguments) || process.arguments == joined(command))
}

fn joined(arguments: &[String]) -> String {
    let mut joined = String::new();
    for (number, argument) in arguments.iter().enumerate() {
        if number > 0 {
            joined.push(' ');
        }
        push_argument(argument, &mut joined);
    }
    joined
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::serve::tetragon::samples;

    /// An exec in a container with one probe.
    fn exec(binary: &str, arguments: &str) -> SecurityEvent {
        let mut event = samples::exec();
        let process = Arc::make_mut(&mut event.process.process);
        (process.binary, process.arguments) = (binary.into(), arguments.into());
        if let Some(container) = event.process.pod.as_mut().and_then(|pod| Arc::make_mut(pod).container.as_mut()) {
            container.exec_probes = vec![["cat", "/tmp/is healthy"].map(String::from).to_vec()];
        }
        event
    }

    #[test]
    fn command_of_a_probe_is_recognised_by_name_and_arguments() {
        assert!(is_health_check(&exec("/usr/bin/cat", "\"/tmp/is healthy\"")));
        assert!(!is_health_check(&exec("/usr/bin/cat", "/tmp/is healthy")));
        assert!(!is_health_check(&exec("/usr/bin/cat", "\"/tmp/is healthy\" /etc/shadow")));
        assert!(!is_health_check(&exec("/usr/bin/tac", "\"/tmp/is healthy\"")));
        assert!(!is_health_check(&samples::exec_on_the_host()));
    }

    #[test]
    fn path_of_a_probe_is_compared_whole_and_a_script_is_recognised() {
        let of = |command: &[&str], binary: &str, arguments: &str| {
            let process = Process { binary: binary.into(), arguments: arguments.into(), ..Process::default() };
            is_command(&process, &command.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
        };
        assert!(!of(&["/bin/cat", "x"], "/tmp/cat", "x") && of(&["/bin/cat", "x"], "/bin/cat", "x"));
        assert!(of(&["/health.sh", "5"], "/health.sh", "/health.sh 5"));
        assert!(!of(&[], "", ""));
    }

    #[test]
    fn child_of_a_probe_is_a_health_check() {
        let mut event = exec("/bin/touch", "/tmp/x");
        event.parent = Some(exec("cat", "\"/tmp/is healthy\"").process);
        assert!(is_health_check(&event) && !is_exec_probe(&event.process));
    }
}
