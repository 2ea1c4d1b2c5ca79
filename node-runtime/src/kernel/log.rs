//! libbpf's log: its warnings are collected during a load on this thread, to explain a refusal; everything goes to tracing.

use std::{cell::RefCell, sync::Once};

use libbpf_rs::{PrintLevel, set_print};

thread_local! {
    static WARNINGS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Warnings kept of one load. A single verifier log may have megabytes.
const LINES_MAX: usize = 64;

fn print(level: PrintLevel, line: String) {
    match level {
        PrintLevel::Warn => {
            tracing::debug!(target: "libbpf", "{}", line.trim_end());
            WARNINGS.with_borrow_mut(|warnings| {
                if warnings.len() < LINES_MAX {
                    warnings.push(line);
                }
            });
        }
        PrintLevel::Info => tracing::debug!(target: "libbpf", "{}", line.trim_end()),
        PrintLevel::Debug => tracing::trace!(target: "libbpf", "{}", line.trim_end()),
    }
}

/// Runs `work` and returns its result with the warnings that libbpf logged meanwhile.
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
    WARNINGS.with_borrow_mut(Vec::clear);
    let answer = work();
    (answer, WARNINGS.take())
}
