//! What a node makes of a desired state, as text: one world of resources on machines that differ. `UPDATE_GOLDEN=1` rewrites.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::{fs, path::Path};

use jiff::Timestamp;
use trilobite_crds::{desired_from_resources, node::Desired, parse_documents};
use trilobite_node::{
    kernel::{CgroupMode, Facts, Release},
    plan::plan,
};

const WORLD: &str = include_str!("plan/world.yaml");

fn asked() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn desired() -> Desired {
    let (desired, refusals) = desired_from_resources(&parse_documents(WORLD, "world.yaml").unwrap(), asked());
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
fn a_machine_that_allows_everything_gets_everything() {
    golden("everything", &desired(), &machine(), asked());
}

#[test]
fn a_kernel_before_tcx_refuses_flows_and_nothing_else() {
    let facts = Facts { release_text: "5.10.0-46".into(), release: Release { major: 5, minor: 10 }, ..machine() };
    golden("old-kernel", &desired(), &facts, asked());
}

#[test]
fn a_paranoid_machine_refuses_samples_where_its_kernel_refuses_the_agent_an_event() {
    let paranoid = Facts { perf_paranoid: 3, perf_refused: true, ..machine() };
    golden("paranoid", &desired(), &paranoid, asked());
    // CAP_PERFMON is enough for a kernel as it is upstream, SYS_ADMIN for those of distributions.
    golden("everything", &desired(), &Facts { perf_refused: false, ..paranoid }, asked());
}

#[test]
fn a_missing_capability_refuses_what_needs_it() {
    let mut facts = machine();
    facts.capabilities.remove("CAP_NET_ADMIN");
    golden("no-net-admin", &desired(), &facts, asked());
}

#[test]
fn pods_that_cannot_be_told_apart_are_not_watched() {
    golden("cgroup-v1", &desired(), &Facts { cgroup: CgroupMode::V1, ..machine() }, asked());
}

#[test]
fn a_session_whose_end_has_come_is_left_out() {
    golden("an-hour-later", &desired(), &machine(), "2026-01-01T01:00:00Z".parse().unwrap());
}

#[test]
fn a_suspended_node_has_nothing_in_force() {
    let suspended = Desired { suspended: true, ..desired() };
    assert_eq!(plan(&suspended, &machine(), asked()).to_string(), "");
}
