//! Acts: a table of commands that one agent must see, each a test of its own. `acts/<name>.yaml` becomes one script for each of its
//! runs: it starts the agent once with its resources, runs every command in a container, and only then looks for their events.

use std::{collections::BTreeMap, path::Path};

use serde::Deserialize;

use crate::scripts::{Script, ScriptError, Test, files, read, test_name};

/// Seconds of the guest's time to start the agent, and for each act: more than either ever takes.
const SECONDS: (usize, usize) = (240, 10);

/// One file of acts.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Acts {
    /// Files of `smoke/` that the agent runs.
    resources: Vec<String>,
    /// A setting of `kernel.perf_event_paranoid`, where it must not be Debian's 3.
    perf_event_paranoid: Option<u8>,
    /// Ways to attach that the agent avoids, by the suffix of the run's tests; without any there is one run of all ways.
    #[serde(default)]
    avoiding: BTreeMap<String, String>,
    acts: Vec<Act>,
}

/// One command and its events.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Act {
    name: String,
    /// The line of the table in docs/which-kernels.md that it is part of.
    shows: Option<String>,
    /// The command, in the container `web`. `$ACT` is `act-<name>`, to mark what the event must contain.
    run: String,
    /// Parts of one line of JSON: all of them must be in it.
    #[serde(default)]
    event: Vec<String>,
    /// So many lines must have them, where not one or more.
    times: Option<usize>,
    /// No line may have all of one of these.
    #[serde(default)]
    never: Vec<Vec<String>>,
    /// Parts of what the command writes.
    #[serde(default)]
    output: Vec<String>,
    /// Where it must not end with `ok`: kernels -> verdict and text, e.g. `5.10 6.1: refused needs 6.6`.
    #[serde(default)]
    on: BTreeMap<String, String>,
    /// The reason that the agent logs where the act is refused.
    reason: Option<String>,
}

/// All files of acts of a directory, in the order of their numbers.
pub(crate) fn read_all(directory: &Path) -> Result<Vec<Script>, ScriptError> {
    let mut scripts = Vec::new();
    for path in files(directory, "yaml")? {
        scripts.extend(read_file(&path)?);
    }
    Ok(scripts)
}

/// The scripts of one file.
pub(crate) fn read_file(path: &Path) -> Result<Vec<Script>, ScriptError> {
    parse(path, &read(path)?)
}

/// One script for each run.
fn parse(path: &Path, text: &str) -> Result<Vec<Script>, ScriptError> {
    let acts: Acts = serde_yaml::from_str(text).map_err(|error| ScriptError::Acts { path: path.to_owned(), error })?;
    let all_ways = (String::new(), String::new());
    let avoiding = acts.avoiding.iter().map(|(suffix, ways)| (format!("-{suffix}"), ways.clone()));
    [all_ways].into_iter().chain(avoiding).map(|(suffix, ways)| script_of_run(path, &acts, &suffix, &ways)).collect()
}

fn script_of_run(path: &Path, acts: &Acts, suffix: &str, avoided: &str) -> Result<Script, ScriptError> {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let file = format!("{stem}{suffix}.sh");
    let mut tests = vec![Test::parse(path, test_name(&file), &["# Expect: ok"])?];
    for act in &acts.acts {
        let mut lines = vec!["# Expect: ok".to_owned()];
        lines.extend(act.on.iter().map(|(kernels, verdict)| format!("# Expect on {kernels}: {verdict}")));
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let test = Test::parse(path, &format!("{}{suffix}", act.name), &lines)?;
        tests.push(test.shown_as(act.shows.as_deref()));
    }
    Ok(Script { file, text: script(acts, suffix, avoided), tests })
}

fn script(acts: &Acts, suffix: &str, avoided: &str) -> String {
    let limit = SECONDS.0 + SECONDS.1 * acts.acts.len();
    let mut text = format!("# Limit: {limit}\n. /init.d/test.sh\n. /init.d/acts.sh\n");
    if let Some(level) = acts.perf_event_paranoid {
        text += &format!("echo {level} >/proc/sys/kernel/perf_event_paranoid\n");
    }
    if !avoided.is_empty() {
        text += &format!("export TRILOBITE_AVOID_ATTACHING_BY={}\n", quoted(avoided));
    }
    let resources: Vec<String> = acts.resources.iter().map(|file| quoted(&format!("/smoke/{file}"))).collect();
    text += &format!("run_agent {}\nwait_until_active {}\n", resources.join(" "), SECONDS.0);
    for act in &acts.acts {
        text += &format!("perform {} {}\n", quoted(&act.name), quoted(&act.run));
    }
    text += "perform_last\n";
    for act in &acts.acts {
        text += &judgement(act, suffix);
    }
    text + &format!("ok \"{} acts$OPTED_IN\"\n", acts.acts.len())
}

/// The lines that compare one act with what it must cause.
fn judgement(act: &Act, suffix: &str) -> String {
    let words = |words: &[String]| words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
    let reason = quoted(act.reason.as_deref().unwrap_or_default());
    let mut text = format!("judge {} {} {reason}\n", quoted(&act.name), quoted(&format!("{}{suffix}", act.name)));
    if !act.event.is_empty() {
        text += &format!("expect_event {}\n", words(&act.event));
    }
    if let Some(times) = act.times {
        text += &format!("expect_times {times} {}\n", words(&act.event));
    }
    text.extend(act.never.iter().map(|never| format!("expect_no_event {}\n", words(never))));
    text.extend(act.output.iter().map(|part| format!("expect_output {}\n", quoted(part))));
    text + "say_judgement\n"
}

/// A word of shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{kernels::KERNELS, protocol::Verdict};

    const TABLE: &str = "resources: [security.yaml]\nacts:\n  - name: open\n    run: cat /it's\n    event: [process_exec, $ACT]\n    reason: KernelTooOld\n    on: {5.10 6.1: refused KernelTooOld}\n";

    #[test]
    fn table_becomes_one_script_with_a_test_for_each_act() {
        let [script] = &parse(Path::new("60-files.yaml"), TABLE).unwrap()[..] else { panic!("one run") };
        assert_eq!(script.file, "60-files.sh");
        let names: Vec<&str> = script.tests.iter().map(|test| test.name.as_str()).collect();
        assert_eq!(names, ["files", "open"]);
        let [old, new] = [KERNELS[0], KERNELS[3]].map(|kernel| script.tests[1].expected_on(kernel).verdict);
        assert_eq!((old, new), (Verdict::Refused, Verdict::Ok));
        assert!(script.text.contains(r"perform 'open' 'cat /it'\''s'"), "{}", script.text);
        let judged = "judge 'open' 'open' 'KernelTooOld'\nexpect_event 'process_exec' '$ACT'\nsay_judgement\n";
        assert!(script.text.contains(judged), "{}", script.text);
    }

    #[test]
    fn each_run_avoids_its_ways_and_has_tests_of_its_own() {
        let table = "resources: []\navoiding: {by-probes: 'fentry,tp_btf'}\nacts:\n  - name: open\n    run: cat\n    never: [[a, b]]\n    output: [status 137]\n    times: 2\n    event: [x]\n";
        let scripts = parse(Path::new("70-policies.yaml"), table).unwrap();
        let files: Vec<&str> = scripts.iter().map(|script| script.file.as_str()).collect();
        assert_eq!(files, ["70-policies.sh", "70-policies-by-probes.sh"]);
        assert_eq!(scripts[1].tests[1].name, "open-by-probes");
        assert!(scripts[1].text.contains("export TRILOBITE_AVOID_ATTACHING_BY='fentry,tp_btf'\n"));
        let judged = "judge 'open' 'open-by-probes' ''\nexpect_event 'x'\nexpect_times 2 'x'\nexpect_no_event 'a' 'b'\nexpect_output 'status 137'\nsay_judgement\n";
        assert!(scripts[1].text.contains(judged), "{}", scripts[1].text);
    }

    #[test]
    fn unknown_field_of_an_act_is_refused() {
        assert!(parse(Path::new("a.yaml"), &TABLE.replace("event:", "events:")).is_err());
    }

    #[test]
    fn every_test_of_the_work_tree_has_a_name_of_its_own() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut scripts = read_all(&root.join("acts")).unwrap();
        assert!(!scripts.is_empty());
        for kind in ["harness", "smoke"] {
            scripts.extend(Script::read_all(&root.join(kind)).unwrap());
        }
        let mut seen = BTreeSet::new();
        for test in scripts.iter().flat_map(|script| &script.tests) {
            assert!(seen.insert(test.name.as_str()), "two tests are called {}", test.name);
        }
    }
}
