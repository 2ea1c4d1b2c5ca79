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

fn kernel_release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

fn steady(text: &str, kernel: &str) -> String {
    let mut lines = Vec::new();
    let mut annotations = false;
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
            "Last Transition Time" | "Started At" | "Expires At" => format!("{indent}{key}:  TIME"),
            _ => line.replace(kernel, "KERNEL").trim_end().to_owned(),
        });
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_from_run_to_run_is_taken_out() {
        let text = "Name:  a\nAnnotations:  <none>\nMetadata:\n  UID:  1-2\nStatus:\n  Last Transition Time:  2026-01-01T00:00:00Z\n  Message:  kernel 6.1-x is old\nEvents:  <none>\n";
        assert_eq!(
            steady(text, "6.1-x"),
            "Name:  a\nMetadata:\nStatus:\n  Last Transition Time:  TIME\n  Message:  kernel KERNEL is old\n"
        );
    }
}
