//! The message of every problem, with short, long and ordinary names in it.

use super::*;

/// Each variant with `word` in place of every foreign text. A new variant does not compile until it is added here.
fn each(word: &str) -> Vec<Problem> {
    let w = || word.to_owned();
    let all = vec![
        Problem::PerfParanoid { level: 4 },
        Problem::UprobeRefused { too_old: Some(w()) },
        Problem::UprobeRefused { too_old: None },
        Problem::NoSuchTracepoint { name: w(), field: w() },
        Problem::NoSuchArgument { name: w(), detail: w(), field: w() },
        // The advice is ours.
        Problem::NoSuchFunction { name: w(), advice: "set ignore.callNotFound".into(), field: w() },
        Problem::FunctionLeftOut { name: w(), field: w() },
        Problem::NotAttachable { name: w(), field: w() },
        Problem::WrongArgument { detail: format!("{word}; use another"), field: w() },
        Problem::InvalidPolicy { reason: Reason::InvalidSpec, message: format!("{word}; correct it"), field: w() },
        Problem::TooManySelectors { detail: format!("{word}; use fewer"), field: w() },
        Problem::SyscallPointer { field: w() },
        Problem::SignalIsLate { field: w() },
        Problem::MatchesExecutedFile { field: w() },
        Problem::KernelTooOld { what: w(), needs: w(), release: w() },
        Problem::VerifierRejected { program: w(), detail: w() },
        Problem::MissingCapability { capability: w(), needed_for: w() },
        Problem::MapMemoryExceeded { map: w(), bytes: 8 << 20 },
        Problem::CgroupV1,
        Problem::HostNetworkPod { pod: w() },
        Problem::BtfMissing,
        Problem::WorkerFailed { detail: w() },
        Problem::ExportFailed { detail: w() },
        Problem::MetricsNotServed { address: w(), detail: w() },
        Problem::HubbleMetricsNotServed { address: w(), detail: w() },
        Problem::SeriesLimitReached { metric: "hubble_tcp_flags_total".into(), limit: 100_000 },
        Problem::PolicyNotEnforced { policy: w(), connections: 1 << 40 },
        Problem::PortTaken { address: w(), detail: w() },
        Problem::CertificateNotIssued { detail: w() },
        Problem::CertificateExpired { end: Timestamp::MAX, detail: w() },
        Problem::LastGoodRefused { detail: w() },
        Problem::StateNotKept { what: w(), detail: w() },
        Problem::WatchFailed { what: w(), detail: w() },
        Problem::TooManySelections { limit: 1024, is_namespaced: false },
        Problem::TooManySelections { limit: 682, is_namespaced: true },
        Problem::TooManyClasses { needed: 1025, limit: 1023 },
        Problem::PartUnavailable { detail: w() },
        Problem::NodeBudgetExceeded { needed: 64 << 20, limit: 512 << 20, in_use: w() },
        Problem::RowsLost { detail: w(), is_over: false },
        Problem::RowsLost { detail: w(), is_over: true },
        Problem::SessionExpired { end: Timestamp::MAX },
        // The words of an unsupported field say themselves what to use instead.
        Problem::Unsupported { field: w(), detail: format!("{word}; leave it out") },
        Problem::LoadFailed { what: w(), detail: w() },
    ];
    for problem in &all {
        match problem {
            Problem::PerfParanoid { .. }
            | Problem::UprobeRefused { .. }
            | Problem::NoSuchTracepoint { .. }
            | Problem::NoSuchArgument { .. }
            | Problem::NoSuchFunction { .. }
            | Problem::FunctionLeftOut { .. }
            | Problem::NotAttachable { .. }
            | Problem::WrongArgument { .. }
            | Problem::InvalidPolicy { .. }
            | Problem::TooManySelectors { .. }
            | Problem::SyscallPointer { .. }
            | Problem::SignalIsLate { .. }
            | Problem::MatchesExecutedFile { .. }
            | Problem::KernelTooOld { .. }
            | Problem::VerifierRejected { .. }
            | Problem::MissingCapability { .. }
            | Problem::MapMemoryExceeded { .. }
            | Problem::CgroupV1
            | Problem::HostNetworkPod { .. }
            | Problem::BtfMissing
            | Problem::WorkerFailed { .. }
            | Problem::ExportFailed { .. }
            | Problem::MetricsNotServed { .. }
            | Problem::HubbleMetricsNotServed { .. }
            | Problem::SeriesLimitReached { .. }
            | Problem::PolicyNotEnforced { .. }
            | Problem::PortTaken { .. }
            | Problem::CertificateNotIssued { .. }
            | Problem::CertificateExpired { .. }
            | Problem::LastGoodRefused { .. }
            | Problem::StateNotKept { .. }
            | Problem::WatchFailed { .. }
            | Problem::TooManySelections { .. }
            | Problem::TooManyClasses { .. }
            | Problem::PartUnavailable { .. }
            | Problem::NodeBudgetExceeded { .. }
            | Problem::RowsLost { .. }
            | Problem::SessionExpired { .. }
            | Problem::Unsupported { .. }
            | Problem::LoadFailed { .. } => {}
        }
    }
    all
}

#[test]
fn every_message_says_what_to_do_next() {
    let said: String = each("reef").iter().map(|it| format!("{}: {}\n", it.reason(), it.message())).collect();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/problem/messages.txt");
        std::fs::write(path, &said).unwrap();
        return;
    }
    assert_eq!(said, include_str!("messages.txt"));
}

#[test]
fn next_step_survives_long_foreign_text() {
    for (long, short) in each(&"x".repeat(300)).iter().zip(each("")) {
        let (message, next) = (long.message(), short.message());
        assert!(message.chars().count() <= MAX_MESSAGE, "{message}");
        let next = next.rsplit(';').next().unwrap_or_default();
        let beside = long.message_beside(i64::MAX);
        assert!(beside.chars().count() <= MAX_MESSAGE, "{beside}");
        assert!(message.ends_with(next), "{message} does not end with {next}");
    }
}

#[test]
fn argument_to_use_instead_is_not_cut() {
    let field = "f".repeat(100);
    let detail = format!("__filename_val_{} is not visible to programs; use filename, index 4", "x".repeat(100));
    let message = Problem::NoSuchArgument { name: "syscalls/sys_enter_openat".into(), detail, field }.message();
    assert!(message.contains("…; use filename, index 4; compare args[].index"), "{message}");
}

#[test]
fn message_with_ordinary_names_is_not_shortened() {
    let kernel = "6.8.0-1021-kubernetes-amd64";
    let capability = |needed_for: &str| Problem::MissingCapability {
        capability: "CAP_DAC_READ_SEARCH".into(),
        needed_for: needed_for.into(),
    };
    let ordinary = [
        Problem::KernelTooOld { what: "flows".into(), needs: "6.6".into(), release: kernel.into() },
        Problem::NoSuchTracepoint {
            name: "raw_syscalls/sys_enter_openat2".into(),
            field: "spec.tracepoints[31].event".into(),
        },
        capability("the agent"),
        capability("loading a program"),
        Problem::LastGoodRefused { detail: "1048576 bytes where the header says 1048577".into() },
    ];
    for problem in ordinary {
        assert!(!problem.message().contains('…'), "{}", problem.message());
    }
}
