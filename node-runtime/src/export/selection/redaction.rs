//! Redaction: what the groups of a pattern match is replaced in arguments and environments of processes, and in the text
//! arguments of hooks, which Tetragon leaves as they are.

use regex::bytes::{Captures, Regex};
use trilobite_api::tetragon::{KprobeArgument, Process, get_events_response::Event, kprobe_argument::Arg};
use trilobite_crds::stack::RedactionFilter;

use crate::serve::tetragon::{hook_arguments, processes, regular_expression};

const REPLACEMENT: &[u8] = b"*****";

#[derive(Debug, Default)]
pub(super) struct Redaction(Vec<Filter>);

#[derive(Debug)]
struct Filter {
    patterns: Vec<Regex>,
    /// Empty: all binaries.
    binaries: Vec<Regex>,
}

impl Redaction {
    pub(super) fn new(filters: &[RedactionFilter]) -> Result<Self, String> {
        let compile = |list: &[String], path: &str| {
            let each = list
                .iter()
                .enumerate()
                .map(|(at, pattern)| regular_expression(pattern).map_err(|reason| format!("{path}[{at}]: {reason}")));
            each.collect::<Result<Vec<Regex>, String>>()
        };
        let filter = |(at, from): (usize, &RedactionFilter)| {
            let path = format!("redaction_filters[{at}]");
            Ok(Filter {
                patterns: compile(&from.redact, &format!("{path}.redact"))?,
                binaries: compile(&from.binary_regex, &format!("{path}.binary_regex"))?,
            })
        };
        filters.iter().enumerate().map(filter).collect::<Result<Vec<_>, String>>().map(Self)
    }

    pub(super) fn apply(&self, event: &mut Event) {
        if self.0.is_empty() {
            return;
        }
        let mut binary = None;
        for process in processes(event) {
            // The event's own process comes first.
            binary.get_or_insert_with(|| process.binary.clone());
            self.redact_process(process);
        }
        let binary = binary.unwrap_or_default();
        for argument in hook_arguments(event) {
            self.redact_argument(&binary, argument);
        }
    }

    fn redact_process(&self, process: &mut Process) {
        let Process { binary, arguments, argv0, environment_variables, .. } = process;
        let variables = environment_variables.iter_mut().map(|variable| &mut variable.value);
        for text in [arguments].into_iter().chain(argv0).chain(variables) {
            self.redact_text(binary, text);
        }
    }

    fn redact_argument(&self, binary: &str, argument: &mut KprobeArgument) {
        match &mut argument.arg {
            Some(Arg::StringArg(text)) => self.redact_text(binary, text),
            Some(Arg::BytesArg(bytes)) => self.redact(binary, bytes),
            Some(Arg::TruncatedBytesArg(truncated)) => self.redact(binary, &mut truncated.bytes_arg),
            Some(Arg::PathArg(path)) => self.redact_text(binary, &mut path.path),
            Some(Arg::FileArg(file)) => self.redact_text(binary, &mut file.path),
            Some(Arg::LinuxBinprmArg(program)) => self.redact_text(binary, &mut program.path),
            Some(Arg::SockaddrunArg(address)) => self.redact_text(binary, &mut address.path),
            _ => {}
        }
    }

    fn redact_text(&self, binary: &str, text: &mut String) {
        let mut bytes = std::mem::take(text).into_bytes();
        self.redact(binary, &mut bytes);
        *text = String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    }

    fn redact(&self, binary: &str, bytes: &mut Vec<u8>) {
        let is_about = |filter: &&Filter| {
            filter.binaries.is_empty() || filter.binaries.iter().any(|pattern| pattern.is_match(binary.as_bytes()))
        };
        for pattern in self.0.iter().filter(is_about).flat_map(|filter| &filter.patterns) {
            if pattern.is_match(bytes) {
                *bytes = pattern.replace_all(bytes, |found: &Captures<'_>| replace_groups(found)).into_owned();
            }
        }
    }
}

/// The match with each outermost group replaced. A pattern without groups replaces nothing, as with Tetragon.
fn replace_groups(found: &Captures<'_>) -> Vec<u8> {
    let Some(whole) = found.get(0) else { return Vec::new() };
    let (mut replaced, mut copied) = (Vec::new(), whole.start());
    for group in found.iter().skip(1).flatten() {
        // A group inside of one that is replaced already.
        if group.start() < copied {
            continue;
        }
        replaced.extend_from_slice(&whole.as_bytes()[copied - whole.start()..group.start() - whole.start()]);
        replaced.extend_from_slice(REPLACEMENT);
        copied = group.end();
    }
    replaced.extend_from_slice(&whole.as_bytes()[copied - whole.start()..]);
    replaced
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        layers::security::ArgValue,
        serve::tetragon::samples::{self, encoder},
    };

    fn redacted(text: &str, patterns: &[&str]) -> String {
        let redact = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
        let redaction = Redaction::new(&[RedactionFilter { redact, binary_regex: vec![] }]).unwrap();
        let mut text = text.to_owned();
        redaction.redact_text("/bin/x", &mut text);
        text
    }

    #[test]
    fn groups_are_replaced_and_the_rest_stays() {
        let password = r"(?:--password(?:\s+|=))(\S*)";
        assert_eq!(
            redacted("-v --password hunter2 --password=x y", &[password]),
            "-v --password ***** --password=***** y"
        );
        assert_eq!(redacted("a1b22c", &[r"a(\d)b(\d+)c"]), "a*****b*****c");
        assert_eq!(redacted("secret", &["((sec)ret)"]), "*****");
        assert_eq!(redacted("secret", &["secret"]), "secret");
        assert_eq!(redacted("héllo wörld", &["h(é)l", "(ö)"]), "h*****llo w*****rld");
    }

    #[test]
    fn arguments_of_hooks_are_redacted_by_the_binary_of_their_process() {
        let mut event = samples::connect();
        let crate::layers::security::SecurityEventKind::Hook(hook) = &mut event.kind else { panic!() };
        hook.args[0].value = ArgValue::String("token=abc".into());
        hook.data = hook.args.clone();
        hook.data[0].value = ArgValue::Bytes { bytes: b"token=abc".to_vec(), size: 9 };
        for (binary, expected) in [("/usr/bin/curl", "token=*****"), ("/bin/other", "token=abc")] {
            let filter =
                RedactionFilter { redact: vec!["token=(.*)".into()], binary_regex: vec![format!("^{binary}$")] };
            let mut message = encoder().message(&event).event.unwrap();
            Redaction::new(&[filter]).unwrap().apply(&mut message);
            let Event::ProcessKprobe(kprobe) = message else { panic!() };
            assert_eq!(kprobe.args[0].arg, Some(Arg::StringArg(expected.into())));
            assert_eq!(kprobe.data[0].arg, Some(Arg::BytesArg(expected.into())));
        }
    }

    #[test]
    fn arguments_of_parents_are_redacted_too() {
        let filter = RedactionFilter { redact: vec!["(curl)".into()], binary_regex: vec![] };
        let mut message = encoder().message(&samples::exec()).event.unwrap();
        Redaction::new(&[filter]).unwrap().apply(&mut message);
        let Event::ProcessExec(exec) = message else { panic!() };
        assert!(exec.parent.unwrap().arguments.contains("***** -s"));
    }
}
