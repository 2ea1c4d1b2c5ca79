//! Whether a process descends from the first process of its container, which what `kubectl exec` starts does not: Tetragon's
//! `in_init_tree`. One difference to Tetragon: a process that enters a pid namespace from outside is never in that namespace's
//! tree, even where the outside is itself a container, e.g. a node of kind.

use super::image::Process;
use crate::{identity::decode::Fork, kernel::pid_namespace};

/// The flag word of a process in the tree.
const FLAG: &str = "inInitTree";
/// Index of the pid namespace in `Process::namespaces`.
const PID: usize = 3;

/// Marks a process that was just forked; `child` is a copy of its parent.
pub(super) fn mark_fork(mut child: Process, fork: &Fork) -> Process {
    let mut in_tree = child.in_init_tree;
    if fork.ns_pid == 1 {
        in_tree = Some(true);
        // The child has a new pid namespace, whose inode the record does not carry.
        child.namespaces[PID] = 0;
    }
    mark(child, in_tree)
}

/// Marks an image by its origin: the image that it replaced, or its parent where the task iterator found it.
pub(super) fn mark_exec(image: Process, origin: Option<&Process>) -> Process {
    let (now, before) = (image.namespaces[PID], origin.map_or(0, |origin| origin.namespaces[PID]));
    let in_tree = if now == pid_namespace::INITIAL {
        Some(false)
    } else if image.ns_pid == 1 {
        Some(true)
    } else if now != 0 && before != 0 && now != before {
        Some(false)
    } else {
        origin.and_then(|origin| origin.in_init_tree)
    };
    mark(image, in_tree)
}

fn mark(mut process: Process, in_tree: Option<bool>) -> Process {
    process.in_init_tree = in_tree;
    if in_tree == Some(true) && !process.flags.split(' ').any(|word| word == FLAG) {
        if !process.flags.is_empty() {
            process.flags.push(' ');
        }
        process.flags.push_str(FLAG);
    }
    process
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::ExecKey;

    const CONTAINER: u32 = 0xF000_0001;

    fn image(ns_pid: u32, pid_namespace: u32) -> Process {
        let mut namespaces = [0; 10];
        namespaces[PID] = pid_namespace;
        Process { flags: "execve".into(), ns_pid, namespaces, ..Process::default() }
    }

    fn child(parent: &Process, ns_pid: u32) -> Process {
        let key = ExecKey::default();
        let copy = Process { flags: "clone".into(), ns_pid, ..parent.clone() };
        mark_fork(copy, &Fork { key, parent: key, time: 0, cgroup: 0, ns_pid })
    }

    #[test]
    fn descendants_of_a_containers_first_process_are_in_its_tree() {
        let runtime = mark_exec(image(900, pid_namespace::INITIAL), None);
        assert_eq!((runtime.in_init_tree, runtime.flags.as_str()), (Some(false), "execve"));
        let init = child(&runtime, 1);
        assert_eq!((init.in_init_tree, init.flags.as_str()), (Some(true), "clone inInitTree"));
        let server = mark_exec(image(1, CONTAINER), Some(&init));
        let worker = mark_exec(image(7, CONTAINER), Some(&child(&server, 7)));
        assert_eq!((worker.in_init_tree, worker.flags.as_str()), (Some(true), "execve inInitTree"));
    }

    #[test]
    fn process_entering_from_outside_is_in_no_tree() {
        for outside in [pid_namespace::INITIAL, 0xF000_0077] {
            let systemd = mark_exec(image(1, outside), None);
            let runtime = mark_exec(image(50, outside), Some(&child(&systemd, 50)));
            let shell = mark_exec(image(8, CONTAINER), Some(&child(&runtime, 8)));
            let command = mark_exec(image(9, CONTAINER), Some(&child(&shell, 9)));
            assert_eq!((shell.in_init_tree, command.in_init_tree), (Some(false), Some(false)));
        }
    }

    #[test]
    fn first_process_without_an_exec_has_a_tree_too() {
        let init = child(&mark_exec(image(900, pid_namespace::INITIAL), None), 1);
        let worker = mark_exec(image(2, CONTAINER), Some(&child(&init, 2)));
        assert_eq!(worker.in_init_tree, Some(true));
    }

    #[test]
    fn lost_fork_leaves_the_tree_unknown() {
        assert_eq!(mark_exec(image(9, CONTAINER), None).in_init_tree, None);
    }
}
