//! Whether a process descends from the first process of its container: what `kubectl exec` starts does not. As Tetragon's
//! `in_init_tree`, with one difference: a process that enters a pid namespace from outside is in no tree of that namespace,
//! also where the outside is a container itself, as the node of kind is.

use super::{Process, decode::Fork};
use crate::kernel::pid_namespace;

const WORD: &str = "inInitTree";
const PID: usize = 3;

/// Of a process that was just made, as a copy of its parent; none where nothing is known of that.
pub(super) fn forked(mut child: Process, fork: &Fork) -> Process {
    let mut in_tree = child.in_init_tree;
    if fork.ns_pid == 1 {
        in_tree = Some(true);
        // A namespace of its own, which the record does not name.
        child.namespaces[PID] = 0;
    }
    with(child, in_tree)
}

/// Of an image, by the one that it came from: the image before it, or for one that ran before, its parent's.
pub(super) fn of(image: &Process, from: Option<&Process>) -> Process {
    let (now, before) = (image.namespaces[PID], from.map_or(0, |from| from.namespaces[PID]));
    let in_tree = if now == pid_namespace::FIRST {
        Some(false)
    } else if image.ns_pid == 1 {
        Some(true)
    } else if now != 0 && before != 0 && now != before {
        Some(false)
    } else {
        from.and_then(|from| from.in_init_tree)
    };
    with(image.clone(), in_tree)
}

fn with(mut process: Process, in_tree: Option<bool>) -> Process {
    process.in_init_tree = in_tree;
    let has_word = process.flags.split(' ').any(|word| word == WORD);
    if in_tree == Some(true) && !has_word {
        let blank = if process.flags.is_empty() { "" } else { " " };
        process.flags = format!("{}{blank}{WORD}", process.flags);
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
        forked(copy, &Fork { key, parent: key, time: 0, cgroup: 0, ns_pid })
    }

    #[test]
    fn what_descends_from_the_first_process_of_a_container_is_in_its_tree() {
        let runtime = of(&image(900, pid_namespace::FIRST), None);
        assert_eq!((runtime.in_init_tree, runtime.flags.as_str()), (Some(false), "execve"));
        let init = child(&runtime, 1);
        assert_eq!((init.in_init_tree, init.flags.as_str()), (Some(true), "clone inInitTree"));
        let server = of(&image(1, CONTAINER), Some(&init));
        let worker = of(&image(7, CONTAINER), Some(&child(&server, 7)));
        assert_eq!((worker.in_init_tree, worker.flags.as_str()), (Some(true), "execve inInitTree"));
    }

    #[test]
    fn what_is_put_into_a_container_from_outside_is_not_even_where_the_outside_is_a_container() {
        for outside in [pid_namespace::FIRST, 0xF000_0077] {
            let systemd = of(&image(1, outside), None);
            let runtime = of(&image(50, outside), Some(&child(&systemd, 50)));
            let shell = of(&image(8, CONTAINER), Some(&child(&runtime, 8)));
            let command = of(&image(9, CONTAINER), Some(&child(&shell, 9)));
            assert_eq!((shell.in_init_tree, command.in_init_tree), (Some(false), Some(false)));
        }
    }

    #[test]
    fn a_first_process_that_never_execs_has_a_tree_too() {
        let init = child(&of(&image(900, pid_namespace::FIRST), None), 1);
        let worker = of(&image(2, CONTAINER), Some(&child(&init, 2)));
        assert_eq!(worker.in_init_tree, Some(true));
    }

    #[test]
    fn where_the_fork_was_lost_nothing_is_said() {
        assert_eq!(of(&image(9, CONTAINER), None).in_init_tree, None);
    }
}
