//! Why the kernel refused an object, from the errno and libbpf's log. Pure.

use std::collections::BTreeSet;

use super::Release;
use crate::problem::Problem;

/// Since 5.11 maps and programs are charged to the cgroup and RLIMIT_MEMLOCK no longer applies.
const CHARGED_TO_CGROUPS_SINCE: Release = Release { major: 5, minor: 11 };

/// The circumstances of a failed load.
pub(super) struct Failure<'a> {
    pub object: &'static str,
    /// Positive.
    pub errno: i32,
    /// libbpf's warnings.
    pub log: &'a [String],
    /// Maps of the object and their size in bytes.
    pub maps: &'a [(String, u64)],
    pub capabilities: &'a BTreeSet<String>,
    pub release: Release,
}

/// libbpf's markers around the verifier's log.
const LOG_BEGINS: &str = "-- BEGIN PROG LOAD LOG --";
const LOG_ENDS: &str = "-- END PROG LOAD LOG --";

pub(super) fn explain(failure: &Failure<'_>) -> Problem {
    let Failure { object, errno, log, maps, capabilities, release } = failure;
    if matches!(*errno, libc::EPERM | libc::ENOMEM)
        && let Some(name) = log.iter().find_map(|line| refused_map(line))
    {
        if *errno == libc::EPERM {
            if let Some(problem) = missing(capabilities, object) {
                return problem;
            }
            if !memlock_counts(*release) {
                return forbidden(format!("making map {name} of {object}"));
            }
        }
        let bytes = maps.iter().find(|(map, _)| *map == name).map_or(0, |(_, bytes)| *bytes);
        return Problem::MapMemoryExceeded { map: name, bytes };
    }
    if let Some((program, detail)) = verdict(log) {
        return Problem::VerifierRejected { program, detail };
    }
    if *errno == libc::EPERM {
        if let Some(problem) = missing(capabilities, object) {
            return problem;
        }
        if !memlock_counts(*release) {
            return forbidden(format!("loading {object}"));
        }
        // Programs are charged to RLIMIT_MEMLOCK as well, and libbpf's first trivial program already is.
        if !capabilities.contains("CAP_SYS_RESOURCE") && !capabilities.contains("CAP_SYS_ADMIN") {
            let bytes = maps.iter().map(|(_, bytes)| bytes).sum();
            return Problem::MapMemoryExceeded { map: (*object).to_owned(), bytes };
        }
    }
    let words = std::io::Error::from_raw_os_error(*errno).to_string();
    let detail = match log.iter().map(|line| line.trim()).find(|line| !line.is_empty()) {
        Some(line) => format!("{words}: {}", line.strip_prefix("libbpf: ").unwrap_or(line)),
        None => words,
    };
    Problem::LoadFailed { what: format!("loading {object}"), detail }
}

/// Whether an EPERM despite all capabilities can mean that RLIMIT_MEMLOCK is exceeded.
pub fn memlock_counts(release: Release) -> bool {
    release < CHARGED_TO_CGROUPS_SINCE
}

/// An EPERM despite all capabilities that no memory limit explains.
pub fn forbidden(what: String) -> Problem {
    Problem::LoadFailed { what, detail: "forbidden despite all capabilities, by seccomp, lockdown or an LSM".into() }
}

fn missing(capabilities: &BTreeSet<String>, object: &str) -> Option<Problem> {
    if capabilities.contains("CAP_SYS_ADMIN") {
        return None;
    }
    ["CAP_BPF", "CAP_PERFMON"].into_iter().find(|capability| !capabilities.contains(*capability)).map(|capability| {
        Problem::MissingCapability { capability: capability.to_owned(), needed_for: format!("loading {object}") }
    })
}

/// `libbpf: map 'events': failed to create: -EPERM`
fn refused_map(line: &str) -> Option<String> {
    if !line.contains("failed to create") {
        return None;
    }
    quoted(line, "map '")
}

/// The program, and the last line of the verifier's log that is not a statistic.
fn verdict(log: &[String]) -> Option<(String, String)> {
    let text = log.iter().find(|line| line.contains(LOG_BEGINS))?;
    let program = quoted(text, "prog '")?;
    let body = text.split(LOG_BEGINS).nth(1)?.split(LOG_ENDS).next()?;
    let detail = body
        .lines()
        .map(str::trim)
        .rfind(|line| {
            !line.is_empty()
                && !["processed ", "verification time", "stack depth"].iter().any(|tail| line.starts_with(tail))
        })
        .unwrap_or("the kernel gave no reason");
    Some((program, detail.to_owned()))
}

fn quoted(line: &str, before: &str) -> Option<String> {
    let rest = line.split(before).nth(1)?;
    Some(rest.split('\'').next()?.to_owned())
}

/// libbpf-rs keeps the number only in its text.
pub(super) fn errno(error: &libbpf_rs::Error) -> i32 {
    let text = format!("{error:#}");
    text.rsplit("(os error ").next().and_then(|tail| tail.split(')').next()?.parse().ok()).unwrap_or(
        match error.kind() {
            libbpf_rs::ErrorKind::PermissionDenied => libc::EPERM,
            libbpf_rs::ErrorKind::NotFound => libc::ENOENT,
            _ => libc::EINVAL,
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHARGES_MEMLOCK: Release = Release { major: 5, minor: 10 };

    fn explained(errno: i32, log: &[&str], capabilities: &[&str]) -> Problem {
        explained_on(CHARGES_MEMLOCK, errno, log, capabilities)
    }

    fn explained_on(release: Release, errno: i32, log: &[&str], capabilities: &[&str]) -> Problem {
        let log: Vec<String> = log.iter().map(|line| (*line).to_owned()).collect();
        let maps = [("ring".to_owned(), 262_144)];
        let capabilities = capabilities.iter().map(|name| (*name).to_owned()).collect();
        explain(&Failure { object: "process", errno, log: &log, maps: &maps, capabilities: &capabilities, release })
    }

    #[test]
    fn last_telling_line_of_the_verifier_is_reported() {
        let log = "libbpf: prog 'on_exec': -- BEGIN PROG LOAD LOG --\n0: R1=ctx()\nR3 invalid mem access 'scalar'\n\
                   processed 12 insns (limit 1000000)\n-- END PROG LOAD LOG --\n";
        assert_eq!(
            explained(libc::EACCES, &[log], &["CAP_BPF", "CAP_PERFMON"]),
            Problem::VerifierRejected { program: "on_exec".into(), detail: "R3 invalid mem access 'scalar'".into() }
        );
    }

    #[test]
    fn map_without_memory_is_not_a_missing_capability() {
        let log = "libbpf: map 'ring': failed to create: -EPERM\n";
        let refused = Problem::MapMemoryExceeded { map: "ring".into(), bytes: 262_144 };
        assert_eq!(explained(libc::EPERM, &[log], &["CAP_BPF", "CAP_PERFMON"]), refused);
        assert_eq!(explained(libc::ENOMEM, &[log], &["CAP_BPF", "CAP_PERFMON"]), refused);
    }

    #[test]
    fn eperm_with_all_capabilities_is_memlock_only_before_5_11() {
        let (all, map) = (["CAP_BPF", "CAP_PERFMON"], "libbpf: map 'ring': failed to create: -EPERM\n");
        for log in [&[map][..], &[]] {
            let before = explained(libc::EPERM, log, &all);
            assert!(matches!(before, Problem::MapMemoryExceeded { .. }), "{before:?}");
            let since = explained_on(Release { major: 5, minor: 11 }, libc::EPERM, log, &all).message();
            assert!(
                since.contains("process: forbidden despite all capabilities, by seccomp, lockdown or an LSM"),
                "{since}"
            );
            assert!(!since.contains('…'), "{since}");
        }
        let memory = explained_on(Release { major: 6, minor: 12 }, libc::ENOMEM, &[map], &all);
        assert!(matches!(memory, Problem::MapMemoryExceeded { .. }));
    }

    #[test]
    fn map_refused_without_privilege_names_the_capability() {
        let log = "libbpf: map 'ring': failed to create: -EPERM\n";
        let problem = explained(libc::EPERM, &[log], &["CAP_PERFMON"]);
        assert!(matches!(problem, Problem::MissingCapability { .. }));
        assert!(problem.message().contains("CAP_BPF"));
    }

    #[test]
    fn refusal_without_a_log_keeps_the_errno_text() {
        let problem = explained(libc::ENOENT, &[], &["CAP_BPF", "CAP_PERFMON"]);
        assert!(problem.message().starts_with("loading process: No such file or directory (os error 2); "));
    }
}
