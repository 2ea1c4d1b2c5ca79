//! What clients are told of each policy of this node: its state, its hooks, and the counters of its selectors.

use std::{fmt, sync::Arc};

use parking_lot::Mutex;

/// One policy, whether it is active or not.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PolicyReport {
    /// Number of the loaded version; 0 where none is loaded.
    pub id: u64,
    pub name: String,
    /// Empty for a cluster-wide one.
    pub namespace: String,
    /// `spec.podSelector` and its kin select some pods only.
    pub has_scope: bool,
    pub state: PolicyState,
    /// Why it is not active, or only in part; empty otherwise.
    pub error: String,
    pub mode: PolicyMode,
    pub hooks: Vec<HookReport>,
    /// Memory of its tables in the kernel; a merged program is counted for none.
    pub kernel_bytes: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PolicyState {
    #[default]
    Enabled,
    /// Some of its hooks are missing, as the policy allows (`ignore.callNotFound`).
    PartiallyEnabled,
    Refused,
    /// `spec.nodeSelector` does not select this node.
    Skipped,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PolicyMode {
    /// It has actions that act.
    Enforce,
    /// It has such actions, and `policy-mode: monitor`.
    Monitor,
    /// It has none.
    #[default]
    MonitorOnly,
}

/// One item of a list of hooks, e.g. `spec.kprobes[0]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HookReport {
    /// `kprobes`, `fentries` or `tracepoints`.
    pub section: &'static str,
    /// In its section.
    pub index: u32,
    /// Function, or subsystem and event: `raw_syscalls/sys_enter`.
    pub name: String,
    /// Not so: its function is not in this kernel.
    pub is_loaded: bool,
    pub selectors: Vec<SelectorReport>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct SelectorReport {
    pub label: String,
    pub counters: ActionCounters,
}

/// Counts since the version was loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ActionCounters {
    pub posts: u64,
    /// Matches whose action is NoPost.
    pub unposted: u64,
    pub signals: u64,
    /// Signals that a policy in monitor mode did not send.
    pub monitored_signals: u64,
}

/// Makes the reports from the layer's state and the kernel's counters.
pub type ReportSource = Box<dyn Fn() -> Vec<PolicyReport> + Send>;

/// Hands the reports of the security layer to the services that show them.
#[derive(Clone, Default)]
pub struct PolicyReports {
    source: Arc<Mutex<Option<ReportSource>>>,
}

impl fmt::Debug for PolicyReports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PolicyReports").finish_non_exhaustive()
    }
}

impl PolicyReports {
    pub fn set_source(&self, source: ReportSource) {
        *self.source.lock() = Some(source);
    }

    /// By namespace and name.
    pub fn read(&self) -> Vec<PolicyReport> {
        let mut reports = self.source.lock().as_ref().map(|source| source()).unwrap_or_default();
        reports.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        reports
    }
}

impl ActionCounters {
    pub fn add(&mut self, other: Self) {
        self.posts += other.posts;
        self.unposted += other.unposted;
        self.signals += other.signals;
        self.monitored_signals += other.monitored_signals;
    }
}

impl HookReport {
    /// As Tetragon names it in counters: `kprobe:tcp_connect`.
    pub fn label(&self) -> String {
        let kind = match self.section {
            "kprobes" => "kprobe",
            "fentries" => "fentry",
            "tracepoints" => "tracepoint",
            other => other,
        };
        format!("{kind}:{}", self.name)
    }
}

impl PolicyReport {
    /// The counters of all selectors.
    pub fn total(&self) -> ActionCounters {
        let mut total = ActionCounters::default();
        let selectors = self.hooks.iter().flat_map(|hook| &hook.selectors);
        selectors.for_each(|selector| total.add(selector.counters));
        total
    }
}
