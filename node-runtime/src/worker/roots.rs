//! Functions that nobody calls: a stack that reaches one is whole, however short it is and whatever lies behind it.

/// Where a program, a thread or a goroutine begins.
const ROOTS: [&str; 15] = [
    "_start",
    "_start_c",
    "main",
    "clone",
    "clone3",
    "__clone",
    "__clone3",
    "__clone_internal",
    "start_thread",
    "thread_start",
    "_rt0_amd64_linux",
    "_rt0_arm64_linux",
    "runtime.goexit",
    "runtime.mstart",
    "runtime.rt0_go",
];
/// glibc's and musl's way from `_start` to `main`, and Rust's into a thread.
const BEGIN: &str = "__libc_start_";
const END: &str = "::thread_start";

/// Whether a function of this name is one of them.
pub(super) fn is_root(name: &str) -> bool {
    let name = name.split('@').next().unwrap_or(name);
    let name = name.strip_suffix(".abi0").unwrap_or(name);
    ROOTS.contains(&name) || name.starts_with(BEGIN) || name.ends_with(END)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_known_with_its_version_and_its_calling_convention() {
        for name in ["runtime.goexit.abi0", "__libc_start_main@@GLIBC_2.34", "__libc_start_call_main", "main"] {
            assert!(is_root(name), "{name}");
        }
        assert!(is_root("std::sys::thread::unix::Thread::new::thread_start"));
        for name in ["main.main", "domain", "[libc.so.6]", "my_clone"] {
            assert!(!is_root(name), "{name}");
        }
    }
}
