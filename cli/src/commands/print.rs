//! What commands write to standard output.

use std::io::Write;

use serde::Serialize;

use super::failure::Failure;

/// Prints a line and flushes it, so that a reader at the other end of a pipe sees it at once.
pub(super) fn print_line(out: &mut dyn Write, text: &str) -> Result<(), Failure> {
    out.write_all(text.as_bytes())
        .and_then(|()| out.write_all(b"\n"))
        .and_then(|()| out.flush())
        .map_err(Failure::Write)
}

/// For `-o json`.
pub(super) fn as_json(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string_pretty(value).map_err(|error| Failure::Write(error.into()))
}

/// For `-o yaml`.
pub(super) fn as_yaml(value: &impl Serialize) -> Result<String, Failure> {
    let text = serde_yaml::to_string(value).map_err(|error| Failure::Write(std::io::Error::other(error)))?;
    Ok(text.trim_end().to_owned())
}
