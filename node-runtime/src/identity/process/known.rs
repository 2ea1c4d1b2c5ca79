//! Images that this node's agent has seen, kept over restarts: a process that ran before has the names of its exec again, not
//! those that /proc shows by then, since programs retitle themselves and their files are replaced. Pure.

use std::{collections::HashMap, sync::Arc};

use serde::{Deserialize, Serialize};

use super::image::{ExecKey, Process, TRUNC_ARGS};
use crate::identity::decode::Image;

/// Images that are kept; more run on no usual node.
const IMAGES_MAX: usize = 4096;
/// Bytes of their names and arguments together.
const TEXT_MAX: usize = 4 << 20;
/// Bytes of long arguments among them; longer ones are cut, so that they displace no other image.
const LONG_ARGUMENTS_MAX: usize = TEXT_MAX / 2;

/// Images of one boot, sorted by key: parents first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KnownProcesses {
    /// Keys are times since it; empty where nothing can be known.
    boot_id: String,
    images: Vec<Arc<Process>>,
}

impl KnownProcesses {
    /// Keeps the oldest ones where there are too many: they are the parents of the others.
    pub(in crate::identity) fn new(boot_id: &str, images: impl Iterator<Item = Arc<Process>>) -> Self {
        let mut images: Vec<Arc<Process>> = images.collect();
        images.sort_unstable_by_key(|process| process.key);
        images.truncate(IMAGES_MAX);
        let (mut bytes, mut long_bytes) = (0, 0);
        images.retain_mut(|process| {
            if let Some(short) = process.arguments.shortened() {
                long_bytes += process.arguments.len();
                if long_bytes > LONG_ARGUMENTS_MAX {
                    *process = Arc::new(with_cut_arguments(process, short));
                }
            }
            bytes += process.binary.len() + process.arguments.len() + process.cwd.len();
            bytes <= TEXT_MAX
        });
        Self { boot_id: boot_id.to_owned(), images }
    }

    /// The images, the oldest first.
    pub fn into_images(self) -> Vec<Arc<Process>> {
        self.images
    }

    /// None of these are known after the machine was started again.
    pub(in crate::identity) fn of_boot(self, boot_id: &str) -> Self {
        if boot_id.is_empty() || self.boot_id != boot_id { Self::default() } else { self }
    }

    /// Takes the known ones out of `tasks`, which the task iterator has listed. Returns their images, each where its process is
    /// now, with the images of their parents that have ended; parents first.
    pub(in crate::identity) fn resolve(self, tasks: &mut Vec<Image>) -> Vec<Arc<Process>> {
        let mut known: HashMap<ExecKey, Process> =
            self.images.into_iter().map(|process| (process.key, Arc::unwrap_or_clone(process))).collect();
        let mut resolved: Vec<Process> = Vec::new();
        tasks.retain(|image| {
            let Some(process) = known.remove(&image.process.key) else { return true };
            resolved.push(Process { cgroup: image.process.cgroup, ..process });
            false
        });
        let mut at = 0;
        while let Some(process) = resolved.get(at) {
            let ended = known.remove(&process.parent);
            resolved.extend(ended);
            at += 1;
        }
        resolved.sort_unstable_by_key(|process| process.key);
        resolved.into_iter().map(Arc::new).collect()
    }
}

fn with_cut_arguments(process: &Process, arguments: &str) -> Process {
    let mut flags = process.flags.clone();
    if !flags.contains(TRUNC_ARGS) {
        flags.extend([" ", TRUNC_ARGS]);
    }
    Process { arguments: arguments.into(), flags, ..process.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(ktime: u64, parent: u64, binary: &str) -> Process {
        let key = |ktime| ExecKey { ktime, pid: 9 };
        Process { key: key(ktime), parent: key(parent), binary: binary.into(), cgroup: 1, ..Process::default() }
    }

    fn known(processes: &[Process]) -> KnownProcesses {
        KnownProcesses::new("boot-7", processes.iter().cloned().map(Arc::new))
    }

    fn listed(ktime: u64) -> Image {
        let process = Process { cgroup: 2, ..process(ktime, 1, "/bin/busybox") };
        Image { process, ..Image::default() }
    }

    #[test]
    fn process_has_the_names_of_its_exec_after_a_restart() {
        let kept = known(&[process(10, 1, "/bin/sh"), process(99, 1, "/bin/gone")]);
        let mut tasks = vec![listed(10), listed(20)];
        let read: KnownProcesses = serde_json::from_slice(&serde_json::to_vec(&kept).unwrap()).unwrap();
        let resolved = read.of_boot("boot-7").resolve(&mut tasks);
        let [shell] = &resolved[..] else { panic!("{resolved:?}") };
        assert_eq!((shell.binary.as_str(), shell.cgroup), ("/bin/sh", 2), "its names then, its place now");
        assert_eq!(tasks.iter().map(|image| image.process.key.ktime).collect::<Vec<_>>(), [20], "read from /proc");
    }

    #[test]
    fn ended_parents_of_known_processes_come_first() {
        let kept = known(&[
            process(30, 20, "/child"),
            process(20, 10, "/parent"),
            process(10, 1, "/first"),
            process(40, 1, "/other"),
        ]);
        let resolved = kept.resolve(&mut vec![listed(30)]);
        let names: Vec<&str> = resolved.iter().map(|process| process.binary.as_str()).collect();
        assert_eq!(names, ["/first", "/parent", "/child"]);
    }

    #[test]
    fn nothing_is_known_of_another_boot() {
        let kept = || known(&[process(10, 1, "/bin/sh")]);
        assert_eq!(kept().of_boot("boot-8"), KnownProcesses::default());
        assert_eq!(KnownProcesses::new("", std::iter::empty()).of_boot(""), KnownProcesses::default());
        assert_eq!(kept().of_boot("boot-7"), kept());
    }

    #[test]
    fn numbers_and_bytes_are_bounded() {
        let many: Vec<Process> = (0..IMAGES_MAX as u64 + 10).rev().map(|ktime| process(ktime, 1, "/bin/x")).collect();
        let kept = known(&many);
        assert_eq!((kept.images.len(), kept.images[0].key.ktime), (IMAGES_MAX, 0));
        let long: Vec<Process> = (0..IMAGES_MAX as u64).map(|ktime| process(ktime, 1, &"x".repeat(4000))).collect();
        assert_eq!(known(&long).images.len(), TEXT_MAX / 4000);
    }

    #[test]
    fn long_arguments_displace_no_other_image() {
        let long = |ktime| Process { arguments: "y".repeat(64 << 10).into(), ..process(ktime, 1, "/bin/long") };
        let hostile: Vec<Process> = (0..200).map(long).chain([process(200, 1, "/bin/usual")]).collect();
        let kept = known(&hostile);
        assert_eq!(kept.images.len(), 201);
        let (whole, cut): (Vec<_>, Vec<_>) =
            kept.images.iter().filter(|image| image.binary == "/bin/long").partition(|image| image.flags.is_empty());
        assert_eq!((whole.len(), cut.len()), (LONG_ARGUMENTS_MAX >> 16, 200 - (LONG_ARGUMENTS_MAX >> 16)));
        assert!(cut.iter().all(|image| image.arguments.len() == 4096 && image.flags.trim() == TRUNC_ARGS));
    }
}
