//! `policy explain` on kernels of facts, as text. `UPDATE_GOLDEN=1` rewrites the golden files.

#![allow(clippy::unwrap_used)]

use std::{fs, path::Path};

use trilobite_crds::parse_documents;
use trilobite_node::{commands::policy::explain_policies, plan::policy::facts::KernelFacts};

fn golden(policies: &str, kernel: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/policy_explain");
    let read = |name: String| fs::read_to_string(folder.join(name)).unwrap();
    let facts = KernelFacts::parse(&read(format!("kernel-{kernel}.yaml"))).unwrap();
    let resources = parse_documents(&read(format!("{policies}.yaml")), policies).unwrap();
    let (text, _) = explain_policies(&resources, &facts);
    let path = folder.join(format!("{policies}-{kernel}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &text).unwrap();
    }
    assert_eq!(text, fs::read_to_string(&path).unwrap_or_default(), "{}; UPDATE_GOLDEN=1 rewrites", path.display());
}

#[test]
fn page_shows_what_is_printed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(folder.join("../docs/what-becomes-of-a-policy.md")).unwrap();
    let printed = |name: &str| fs::read_to_string(folder.join("tests/policy_explain").join(name)).unwrap();
    assert!(page.contains(&printed("port-6.12.txt")));
    for line in printed("refused-6.12.txt").lines().filter(|line| line.starts_with("refused")) {
        assert!(page.contains(line), "{line}");
    }
}

#[test]
fn connection_to_a_port_is_one_hook_with_a_signal() {
    golden("port", "6.12");
    golden("port", "5.10");
}

#[test]
fn binary_before_exec_also_means_the_executed_file() {
    golden("interpreters", "6.12");
}

#[test]
fn policies_share_hooks_values_and_dimensions() {
    golden("shared", "6.12");
}

#[test]
fn kernel_says_which_policies_it_refuses() {
    golden("refused", "6.12");
    golden("refused", "5.10");
}
