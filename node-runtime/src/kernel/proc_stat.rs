//! When a process started, as `/proc/PID/stat` says.

use std::{fs, path::Path};

/// `/proc/PID/stat` counts time in these.
pub const TICK_NS: u64 = 10_000_000;

/// Ticks of the boot clock at which the process with this folder in `/proc` started; none once it has ended.
pub fn start_ticks(folder: impl AsRef<Path>) -> Option<u64> {
    let stat = fs::read_to_string(folder.as_ref().join("stat")).ok()?;
    // The name may contain spaces and brackets; behind the last bracket are numbers alone. The start is the 22nd field.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}
