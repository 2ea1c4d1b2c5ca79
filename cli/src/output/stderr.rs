//! Lines on standard error. A reader that has gone away (`2>&1 | head`) or a full disk must not end the command, as
//! `eprintln!` does by a panic; `clippy::print_stderr` refuses it in this crate.

use std::{
    fmt,
    io::{self, Write},
};

/// Like `eprintln!`, but ignores failures.
macro_rules! stderr_line {
    ($($argument:tt)*) => {
        $crate::output::stderr::write_stderr_line(format_args!($($argument)*))
    };
}
pub(crate) use stderr_line;

pub(crate) fn write_stderr_line(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}
