//! Functions at which a program, a thread or a goroutine begins. A stack that reaches one is complete, however short it is and
//! whatever addresses lie behind it.

const ENTRY_FUNCTIONS: [&str; 15] = [
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
/// How glibc and musl get from `_start` to `main`.
const LIBC_START: &str = "__libc_start_";
/// How Rust enters a thread.
const RUST_THREAD_START: &str = "::thread_start";

/// Also with a symbol version (`@@GLIBC_2.34`) or Go's calling convention (`.abi0`) behind the name.
pub(crate) fn is_entry_function(name: &str) -> bool {
    let name = name.split('@').next().unwrap_or(name);
    let name = name.strip_suffix(".abi0").unwrap_or(name);
    ENTRY_FUNCTIONS.contains(&name) || name.starts_with(LIBC_START) || name.ends_with(RUST_THREAD_START)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_and_calling_convention_do_not_hide_an_entry_function() {
        for name in ["runtime.goexit.abi0", "__libc_start_main@@GLIBC_2.34", "__libc_start_call_main", "main"] {
            assert!(is_entry_function(name), "{name}");
        }
        assert!(is_entry_function("std::sys::thread::unix::Thread::new::thread_start"));
        for name in ["main.main", "domain", "[libc.so.6]", "my_clone"] {
            assert!(!is_entry_function(name), "{name}");
        }
    }
}
