//! Names of processes that ran before the agent did: the kernel's iterator cannot read their memory on every kernel.

use std::{fs, path::PathBuf};

use super::{
    ExecKey, Process,
    decode::{Image, cut, quoted},
};
use crate::kernel::pid_namespace;

/// Arguments are cut here, as in a record of the kernel's.
const ARGUMENTS_MAX: usize = 4096;

/// The kernel's entry of this pid is still of this image, so that what /proc said of the pid is, too. Where there is none the
/// process has ended, or found no room, and nobody is known to have taken its place.
pub(super) fn same_image(entry: Option<&[u8]>, key: ExecKey) -> bool {
    entry.and_then(|entry| entry.first_chunk()).is_none_or(|ktime| u64::from_ne_bytes(*ktime) == key.ktime)
}

/// Which pids our own /proc shows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Proc {
    /// Where it is not the first.
    namespace: Option<u32>,
}

impl Proc {
    /// Looks which pid namespace this process is in.
    pub(super) fn here() -> Self {
        Self { namespace: pid_namespace::nested() }
    }

    /// Fills in binary, arguments and directory, as far as /proc has them for this very process.
    pub(super) fn name(&self, image: &mut Image) {
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
        process.arguments = bytes
            .strip_suffix(&[0])
            .unwrap_or(&bytes)
            .split(|byte| *byte == 0)
            .skip(1)
            .map(|argument| quoted(&String::from_utf8_lossy(argument)))
            .collect::<Vec<_>>()
            .join(" ");
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
    fn what_proc_says_after_an_exec_is_of_another_image() {
        let key = ExecKey { ktime: 50, pid: 5 };
        let entry = |ktime: u64| [ktime.to_ne_bytes(), [0; 8], [0; 8]].concat();
        assert!(same_image(Some(&entry(50)), key));
        assert!(!same_image(Some(&entry(51)), key));
        assert!(same_image(None, key));
    }
}
