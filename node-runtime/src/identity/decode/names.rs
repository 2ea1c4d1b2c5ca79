//! From the kernel's bytes to paths, arguments and flag words.

use trilobite_node_ebpf::{ARGS_MAX, process_flag};

/// Tetragon's flag words, in its order.
const WORDS: [(u32, &str); 9] = [
    (process_flag::EXECVE, "execve"),
    (process_flag::RAN_BEFORE, "procFS"),
    (process_flag::TRUNC_ARGS, "truncArgs"),
    (process_flag::ERROR_FILENAME, "errorFilename"),
    (process_flag::ERROR_ARGS, "errorArgs"),
    (process_flag::NO_CWD, "nocwd"),
    (process_flag::ROOT_CWD, "rootcwd"),
    (process_flag::ERROR_CWD, "errorCWD"),
    (process_flag::CLONE, "clone"),
];

pub(super) fn flags(bits: u32) -> String {
    let mut words = String::with_capacity(16);
    for (_, word) in WORDS.iter().filter(|(bit, _)| bits & bit != 0) {
        if !words.is_empty() {
            words.push(' ');
        }
        words.push_str(word);
    }
    words
}

/// The text before the first NUL.
pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

/// A directory from its names, leaf first, each with a NUL at the end. Without the root the result is a relative path.
pub(super) fn directory(bytes: &[u8], bits: u32) -> String {
    let mut path = String::with_capacity(bytes.len());
    for name in bytes.split(|byte| *byte == 0).rev().filter(|name| !name.is_empty()) {
        path.push('/');
        path.push_str(&String::from_utf8_lossy(name));
    }
    if bits & process_flag::ERROR_CWD != 0 {
        path.drain(..path.len().min(1));
    }
    if path.is_empty() && bits & process_flag::ROOT_CWD != 0 { "/".into() } else { path }
}

/// The absolute path of a binary, where the working directory is known from the root on.
pub(super) fn absolute(binary: String, cwd: &str) -> String {
    if binary.is_empty() || binary.starts_with('/') || !cwd.starts_with('/') {
        return binary;
    }
    let mut names: Vec<&str> = cwd.split('/').filter(|name| !name.is_empty()).collect();
    for name in binary.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    format!("/{}", names.join("/"))
}

/// Cuts a text that has become too long, since a byte that is no UTF-8 becomes three. True if it was cut.
pub(in crate::identity) fn cut(text: &mut String) -> bool {
    let most = text.len().min(ARGS_MAX as usize);
    let fits = (0..=most).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let longer = fits < text.len();
    if longer {
        text.truncate(fits);
        text.shrink_to_fit();
    }
    longer
}

/// Every argument but the first, joined by blanks; one that is empty or holds white space is quoted. A cut argument has no NUL
/// at its end.
pub(in crate::identity) fn arguments(bytes: &[u8], truncated: bool) -> String {
    let bytes = if truncated { bytes } else { bytes.strip_suffix(&[0]).unwrap_or(bytes) };
    let mut joined = String::with_capacity(bytes.len());
    for (number, argument) in bytes.split(|byte| *byte == 0).skip(1).enumerate() {
        let argument = String::from_utf8_lossy(argument);
        if number > 0 {
            joined.push(' ');
        }
        let quote = if argument.is_empty() || argument.contains(char::is_whitespace) { "\"" } else { "" };
        joined.extend([quote, &argument, quote]);
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_argument_is_quoted() {
        assert_eq!(arguments(b"sh\0-c\0\0", false), "-c \"\"");
        assert_eq!(arguments(b"sh\0", false), "");
        assert_eq!(arguments(b"", false), "");
    }

    #[test]
    fn arguments_that_are_not_utf8_are_cut() {
        let mut strange = arguments(&[b"sh\0".as_slice(), &[0xff; 4000]].concat(), false);
        assert_eq!(strange.len(), 12_000);
        assert!(cut(&mut strange));
        assert_eq!(strange, "\u{fffd}".repeat(1365));
        assert!(!cut(&mut strange));
    }

    #[test]
    fn flag_words_are_in_tetragons_order() {
        assert_eq!(flags(process_flag::CLONE | process_flag::ROOT_CWD | process_flag::EXECVE), "execve rootcwd clone");
    }

    #[test]
    fn relative_binary_is_resolved_from_the_directory() {
        assert_eq!(absolute("../bin/x".into(), "/srv/job"), "/srv/bin/x");
        assert_eq!(absolute("/bin/x".into(), "/srv"), "/bin/x");
        assert_eq!(directory(b"", process_flag::ROOT_CWD), "/");
        assert_eq!(directory(b"b\0a\0", 0), "/a/b");
    }

    #[test]
    fn directory_without_a_root_is_relative() {
        let cwd = directory(b"40\09\0", process_flag::ERROR_CWD);
        assert_eq!(cwd, "9/40");
        assert_eq!(absolute("./run".into(), &cwd), "./run");
        assert_eq!(directory(b"", process_flag::ERROR_CWD), "");
    }
}
