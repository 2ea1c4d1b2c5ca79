//! Acts: a table of commands that one agent must see, each a test of its own. `acts/<name>.yaml` becomes one script: it starts the
//! agent once with its resources, runs every command in a container, and only then looks for their events.

use std::{collections::BTreeMap, path::Path};

use serde::Deserialize;

use crate::scripts::{Script, ScriptError, Test, files, read, test_name};

/// Seconds of the guest's time to start the agent, and for each act: more than either ever takes.
const SECONDS: (usize, usize) = (180, 10);

/// One file of acts.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Acts {
    /// Files of `smoke/` that the agent runs.
    resources: Vec<String>,
    /// A setting of `kernel.perf_event_paranoid`, where it must not be Debian's 3.
    perf_event_paranoid: Option<u8>,
    acts: Vec<Act>,
}

/// One command and its event.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Act {
    name: String,
    /// The command, in the container `web`. `$ACT` is `act-<name>`, to mark what the event must contain.
    run: String,
    /// Parts of one line of JSON: all of them must be in it.
    event: Vec<String>,
    /// Where it must not end with `ok`: kernels -> verdict and text, e.g. `5.10 6.1: refused needs 6.6`.
    #[serde(default)]
    on: BTreeMap<String, String>,
    /// The reason that the agent logs where the act is refused.
    reason: Option<String>,
}

/// All files of acts of a directory, in the order of their numbers.
pub(crate) fn read_all(directory: &Path) -> Result<Vec<Script>, ScriptError> {
    files(directory, "yaml")?.iter().map(|path| parse(path, &read(path)?)).collect()
}

fn parse(path: &Path, text: &str) -> Result<Script, ScriptError> {
    let acts: Acts = serde_yaml::from_str(text).map_err(|error| ScriptError::Acts { path: path.to_owned(), error })?;
    let file = path.with_extension("sh").file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut tests = vec![Test::parse(path, test_name(&file), &["# Expect: ok"])?];
    for act in &acts.acts {
        let mut lines = vec!["# Expect: ok".to_owned()];
        lines.extend(act.on.iter().map(|(kernels, verdict)| format!("# Expect on {kernels}: {verdict}")));
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        tests.push(Test::parse(path, &act.name, &lines)?);
    }
    Ok(Script { file, text: script(&acts), tests })
}

fn script(acts: &Acts) -> String {
    let limit = SECONDS.0 + SECONDS.1 * acts.acts.len();
    let mut text = format!("# Limit: {limit}\n. /init.d/test.sh\n. /init.d/acts.sh\n");
    if let Some(level) = acts.perf_event_paranoid {
        text += &format!("echo {level} >/proc/sys/kernel/perf_event_paranoid\n");
    }
    let resources: Vec<String> = acts.resources.iter().map(|file| quoted(&format!("/smoke/{file}"))).collect();
    text += &format!("run_agent {}\nwait_until_active\n", resources.join(" "));
    for act in &acts.acts {
        text += &format!("perform {} {}\n", quoted(&act.name), quoted(&act.run));
    }
    for act in &acts.acts {
        let words: Vec<String> = act.event.iter().map(|word| quoted(word)).collect();
        let reason = quoted(act.reason.as_deref().unwrap_or_default());
        text += &format!("judge {} {reason} {}\n", quoted(&act.name), words.join(" "));
    }
    text + &format!("ok \"{} acts$OPTED_IN\"\n", acts.acts.len())
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
        let script = parse(Path::new("60-files.yaml"), TABLE).unwrap();
        assert_eq!(script.file, "60-files.sh");
        let names: Vec<&str> = script.tests.iter().map(|test| test.name.as_str()).collect();
        assert_eq!(names, ["files", "open"]);
        let [old, new] = [KERNELS[0], KERNELS[3]].map(|kernel| script.tests[1].expected_on(kernel).verdict);
        assert_eq!((old, new), (Verdict::Refused, Verdict::Ok));
        assert!(script.text.contains(r"perform 'open' 'cat /it'\''s'"), "{}", script.text);
        assert!(script.text.contains("judge 'open' 'KernelTooOld' 'process_exec' '$ACT'"), "{}", script.text);
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
