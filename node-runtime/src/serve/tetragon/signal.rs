//! Names of signals, as process_exit shows them. Real-time signals have numbers only.

use std::borrow::Cow;

const NAMES: [&str; 31] = [
    "SIGHUP",
    "SIGINT",
    "SIGQUIT",
    "SIGILL",
    "SIGTRAP",
    "SIGABRT",
    "SIGBUS",
    "SIGFPE",
    "SIGKILL",
    "SIGUSR1",
    "SIGSEGV",
    "SIGUSR2",
    "SIGPIPE",
    "SIGALRM",
    "SIGTERM",
    "SIGSTKFLT",
    "SIGCHLD",
    "SIGCONT",
    "SIGSTOP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGXCPU",
    "SIGXFSZ",
    "SIGVTALRM",
    "SIGPROF",
    "SIGWINCH",
    "SIGIO",
    "SIGPWR",
    "SIGSYS",
];

/// The name of a signal, for one without a name its number: `SIG34`. Empty for no signal at all.
pub(super) fn name(number: u32) -> Cow<'static, str> {
    let Some(at) = usize::try_from(number).ok().and_then(|number| number.checked_sub(1)) else { return "".into() };
    NAMES.get(at).map_or_else(|| format!("SIG{number}").into(), |name| Cow::Borrowed(*name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signal_without_a_name_has_its_number() {
        assert_eq!([name(9), name(31)], ["SIGKILL", "SIGSYS"]);
        assert_eq!([name(32), name(34), name(64), name(127)], ["SIG32", "SIG34", "SIG64", "SIG127"]);
        assert_eq!(name(0), "");
    }
}
