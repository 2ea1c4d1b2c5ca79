//! Whether a process descends from the first process of its container, which what `kubectl exec` starts does not: Tetragon's
//! `in_init_tree`. One difference to Tetragon: a process that enters a pid namespace from outside is never in that namespace's
//! tree, even where the outside is itself a container, e.g. a node of kind.

use super::image::Process;
use crate::kernel::pid_namespace;

/// The flag word of a process in the tree.
const FLAG: &str = "inInitTree";
/// Index of the pid namespace in `Process::namespaces`.
const PID: usize = 3;

/// Marks an image by its origin: the image that it replaced, the process that forked it, or its parent where the task iterator
/// found it.
pub(super) fn mark(mut process: Process, origin: Option<&Process>) -> Process {
    let in_tree = is_in_tree(&process, origin);
    process.in_init_tree = in_tree;
    if in_tree == Some(true) && !process.flags.split(' ').any(|word| word == FLAG) {
        if !process.flags.is_empty() {
            process.flags.push(' ');
        }
        process.flags.push_str(FLAG);
    }
    process
}

fn is_in_tree(image: &Process, origin: Option<&Process>) -> Option<bool> {
    let (now, before) = (image.namespaces[PID], origin.map_or(0, |origin| origin.namespaces[PID]));
    if now == pid_namespace::INITIAL {
        Some(false)
    } else if image.ns_pid == 1 {
        Some(true)
    } else if now != 0 && before != 0 && now != before {
        Some(false)
    } else {
        origin.and_then(|origin| origin.in_init_tree)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTAINER: u32 = 0xF000_0001;

    fn image(ns_pid: u32, pid_namespace: u32) -> Process {
        let mut namespaces = [0; 10];
        namespaces[PID] = pid_namespace;
        Process { flags: "execve".into(), ns_pid, namespaces, ..Process::default() }
    }

    /// A process that `forker` has forked, in its pid namespace.
    fn child(forker: &Process, ns_pid: u32) -> Process {
        child_in(forker.namespaces[PID], forker, ns_pid)
    }

    fn child_in(pid_namespace: u32, forker: &Process, ns_pid: u32) -> Process {
        mark(Process { flags: "clone".into(), ..image(ns_pid, pid_namespace) }, Some(forker))
    }

    #[test]
    fn descendants_of_a_containers_first_process_are_in_its_tree() {
        let runtime = mark(image(900, pid_namespace::INITIAL), None);
        assert_eq!((runtime.in_init_tree, runtime.flags.as_str()), (Some(false), "execve"));
        let init = child_in(CONTAINER, &runtime, 1);
        assert_eq!((init.in_init_tree, init.flags.as_str()), (Some(true), "clone inInitTree"));
        let server = mark(image(1, CONTAINER), Some(&init));
        let worker = mark(image(7, CONTAINER), Some(&child(&server, 7)));
        assert_eq!((worker.in_init_tree, worker.flags.as_str()), (Some(true), "execve inInitTree"));
    }

    #[test]
    fn process_entering_from_outside_is_in_no_tree() {
        for outside in [pid_namespace::INITIAL, 0xF000_0077] {
            let systemd = mark(image(1, outside), None);
            let runtime = mark(image(50, outside), Some(&child(&systemd, 50)));
            let forked = child_in(CONTAINER, &runtime, 8);
            let shell = mark(image(8, CONTAINER), Some(&forked));
            let command = mark(image(9, CONTAINER), Some(&child(&shell, 9)));
            let seen = [&forked, &shell, &command].map(|process| process.in_init_tree);
            assert_eq!(seen, [Some(false); 3]);
        }
    }

    #[test]
    fn first_process_without_an_exec_has_a_tree_too() {
        let init = child_in(CONTAINER, &mark(image(900, pid_namespace::INITIAL), None), 1);
        let worker = mark(image(2, CONTAINER), Some(&child(&init, 2)));
        assert_eq!(worker.in_init_tree, Some(true));
    }

    #[test]
    fn lost_fork_leaves_the_tree_unknown() {
        assert_eq!(mark(image(9, CONTAINER), None).in_init_tree, None);
    }
}
