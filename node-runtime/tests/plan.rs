//! The plan of one set of resources on different machines, as text. `UPDATE_GOLDEN=1` rewrites the golden files.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::{fs, path::Path};

use jiff::Timestamp;
use trilobite_crds::{desired_from_resources, node::Desired, parse_documents};
use trilobite_node::{
    kernel::{CgroupMode, Facts, Release},
    plan::plan,
};

const RESOURCES: &str = include_str!("plan/resources.yaml");

fn planned_at() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn desired() -> Desired {
    let (desired, refusals) =
        desired_from_resources(&parse_documents(RESOURCES, "resources.yaml").unwrap(), planned_at());
    assert_eq!(refusals, []);
    desired
}

/// A machine that allows everything.
fn machine() -> Facts {
    let capabilities =
        ["CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN", "CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH", "CAP_SYSLOG"];
    Facts {
        release_text: "6.18.1".into(),
        release: Release { major: 6, minor: 18 },
        btf: true,
        cgroup: CgroupMode::V2,
        capabilities: capabilities.map(String::from).into(),
        perf_paranoid: 2,
        ..Facts::default()
    }
}

fn golden(name: &str, desired: &Desired, facts: &Facts, now: Timestamp) {
    let text = plan(desired, facts, now).to_string();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/plan/{name}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &text).unwrap();
    }
    assert_eq!(text, fs::read_to_string(&path).unwrap_or_default(), "{}; UPDATE_GOLDEN=1 rewrites", path.display());
}

#[test]
fn everything_is_planned_where_everything_is_allowed() {
    golden("everything", &desired(), &machine(), planned_at());
}

#[test]
fn kernel_too_old_for_flows_has_the_network_for_drops() {
    let facts = Facts { release_text: "5.9.0-4".into(), release: Release { major: 5, minor: 9 }, ..machine() };
    golden("old-kernel", &desired(), &facts, planned_at());
}

#[test]
fn paranoid_kernel_refuses_samples() {
    let paranoid = Facts { perf_paranoid: 3, perf_refused: true, ..machine() };
    golden("paranoid", &desired(), &paranoid, planned_at());
    // Upstream kernels accept CAP_PERFMON at every level; distributions' kernels ask for CAP_SYS_ADMIN.
    golden("everything", &desired(), &Facts { perf_refused: false, ..paranoid }, planned_at());
}

#[test]
fn missing_capability_refuses_only_what_needs_it() {
    let mut facts = machine();
    facts.capabilities.remove("CAP_NET_ADMIN");
    golden("no-net-admin", &desired(), &facts, planned_at());
}

#[test]
fn pure_cgroup_v1_refuses_everything() {
    golden("cgroup-v1", &desired(), &Facts { cgroup: CgroupMode::V1, ..machine() }, planned_at());
}

#[test]
fn expired_session_is_left_out() {
    golden("an-hour-later", &desired(), &machine(), "2026-01-01T01:00:00Z".parse().unwrap());
}

#[test]
fn suspended_node_has_an_empty_plan() {
    let suspended = Desired { suspended: true, ..desired() };
    assert_eq!(plan(&suspended, &machine(), planned_at()).to_string(), "");
}
