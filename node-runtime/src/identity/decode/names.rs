//! From the kernel's bytes to paths, arguments and flag words.

use std::sync::Arc;

use trilobite_node_ebpf::process_flag;
use trilobite_untrusted_text::{decode, prefix, push_argument};

/// Bytes of a path's text.
pub(super) const PATH_TEXT_MAX: usize = 4096;

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

pub(in crate::identity) fn flags(bits: u32) -> String {
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
    decode(bytes.split(|byte| *byte == 0).next().unwrap_or_default())
}

/// A directory from its names, leaf first, each with a NUL at the end. Without the root the result is a relative path.
pub(super) fn directory(bytes: &[u8], bits: u32) -> String {
    let path = path(bytes, bits & process_flag::ERROR_CWD != 0);
    if path.is_empty() && bits & process_flag::ROOT_CWD != 0 { "/".into() } else { path }
}

/// The path of the file that runs, from its names in the same format; none where the kernel could not read it.
pub(super) fn file_path(bytes: &[u8], bits: u32) -> Option<Arc<str>> {
    let path = path(bytes, bits & process_flag::CUT_FILE != 0);
    (!path.is_empty()).then(|| path.into())
}

fn path(bytes: &[u8], is_cut: bool) -> String {
    let mut path = String::with_capacity(bytes.len());
    // The kernel calls a file that it knows by no name "/".
    for name in bytes.split(|byte| *byte == 0).rev().filter(|name| !name.is_empty() && *name != b"/") {
        path.push('/');
        path.push_str(&decode(name));
    }
    if is_cut {
        path.drain(..path.len().min(1));
    }
    path
}

/// The first argument, where it is not the name of the binary: the applet of a busybox, `-bash` of a login shell, a disguise.
pub(in crate::identity) fn argv0(arguments: &[u8], binary: &str) -> Option<Arc<str>> {
    let argv0 = arguments.split_inclusive(|byte| *byte == 0).next().map(text)?;
    (last_name(&argv0) != last_name(binary)).then(|| argv0.into())
}

pub(in crate::identity) fn last_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
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
pub(in crate::identity) fn cut(text: &mut String, most: usize) -> bool {
    let fits = prefix(text, most).len();
    let longer = fits < text.len();
    if longer {
        text.truncate(fits);
        text.shrink_to_fit();
    }
    longer
}

/// Every argument but the first, joined by blanks. One that is empty or holds white space, a quote or something invisible is
/// quoted, with its quotes and backslashes escaped, so that no other arguments give the same text. A cut argument has no NUL at
/// its end.
pub(in crate::identity) fn arguments(bytes: &[u8], truncated: bool) -> String {
    let bytes = if truncated { bytes } else { bytes.strip_suffix(&[0]).unwrap_or(bytes) };
    let mut joined = String::with_capacity(bytes.len());
    for (number, argument) in bytes.split(|byte| *byte == 0).skip(1).enumerate() {
        if number > 0 {
            joined.push(' ');
        }
        push_argument(&decode(argument), &mut joined);
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
    fn quote_in_an_argument_does_not_pass_for_the_end_of_it() {
        let (one, two) = (arguments(b"sh\0a b\" \"c d\0", false), arguments(b"sh\0a b\0c d\0", false));
        assert_eq!((one.as_str(), two.as_str()), ("\"a b\\\" \\\"c d\"", "\"a b\" \"c d\""));
    }

    #[test]
    fn invalid_bytes_are_one_character_each() {
        assert_eq!(text(b"/bin/\xe2\x82\0"), "/bin/\u{fffd}\u{fffd}");
        assert_eq!(directory(b"\xe2\x82\0", 0), "/\u{fffd}\u{fffd}");
        assert_eq!(arguments(b"sh\0\xe2\x82\0", false), "\u{fffd}\u{fffd}");
    }

    #[test]
    fn arguments_that_are_not_utf8_are_cut() {
        let mut strange = arguments(&[b"sh\0".as_slice(), &[0xff; 4000]].concat(), false);
        assert_eq!(strange.len(), 12_000);
        assert!(cut(&mut strange, 4096));
        assert_eq!(strange, "\u{fffd}".repeat(1365));
        assert!(!cut(&mut strange, 4096));
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
