//! Functions at which a program, a thread or a goroutine begins. A stack that reaches one is complete, however short it is, and
//! whatever addresses lie behind it are chance: the walk went on with numbers that are no frame.

const ENTRY_FUNCTIONS: [&str; 10] = [
    "_start",
    "_start_c",
    "main",
    "start_thread",
    "thread_start",
    "_rt0_amd64_linux",
    "_rt0_arm64_linux",
    "runtime.goexit",
    "runtime.mstart",
    "runtime.rt0_go",
];
/// A thread begins in these too, but a thread that makes another calls them.
const CLONE_FUNCTIONS: [&str; 5] = ["clone", "clone3", "__clone", "__clone3", "__clone_internal"];
/// How glibc and musl get from `_start` to `main`.
const LIBC_START: &str = "__libc_start_";
/// How Rust enters a thread.
const RUST_THREAD_START: &str = "::thread_start";

/// Index of the outermost entry function among the frames of a program's stack, outermost first.
pub(crate) fn outermost_entry<'a>(frames: impl Iterator<Item = &'a str>) -> Option<usize> {
    let mut frames = frames.enumerate().map(|(at, frame)| (at, function_of(frame))).peekable();
    while let Some((at, function)) = frames.next() {
        let begins = if CLONE_FUNCTIONS.contains(&function) {
            // The caller of another function: the thread that runs, and not one that is being made.
            frames.peek().is_some_and(|(_, next)| !CLONE_FUNCTIONS.contains(next))
        } else {
            is_entry_function(function)
        };
        if begins {
            return Some(at);
        }
    }
    None
}

fn is_entry_function(function: &str) -> bool {
    ENTRY_FUNCTIONS.contains(&function) || function.starts_with(LIBC_START) || function.ends_with(RUST_THREAD_START)
}

/// The name without its library, a symbol version (`@@GLIBC_2.34`) or Go's calling convention (`.abi0`).
fn function_of(frame: &str) -> &str {
    let name = frame.split_once('`').map_or(frame, |(_, name)| name);
    let name = name.split('@').next().unwrap_or(name);
    name.strip_suffix(".abi0").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(frames: &[&str]) -> Option<usize> {
        outermost_entry(frames.iter().copied())
    }

    #[test]
    fn version_and_calling_convention_do_not_hide_an_entry_function() {
        for name in ["runtime.goexit.abi0", "__libc_start_main@@GLIBC_2.34", "libc.so.6`__libc_start_call_main", "main"]
        {
            assert_eq!(entry(&[name]), Some(0), "{name}");
        }
        assert_eq!(entry(&["std::sys::thread::unix::Thread::new::thread_start"]), Some(0));
        for name in ["main.main", "domain", "[libc.so.6]", "my_clone"] {
            assert_eq!(entry(&[name]), None, "{name}");
        }
    }

    #[test]
    fn outermost_of_several_entry_functions_counts() {
        assert_eq!(entry(&["register_tm_clones", "__libc_start_call_main", "main", "work"]), Some(1));
        assert_eq!(entry(&["_start", "libc.so.6`__libc_start_main", "main"]), Some(0));
    }

    #[test]
    fn thread_that_makes_another_does_not_begin_there() {
        assert_eq!(entry(&["pool", "pthread_create", "__clone_internal", "clone3"]), None);
        assert_eq!(entry(&["libc.so.6`clone3", "worker"]), Some(0));
    }
}
