//! What people read, kept as files: `UPDATE_GOLDEN=1` rewrites them, and a reviewer reads the difference.

use std::{env, fs, path::PathBuf};

use crate::Kubectl;

/// Compares a text with `e2e/tests/tests/golden/NAME`.
#[track_caller]
pub fn golden(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        return;
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == text,
        "{} differs; UPDATE_GOLDEN=1 rewrites it.\n--- kept\n{kept}\n--- now\n{text}",
        path.display()
    );
}

/// `kubectl describe`, without what differs from run to run: times, ids, digests, the kernel, the ages of Events.
#[track_caller]
pub fn described(kubectl: &Kubectl, words: &[&str]) -> String {
    let text = kubectl.run(&[&["describe"], words].concat());
    steady(&text, &kernel_release())
}

/// A text without the kernel and the numbers of pods, which differ from run to run.
pub fn steady_lines(text: &str) -> String {
    let kernel = kernel_release();
    let line = |line: &str| {
        without_pods_selected(&line.replace(&format!(" (kernel {kernel})"), "").replace(&kernel, "KERNEL"))
    };
    text.lines().map(|text| line(text) + "\n").collect()
}

fn kernel_release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

fn steady(text: &str, kernel: &str) -> String {
    let mut lines = Vec::new();
    let mut annotations = false;
    let generation = text.lines().find_map(|line| line.trim_start().strip_prefix("Generation:")).map(str::trim);
    for line in text.lines() {
        // What kubectl apply keeps of the object is the object once more.
        annotations = line.starts_with("Annotations:") || (annotations && line.starts_with(' '));
        let key = line.trim_start().split(':').next().unwrap_or_default();
        if annotations || ["Creation Timestamp", "Resource Version", "UID", "Self Link"].contains(&key) {
            continue;
        }
        if line.starts_with("Events:") {
            break;
        }
        let indent = &line[..line.len() - line.trim_start().len()];
        lines.push(match key {
            "Last Transition Time" | "Started At" | "Expires At" | "Observed At" => format!("{indent}{key}:  TIME"),
            "Generation" | "Observed Generation" if line.trim_end().rsplit(' ').next() == generation => {
                format!("{indent}{key}:  CURRENT")
            }
            "Pods Selected" => format!("{indent}{key}:  PODS"),
            // A message names the kernel where it has the room.
            "Message" | "Summary" => {
                without_pods_selected(line).replace(&format!(" (kernel {kernel})"), "").trim_end().to_owned()
            }
            _ => line.replace(kernel, "KERNEL").trim_end().to_owned(),
        });
    }
    lines.join("\n") + "\n"
}

/// How many pods run in a cluster is no matter of the test.
fn without_pods_selected(line: &str) -> String {
    let selected = line.find(" selected now").and_then(|end| Some((line[..end].rfind("; ")? + 2, end)));
    selected.map_or_else(|| line.to_owned(), |(begin, end)| format!("{}PODS are{}", &line[..begin], &line[end..]))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// A page quotes a file by a comment that names it before the fence, and cuts at `...`.
    #[test]
    fn docs_quote_what_describe_prints() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut quoted = 0;
        let pages = fs::read_dir(here.join("../../docs")).unwrap().flatten();
        for page in pages.filter(|page| page.path().is_file()) {
            let text = fs::read_to_string(page.path()).unwrap();
            for quote in text.split("<!-- golden: ").skip(1) {
                let (name, rest) = quote.split_once(" -->").unwrap();
                let block = rest.split("```").nth(1).unwrap();
                let kept = fs::read_to_string(here.join("tests/golden").join(name)).unwrap();
                let kept: Vec<&str> = kept.lines().map(str::trim).collect();
                for line in block
                    .lines()
                    .map(str::trim)
                    .filter(|line| !line.is_empty() && *line != "..." && !line.starts_with('$'))
                {
                    assert!(kept.contains(&line), "{}: {name} does not say {line:?}", page.path().display());
                }
                quoted += 1;
            }
        }
        assert!(quoted > 0, "no page quotes anything");
    }

    #[test]
    fn values_that_differ_between_runs_are_removed() {
        let text = "Name:  a\nAnnotations:  <none>\nMetadata:\n  Generation:  7\n  UID:  1-2\nStatus:\n  Last Transition Time:  2026-01-01T00:00:00Z\n  Kernel:   6.1-x\n  Message:  1 node (kernel 6.1-x), e.g. b: no\n  Message:  2 of 2 nodes ready; 1 pod is selected now\n  Observed Generation:  6\n  Observed Generation:  7\nEvents:  <none>\n";
        assert_eq!(
            steady(text, "6.1-x"),
            "Name:  a\nMetadata:\n  Generation:  CURRENT\nStatus:\n  Last Transition Time:  TIME\n  Kernel:   KERNEL\n  Message:  1 node, e.g. b: no\n  Message:  2 of 2 nodes ready; PODS are selected now\n  Observed Generation:  6\n  Observed Generation:  CURRENT\n"
        );
    }
}
