//! What is printed of a panic.

use std::panic;

/// The message of a panic may quote the bytes that were parsed: its place alone is printed.
pub(crate) fn report_panics() {
    panic::set_hook(Box::new(|panicked| {
        let place = panicked.location().map(ToString::to_string).unwrap_or_default();
        eprintln!("trilobite-worker: a parser panicked at {place}");
    }));
}
