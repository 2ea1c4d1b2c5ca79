//! What a frame of a folded stack is, by its text: `vfs_read_[k]` is the kernel's, `libc.so.6`memcpy` a library's, `fetch_[j]` was
//! compiled at run time, `[libfoo.so]` has no name, and `main` is the program's own.

/// Frames at the root of each stack that are no code: `pod/container`, process and thread.
pub const ROOT_FRAMES: usize = 3;

/// Ends the names of the kernel's functions. Readers of folded stacks know it.
const KERNEL: &str = "_[k]";
/// Ends the names of functions that were compiled at run time.
const JIT: &str = "_[j]";
/// Between the name of a library and that of its function.
const IN_FILE: char = '`';

/// Stands for the callers that a stack does not have, because it is too deep or the walk ended early.
pub const TRUNCATED: &str = "[truncated]";
/// Stands for an address outside all known code.
pub const UNKNOWN: &str = "[unknown]";
/// The line that sums all stacks without a line of their own.
pub const REST: &str = "[the rest]";

/// Where the code of a frame comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin<'a> {
    /// The kernel or one of its modules.
    Kernel,
    /// Compiled at run time.
    Jit,
    /// A shared library or the vDSO, by its file name.
    Library(&'a str),
    /// The executable.
    Program,
    /// No code: frames that are missing.
    Missing,
}

/// The text of a kernel function.
pub fn kernel(function: &str) -> String {
    format!("{function}{KERNEL}")
}

/// The text of a function that was compiled at run time.
pub fn jit(function: &str) -> String {
    format!("{function}{JIT}")
}

/// The text of a function in a file: that of a library names the library.
pub fn in_file(file: &str, function: &str) -> String {
    // A name that holds the separator cannot pretend to be of another file.
    let function = function.replace(IN_FILE, "'");
    match library(file) {
        Some(library) => format!("{library}{IN_FILE}{function}"),
        None => function,
    }
}

/// The text of code without a name in a file.
pub fn without_name(file: &str) -> String {
    format!("[{}]", file.trim_matches(['[', ']']))
}

/// Where the code of a frame comes from, and the name of its function.
pub fn parse(frame: &str) -> (Origin<'_>, &str) {
    if let Some(function) = frame.strip_suffix(KERNEL) {
        return (Origin::Kernel, function);
    }
    if let Some(function) = frame.strip_suffix(JIT) {
        return (Origin::Jit, function);
    }
    if let Some((file, function)) = frame.split_once(IN_FILE) {
        return (Origin::Library(file), function);
    }
    let origin = match frame.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(_) if [TRUNCATED, UNKNOWN, REST].contains(&frame) => Origin::Missing,
        Some("anon") => Origin::Jit,
        Some(file) if library(file).is_some() => Origin::Library(file),
        Some(_) | None => Origin::Program,
    };
    (origin, frame)
}

/// The name of a library without brackets; none for an executable.
fn library(file: &str) -> Option<&str> {
    let file = file.trim_matches(['[', ']']);
    (file == "vdso" || file.ends_with(".so") || file.contains(".so.")).then_some(file)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn origin_is_read_from_the_text() {
        for (text, origin, function) in [
            ("vfs_read_[k]", Origin::Kernel, "vfs_read"),
            ("LazyCompile:~fetch_[j]", Origin::Jit, "LazyCompile:~fetch"),
            ("libc.so.6`memcpy", Origin::Library("libc.so.6"), "memcpy"),
            ("vdso`__vdso_clock_gettime", Origin::Library("vdso"), "__vdso_clock_gettime"),
            ("[libfoo.so]", Origin::Library("libfoo.so"), "[libfoo.so]"),
            ("[anon]", Origin::Jit, "[anon]"),
            ("[truncated]", Origin::Missing, "[truncated]"),
            ("[cart]", Origin::Program, "[cart]"),
            ("main", Origin::Program, "main"),
        ] {
            assert_eq!(parse(text), (origin, function), "{text}");
        }
    }

    #[test]
    fn function_cannot_pretend_to_be_of_a_library() {
        assert_eq!(parse(&in_file("cart", "libc.so.6`memcpy")), (Origin::Program, "libc.so.6'memcpy"));
    }

    proptest! {
        #[test]
        fn any_text_has_an_origin(text in "\\PC{0,40}") {
            let (_, function) = parse(&text);
            prop_assert!(text.contains(function));
        }
    }
}
