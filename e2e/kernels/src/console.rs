//! What a person who waits sees: one line per step, whole even when two kernels run at a time.

use std::io::{Write, stdout};

/// Writes `text` and ends the line. A closed terminal is no reason to stop.
pub(crate) fn say(text: &str) {
    let mut out = stdout().lock();
    let _ = writeln!(out, "{}", text.trim_end());
    let _ = out.flush();
}
