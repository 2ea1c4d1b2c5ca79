//! Event lines that readers of standard output can read: `tetra` ends at a line of 64 KiB, and log collectors have such limits
//! as well. What is cut is marked by Tetragon's flag words.

use trilobite_api::tetragon::{GetEventsResponse, Process, get_events_response::Event};

use crate::serve::tetragon::append_json_line;

/// Bytes of a line, with its end.
pub(super) const LINE_MAX: usize = 65_000;

/// Bytes that the texts of a process may have, one try after the other; then a pod loses its labels as well.
const TRIES: [usize; 3] = [8192, 1024, 128];

/// Appends an event as a line, shortened if it is too long.
pub(super) fn append_short_line(mut event: GetEventsResponse, lines: &mut Vec<u8>) {
    let start = lines.len();
    append_json_line(&event, lines);
    for most in TRIES {
        if lines.len() - start <= LINE_MAX {
            return;
        }
        lines.truncate(start);
        processes(&mut event).for_each(|process| shorten(process, most));
        append_json_line(&event, lines);
    }
}

fn processes(event: &mut GetEventsResponse) -> impl Iterator<Item = &mut Process> {
    let (process, parent) = match &mut event.event {
        Some(Event::ProcessExec(exec)) => (exec.process.as_mut(), exec.parent.as_mut()),
        Some(Event::ProcessExit(exit)) => (exit.process.as_mut(), exit.parent.as_mut()),
        Some(Event::ProcessTracepoint(point)) => (point.process.as_mut(), point.parent.as_mut()),
        _ => (None, None),
    };
    process.into_iter().chain(parent)
}

fn shorten(process: &mut Process, most: usize) {
    let texts =
        [(&mut process.arguments, "truncArgs"), (&mut process.binary, "errorFilename"), (&mut process.cwd, "errorCWD")];
    for (text, flag) in texts {
        if text.len() > most {
            let end = (0..=most).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            text.truncate(end);
            if !process.flags.split(' ').any(|word| word == flag) {
                process.flags.extend([" ", flag]);
            }
        }
    }
    if let Some(pod) = process.pod.as_mut().filter(|_| most == TRIES[TRIES.len() - 1]) {
        pod.pod_labels.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::tetragon::{samples, tetra_client_tests::printed_from_stdin};

    fn line(change: impl Fn(&mut Process)) -> String {
        let mut event = samples::encoder().message(&samples::exec());
        processes(&mut event).for_each(change);
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
}
