//! `/proc/PID/cmdline` as real programs leave it: the arguments of exec, or a title that the program has written over them, with
//! or without padding behind it.

use std::sync::Arc;

use trilobite_untrusted_text::{decode, push_argument};

use crate::identity::decode::{arguments, argv0, last_name};

/// What a command line says of a process.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct CommandLine {
    /// Joined and quoted; the title where that is all there is.
    pub(super) arguments: String,
    /// The first argument, where it is not the binary's name.
    pub(super) argv0: Option<Arc<str>>,
    /// The program has replaced its arguments by a title.
    pub(super) is_title: bool,
}

/// None where there are no bytes: the process has ended, or has given its arguments up. `binary` is the path of its file, empty
/// where unknown.
pub(super) fn parse(bytes: &[u8], binary: &str) -> Option<CommandLine> {
    if bytes.is_empty() {
        return None;
    }
    match title(bytes, binary) {
        Some(title) => {
            let mut text = String::new();
            push_argument(&decode(title), &mut text);
            Some(CommandLine { arguments: text, argv0: None, is_title: true })
        }
        None => Some(CommandLine { arguments: arguments(bytes, false), argv0: argv0(bytes, binary), is_title: false }),
    }
}

/// The title, if the bytes are one. A title is one string, and is followed by nothing or by the rest of the arguments' memory,
/// which the program has cleared. An empty last argument of a real command line looks the same: what tells them apart is that a
/// title has blanks, or is not the name of the binary.
fn title<'a>(bytes: &'a [u8], binary: &str) -> Option<&'a [u8]> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let (text, rest) = bytes.split_at(end);
    if text.is_empty() || rest.iter().any(|byte| *byte != 0) {
        return None;
    }
    let name = decode(text);
    let has_blank = text.iter().any(u8::is_ascii_whitespace);
    let is_binary = name == binary || (!has_blank && last_name(&name) == last_name(binary));
    // One NUL ends the only string, a second one may be an empty argument.
    let is_padded = rest.len() > 2;
    (!is_binary && (has_blank || is_padded)).then_some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(bytes: &[u8], binary: &str) -> (String, Option<String>, bool) {
        let CommandLine { arguments, argv0, is_title } = parse(bytes, binary).unwrap();
        (arguments, argv0.map(|name| name.to_string()), is_title)
    }

    #[test]
    fn arguments_of_exec_are_not_taken_for_a_title() {
        let plain = |arguments: &str| (arguments.to_owned(), None, false);
        assert_eq!(parsed(b"/bin/sleep\x005\0", "/usr/bin/sleep"), plain("5"));
        assert_eq!(parsed(b"sh\0-c\0\0", "/bin/sh"), plain("-c \"\""));
        assert_eq!(parsed(b"sh\0\0", "/bin/sh"), plain("\"\""));
        assert_eq!(parsed(b"/opt/My App/run\0", "/opt/My App/run"), plain(""));
        assert_eq!(parsed(b"sleep\x005\0", "/bin/busybox"), ("5".into(), Some("sleep".into()), false));
        assert_eq!(parsed(b"-bash\0", "/bin/bash"), (String::new(), Some("-bash".into()), false));
    }

    #[test]
    fn title_is_shown_and_marked() {
        let title = |text: &str| (text.to_owned(), None, true);
        let padded = [b"nginx: worker process".as_slice(), &[0; 30]].concat();
        assert_eq!(parsed(&padded, "/usr/sbin/nginx"), title("\"nginx: worker process\""));
        assert_eq!(parsed(b"(sd-pam)\0\0\0\0\0", "/usr/lib/systemd/systemd"), title("(sd-pam)"));
        // Chromium joins its arguments by blanks.
        let joined = b"/opt/google/chrome/chrome --type=renderer\0";
        assert_eq!(parsed(joined, "/opt/google/chrome/chrome"), title("\"/opt/google/chrome/chrome --type=renderer\""));
        assert_eq!(parsed(b"sshd: root@pts/0", "/usr/sbin/sshd"), title("\"sshd: root@pts/0\""));
        assert_eq!(parse(b"", "/bin/sh"), None);
    }

    proptest! {
        #[test]
        fn any_command_line_is_parsed(bytes in prop::collection::vec(prop::sample::select(b"ab \0\xff\"".to_vec()), 0..30)) {
            prop_assert_eq!(parse(&bytes, "/bin/a").is_none(), bytes.is_empty());
        }
    }
}
