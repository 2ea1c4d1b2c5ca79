//! tracefs: the formats of classic tracepoints, and the list of functions that can be traced.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Mount points of tracefs, the newer one first.
const MOUNT_POINTS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// The mounted tracefs, or why there is none. A mount point without `events` has no tracefs on it.
pub fn root() -> Result<PathBuf, String> {
    let mut refusal = None;
    for root in MOUNT_POINTS.map(Path::new) {
        match fs::read_dir(root.join("events")) {
            Ok(_) => return Ok(root.to_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => refusal = Some(format!("{}: {error}", root.display())),
        }
    }
    Err(refusal.unwrap_or_else(|| format!("{}: tracefs is not mounted there", MOUNT_POINTS[0])))
}

/// The text of a tracepoint's format file; none where the kernel has no such tracepoint.
pub fn format(subsystem: &str, event: &str) -> Result<Option<String>, String> {
    let path = root()?.join("events").join(subsystem).join(event).join("format");
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}
