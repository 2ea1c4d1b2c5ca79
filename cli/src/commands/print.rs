//! Lines on standard output.

use std::io::Write;

use super::failure::Failure;

/// Prints a line and flushes it, so that a reader at the other end of a pipe sees it at once.
pub(super) fn print_line(out: &mut dyn Write, text: &str) -> Result<(), Failure> {
    out.write_all(text.as_bytes())
        .and_then(|()| out.write_all(b"\n"))
        .and_then(|()| out.flush())
        .map_err(Failure::Write)
}
