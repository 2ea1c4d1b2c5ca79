//! Names of processes that ran before the agent started: the kernel's task iterator cannot read their memory on every kernel.

use std::{fs, path::PathBuf};

use trilobite_node_ebpf::ProcessEntry;

use super::image::{ExecKey, Process};
use crate::{
    identity::decode::{Image, arguments, cut},
    kernel::pid_namespace,
};

/// Bytes of arguments that are read; the kernel's records have the same limit.
const ARGUMENTS_MAX: usize = 4096;

/// Whether the kernel's process map still has this image for the pid, so that what /proc says of the pid is about this image.
/// Without an entry the process has ended or found no room in the map, and no other image is known to have taken its place.
pub(in crate::identity) fn same_image(entry: Option<&ProcessEntry>, key: ExecKey) -> bool {
    entry.is_none_or(|entry| entry.ktime == key.ktime)
}

/// Reads names from /proc, which shows the processes of the agent's own pid namespace.
#[derive(Clone, Copy, Debug)]
pub(in crate::identity) struct ProcReader {
    /// The agent's pid namespace, where that is not the first one.
    namespace: Option<u32>,
}

impl ProcReader {
    pub(in crate::identity) fn new() -> Self {
        Self { namespace: pid_namespace::nested() }
    }

    /// Fills in binary, arguments and working directory, as far as /proc shows them.
    pub(in crate::identity) fn fill_names(&self, image: &mut Image) {
        let process = &mut image.process;
        if image.kernel {
            process.binary = "<kernel>".into();
            return;
        }
        let Some(dir) = self.dir(process) else { return };
        let link = |name: &str| fs::read_link(dir.join(name)).map(|path| path.to_string_lossy().into_owned());
        process.binary = link("exe").unwrap_or_default();
        process.cwd = link("cwd").unwrap_or_default();
        let mut bytes = fs::read(dir.join("cmdline")).unwrap_or_default();
        let longer = bytes.len() > ARGUMENTS_MAX;
        bytes.truncate(ARGUMENTS_MAX);
        process.arguments = arguments(&bytes, false);
        if cut(&mut process.arguments) || longer {
            process.flags.push_str(" truncArgs");
        }
        if process.cwd == "/" {
            process.flags.push_str(" rootcwd");
        }
    }

    fn dir(&self, process: &Process) -> Option<PathBuf> {
        let pid = match self.namespace {
            None => process.key.pid,
            Some(own) if process.namespaces[3] == own => process.ns_pid,
            Some(_) => return None,
        };
        Some(PathBuf::from(format!("/proc/{pid}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_after_an_exec_belong_to_another_image() {
        let key = ExecKey { ktime: 50, pid: 5 };
        let entry = |ktime| ProcessEntry { ktime, ..ProcessEntry::default() };
        assert!(same_image(Some(&entry(50)), key));
        assert!(!same_image(Some(&entry(51)), key));
        assert!(same_image(None, key));
    }
}
