//! Names as the kernel keeps them to names as people read them.

use trilobite_node_ebpf::{limits::ARGS_MAX, process::flag};

/// Tetragon's words, in its order, for the bits that we have.
const WORDS: [(u32, &str); 9] = [
    (flag::EXECVE, "execve"),
    (flag::RAN_BEFORE, "procFS"),
    (flag::TRUNC_ARGS, "truncArgs"),
    (flag::ERROR_FILENAME, "errorFilename"),
    (flag::ERROR_ARGS, "errorArgs"),
    (flag::NO_CWD, "nocwd"),
    (flag::ROOT_CWD, "rootcwd"),
    (flag::ERROR_CWD, "errorCWD"),
    (flag::CLONE, "clone"),
];

pub(super) fn flags(bits: u32) -> String {
    WORDS.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, word)| *word).collect::<Vec<_>>().join(" ")
}

/// Up to the first NUL.
pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

/// Names from the leaf to the root, each ended by NUL. Where the root was not reached they are the end of a path, and no path.
pub(super) fn directory(bytes: &[u8], bits: u32) -> String {
    let mut path = String::new();
    for name in bytes.split(|byte| *byte == 0).rev().filter(|name| !name.is_empty()) {
        path.push('/');
        path.push_str(&String::from_utf8_lossy(name));
    }
    if bits & flag::ERROR_CWD != 0 {
        path.drain(..path.len().min(1));
    }
    if path.is_empty() && bits & flag::ROOT_CWD != 0 { "/".into() } else { path }
}

/// A relative binary lies below the working directory, where that is known from the root on.
pub(super) fn absolute(binary: &str, cwd: &str) -> String {
    if binary.is_empty() || binary.starts_with('/') || !cwd.starts_with('/') {
        return binary.into();
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

/// Cuts a text that has become longer than what it was made of: a byte that is no UTF-8 becomes three. True if it did.
pub fn cut(text: &mut String) -> bool {
    let most = text.len().min(ARGS_MAX as usize);
    let fits = (0..=most).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let longer = fits < text.len();
    if longer {
        text.truncate(fits);
        text.shrink_to_fit();
    }
    longer
}

/// Every argument but the first. One that was cut has no NUL at its end.
pub(super) fn arguments(bytes: &[u8], truncated: bool) -> String {
    let bytes = if truncated { bytes } else { bytes.strip_suffix(&[0]).unwrap_or(bytes) };
    let arguments = bytes.split(|byte| *byte == 0).skip(1);
    arguments.map(|argument| quoted(&String::from_utf8_lossy(argument))).collect::<Vec<_>>().join(" ")
}

/// In quotes where blanks would make two of one, or nothing of an empty one.
pub fn quoted(argument: &str) -> String {
    if argument.is_empty() || argument.contains(char::is_whitespace) {
        format!("\"{argument}\"")
    } else {
        argument.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_argument_is_seen() {
        assert_eq!(arguments(b"sh\0-c\0\0", false), "-c \"\"");
        assert_eq!(arguments(b"sh\0", false), "");
        assert_eq!(arguments(b"", false), "");
    }

    #[test]
    fn arguments_that_are_no_text_become_no_longer_than_a_record() {
        let mut strange = arguments(&[b"sh\0".as_slice(), &[0xff; 4000]].concat(), false);
        assert_eq!(strange.len(), 12_000);
        assert!(cut(&mut strange));
        assert_eq!(strange, "\u{fffd}".repeat(1365));
        assert!(!cut(&mut strange));
    }

    #[test]
    fn words_stand_in_tetragons_order() {
        assert_eq!(flags(flag::CLONE | flag::ROOT_CWD | flag::EXECVE), "execve rootcwd clone");
    }

    #[test]
    fn a_relative_binary_is_found_from_the_directory() {
        assert_eq!(absolute("../bin/x", "/srv/job"), "/srv/bin/x");
        assert_eq!(absolute("/bin/x", "/srv"), "/bin/x");
        assert_eq!(directory(b"", flag::ROOT_CWD), "/");
        assert_eq!(directory(b"b\0a\0", 0), "/a/b");
    }

    #[test]
    fn a_directory_whose_root_was_not_reached_is_no_absolute_path() {
        let cwd = directory(b"40\09\0", flag::ERROR_CWD);
        assert_eq!(cwd, "9/40");
        assert_eq!(absolute("./run", &cwd), "./run");
        assert_eq!(directory(b"", flag::ERROR_CWD), "");
    }
}
