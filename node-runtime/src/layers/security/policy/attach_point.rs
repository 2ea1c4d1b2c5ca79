//! The attach point of a hook on this kernel: whether the tracepoint exists, and how its arguments are read.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use trilobite_crds::node::TracepointHook;

use crate::{
    kernel::btf,
    layers::security::args::{ArgReader, classic_readers, format::parse_format, raw_readers},
    problem::Problem,
};

/// Mount points of tracefs, the newer one first.
const TRACEFS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// Readers for the arguments of a hook.
pub(super) fn arg_readers(hook: &TracepointHook, kernel: &btf::KernelTypes) -> Result<Vec<ArgReader>, Problem> {
    let missing = || Problem::NoSuchTracepoint {
        name: format!("{}/{}", hook.subsystem, hook.event),
        field: format!("{}.event", hook.field_path),
    };
    if hook.raw {
        let in_module = |module: String| Problem::Unsupported {
            field: format!("{}.raw", hook.field_path),
            detail: format!(
                "{} is of module {module}, and types of modules are not supported; use the classic one",
                hook.event
            ),
        };
        let refused = || btf::module_of(&hook.event).map_or_else(missing, in_module);
        return raw_readers(hook, &kernel.raw_tracepoint(&hook.event).ok_or_else(refused)?);
    }
    let events = tracefs()?.join("events");
    let path = events.join(&hook.subsystem).join(&hook.event).join("format");
    match fs::read_to_string(&path) {
        Ok(format) => classic_readers(hook, &parse_format(&format)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(missing()),
        Err(error) => Err(unreadable(&path, &error)),
    }
}

/// The mounted tracefs. A mount point without `events` has no tracefs on it.
fn tracefs() -> Result<PathBuf, Problem> {
    let mut refusal = None;
    for root in TRACEFS.map(Path::new) {
        match fs::read_dir(root.join("events")) {
            Ok(_) => return Ok(root.to_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => refusal = Some(unreadable(&root.join("events"), &error)),
        }
    }
    Err(refusal.unwrap_or_else(|| Problem::LoadFailed {
        what: format!("reading {}", TRACEFS[0]),
        detail: "tracefs is not mounted there; mount it, or use raw: true, which does not need it".into(),
    }))
}

fn unreadable(path: &Path, error: &io::Error) -> Problem {
    Problem::LoadFailed {
        what: format!("reading {}", path.display()),
        detail: format!("{error}; raw: true does not need it"),
    }
}
