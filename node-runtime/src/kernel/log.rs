//! libbpf's own log: kept for the load that is under way on this thread, so that a refusal can be explained; to tracing otherwise.

use std::{cell::RefCell, sync::Once};

use libbpf_rs::{PrintLevel, set_print};

thread_local! {
    static KEPT: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// What is kept of one load; a verifier's log alone may be megabytes.
const LINES_MAX: usize = 64;

fn print(level: PrintLevel, line: String) {
    match level {
        PrintLevel::Warn => {
            tracing::debug!(target: "libbpf", "{}", line.trim_end());
            KEPT.with_borrow_mut(|kept| {
                if kept.len() < LINES_MAX {
                    kept.push(line);
                }
            });
        }
        PrintLevel::Info => tracing::debug!(target: "libbpf", "{}", line.trim_end()),
        PrintLevel::Debug => tracing::trace!(target: "libbpf", "{}", line.trim_end()),
    }
}

/// Does `work` and gives, with its answer, the warnings that libbpf wrote meanwhile.
pub(super) fn with_warnings<T>(work: impl FnOnce() -> T) -> (T, Vec<String>) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let level = if tracing::enabled!(target: "libbpf", tracing::Level::TRACE) {
            PrintLevel::Debug
        } else {
            PrintLevel::Info
        };
        set_print(Some((level, print)));
    });
    KEPT.with_borrow_mut(Vec::clear);
    let answer = work();
    (answer, KEPT.take())
}
