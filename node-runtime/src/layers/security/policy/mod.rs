//! Policies: what each is, the hooks that they share, and how a set of them becomes active.

mod active_hook;
mod binaries;
mod check;
mod commit;
mod hook;
mod registry;
mod report;
mod rings;
mod set;

pub(super) use self::{
    check::CheckedPolicies,
    hook::{avoided_ways, probe_ways},
    report::ReportTemplate,
    set::{PolicyContext, PolicySet, same_resource},
};
