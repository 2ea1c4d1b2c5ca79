//! Event lines that readers of standard output can read: `tetra` ends at a line of 64 KiB, and log collectors have such limits
//! as well. What is cut is marked by Tetragon's flag words.

use trilobite_api::tetragon::{GetEventsResponse, KprobeArgument, KprobeTruncatedBytes, Process, kprobe_argument::Arg};
use trilobite_untrusted_text::prefix;

use crate::{
    identity::TRUNC_ARGS,
    serve::tetragon::{append_json_line, hook_arguments, processes},
};

/// Bytes of a line, with its end.
pub(super) const LINE_MAX: usize = 65_000;

/// Bytes that the texts of a process may have, one try after the other; then a pod loses its labels as well.
const TRIES: [usize; 4] = [24 << 10, 8192, 1024, 128];

/// Appends an event as a line, shortened if it is too long.
pub(super) fn append_short_line(mut event: GetEventsResponse, lines: &mut Vec<u8>) {
    let start = lines.len();
    append_json_line(&event, lines);
    for most in TRIES {
        if lines.len() - start <= LINE_MAX {
            return;
        }
        lines.truncate(start);
        if let Some(event) = &mut event.event {
            hook_arguments(event).for_each(|argument| shorten_argument(argument, most));
            processes(event).for_each(|process| shorten(process, most));
        }
        append_json_line(&event, lines);
    }
}

fn shorten(process: &mut Process, most: usize) {
    let texts =
        [(&mut process.arguments, TRUNC_ARGS), (&mut process.binary, "errorFilename"), (&mut process.cwd, "errorCWD")];
    for (text, flag) in texts {
        if text.len() > most {
            truncate(text, most);
            if !process.flags.split(' ').any(|word| word == flag) {
                process.flags.extend([" ", flag]);
            }
        }
    }
    if let Some(pod) = process.pod.as_mut().filter(|_| most == TRIES[TRIES.len() - 1]) {
        pod.pod_labels.clear();
    }
}

/// A cut text ends with an ellipsis, cut bytes have their size.
fn shorten_argument(argument: &mut KprobeArgument, most: usize) {
    match &mut argument.arg {
        Some(Arg::StringArg(text)) if text.len() > most => {
            truncate(text, most);
            text.push('…');
        }
        Some(Arg::BytesArg(bytes)) if bytes.len() > most => {
            let orig_size = bytes.len() as u64;
            bytes.truncate(most);
            let bytes_arg = std::mem::take(bytes);
            argument.arg = Some(Arg::TruncatedBytesArg(KprobeTruncatedBytes { bytes_arg, orig_size }));
        }
        Some(Arg::TruncatedBytesArg(truncated)) => truncated.bytes_arg.truncate(most),
        _ => {}
    }
}

fn truncate(text: &mut String, most: usize) {
    text.truncate(prefix(text, most).len());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        layers::security::ArgValue,
        serve::tetragon::{samples, tetra_client_tests::printed_from_stdin},
    };

    fn line(change: impl Fn(&mut Process)) -> String {
        let mut event = samples::encoder().message(&samples::exec());
        processes(event.event.as_mut().unwrap()).for_each(change);
        let mut lines = b"before\n".to_vec();
        append_short_line(event, &mut lines);
        String::from_utf8(lines).unwrap().strip_prefix("before\n").unwrap().to_owned()
    }

    #[test]
    fn line_of_usual_length_is_not_changed() {
        let long = "é".repeat(10_000);
        let text = line(|process| process.arguments.clone_from(&long));
        assert!(text.contains(&long) && !text.contains("truncArgs"));
    }

    #[test]
    fn line_that_readers_cannot_read_is_cut_and_marked() {
        // Each of these bytes is six of JSON.
        let hostile = "\u{1}".repeat(50_000);
        for change in [
            (|process: &mut Process, text: String| process.arguments = text) as fn(&mut Process, String),
            |process: &mut Process, text: String| process.cwd = text,
            |process: &mut Process, text: String| process.binary = text,
            |process: &mut Process, text: String| {
                let pod = process.pod.as_mut().unwrap();
                pod.pod_labels = (0..500).map(|number| (number.to_string(), text[..200].to_owned())).collect();
            },
        ] {
            let text = line(|process| change(process, hostile.clone()));
            assert!(text.len() <= LINE_MAX && text.ends_with("}\n"), "{}", text.len());
            let Some(printed) = printed_from_stdin(&text, &["-o", "json"]) else { continue };
            assert_eq!(printed.lines().count(), 1, "tetra reads the line");
        }
        assert!(line(|process| process.arguments.clone_from(&hostile)).contains("clone truncArgs"));
    }

    #[test]
    fn long_arguments_of_a_hook_are_cut_and_marked() {
        let mut event = samples::connect();
        let crate::layers::security::SecurityEventKind::Hook(hook) = &mut event.kind else { panic!() };
        let mut push = |value| hook.args.push(crate::layers::security::Arg { value, label: None });
        push(ArgValue::String("é".repeat(40_000)));
        push(ArgValue::Bytes { bytes: vec![7; 327_360], size: 327_360 });
        let mut line = Vec::new();
        append_short_line(samples::encoder().message(&event), &mut line);
        let text = String::from_utf8(line).unwrap();
        assert!(
            text.len() <= LINE_MAX && text.contains("é…\"") && text.contains(r#""orig_size":"327360""#),
            "{}",
            text.len()
        );
    }
}
