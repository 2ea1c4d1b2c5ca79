//! Every reason why a unit is not active on a node. A message says what, where, what to do next; at most 256 characters.
//! A reason is API: it is listed in docs/reasons.md and never renamed.

use jiff::Timestamp;
use trilobite_crds::{
    condition::{MAX_MESSAGE, cut},
    reason::Reason,
};

mod fit;

use self::fit::{
    Piece::{self, Ours, Theirs},
    fit,
};

/// Why a unit is not active, or only in part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// `perf_event_open` was refused.
    PerfParanoid {
        /// The node's `kernel.perf_event_paranoid`.
        level: i32,
    },
    /// Probes in processes are refused, so that requests inside TLS are not read.
    UprobeRefused {
        /// The kernel's release, if that is too old; otherwise the agent lacks rights.
        too_old: Option<String>,
    },
    /// The kernel has no such tracepoint.
    NoSuchTracepoint {
        /// `subsystem/event`.
        name: String,
        /// The user's field.
        field: String,
    },
    /// The kernel has no such function.
    NoSuchFunction {
        /// As in kallsyms.
        name: String,
        /// What to do, e.g. `set ignore.callNotFound`.
        advice: String,
        /// The user's field.
        field: String,
    },
    /// A function that the kernel does not have and that the policy says to leave out.
    FunctionLeftOut { name: String, field: String },
    /// The kernel has the function and allows no program on it.
    NotAttachable { name: String, field: String },
    /// An argument that a function does not have, or not in the wanted type.
    WrongArgument {
        /// What is there, and what to use instead.
        detail: String,
        /// The user's field.
        field: String,
    },
    /// A field of a policy, refused for a reason of its own; the message begins with the field.
    InvalidPolicy { reason: Reason, message: String, field: String },
    /// The policies on one hook need more than a hook has.
    TooManySelectors { detail: String, field: String },
    /// A decision reads user memory.
    SyscallPointer { field: String },
    /// A signal is the only action that stops something.
    SignalIsLate { field: String },
    /// matchBinaries on security_bprm_check.
    MatchesExecutedFile { field: String },
    /// An argument that this tracepoint does not have, or not in the wanted type.
    NoSuchArgument {
        /// `subsystem/event`.
        name: String,
        /// What is wrong with it.
        detail: String,
        /// The user's field.
        field: String,
    },
    /// The kernel is older than what the unit needs.
    KernelTooOld {
        /// The feature, e.g. `flows`.
        what: String,
        /// The first release that has it, e.g. `6.6`.
        needs: String,
        /// The node's release.
        release: String,
    },
    /// The kernel's verifier rejected a program.
    VerifierRejected {
        /// The program.
        program: String,
        /// The line of the verifier's log that names the cause.
        detail: String,
    },
    /// The agent lacks a capability.
    MissingCapability {
        /// E.g. `CAP_BPF`.
        capability: String,
        /// What needs it.
        needed_for: String,
    },
    /// The kernel refused memory for a map (before 5.11: RLIMIT_MEMLOCK).
    MapMemoryExceeded {
        /// The map.
        map: String,
        /// Bytes asked for.
        bytes: u64,
    },
    /// Pods cannot be told apart on a pure v1 hierarchy.
    CgroupV1,
    /// A pod in the host's network has no interface of its own.
    HostNetworkPod {
        /// `namespace/name`.
        pod: String,
    },
    /// The kernel has no type information.
    BtfMissing,
    /// The worker process ended before its result was complete.
    WorkerFailed {
        /// How it ended.
        detail: String,
    },
    /// Events could not be written.
    ExportFailed {
        /// Destination and error.
        detail: String,
    },
    /// The `/metrics` address could not be bound.
    MetricsNotServed { address: String, detail: String },
    /// The address of Hubble's metrics could not be bound.
    HubbleMetricsNotServed { address: String, detail: String },
    /// A metric of flows has its most series.
    SeriesLimitReached { metric: String, limit: u32 },
    /// Connections pass that the network policies deny; none is dropped.
    PolicyNotEnforced { policy: String, connections: u64 },
    /// The port for the relay could not be opened.
    PortTaken { address: String, detail: String },
    /// There is no certificate for the port.
    CertificateNotIssued { detail: String },
    /// The certificate of the port could not be renewed in time.
    CertificateExpired { end: Timestamp, detail: String },
    /// A state file on disk was truncated or changed.
    LastGoodRefused { detail: String },
    /// A state file could not be written.
    StateNotKept {
        /// Content of the file, e.g. `the pods of this node`.
        what: String,
        detail: String,
    },
    /// The API server refuses a watch or its list.
    WatchFailed {
        /// What is watched, e.g. `namespaces`.
        what: String,
        detail: String,
    },
    /// All scope ids of the node are in use, or all that namespaced resources may have.
    TooManySelections { limit: u32, is_namespaced: bool },
    /// With this resource, the pods of the node would differ in more ways than the kernel's map of classes has room for.
    TooManyClasses { needed: usize, limit: u32 },
    /// The NodeProfile or a part of it could not be fetched, or does not match its digest.
    PartUnavailable { detail: String },
    /// The memory of all profiles of the node is used up.
    NodeBudgetExceeded {
        /// Bytes that the profile asks for.
        needed: u64,
        limit: u64,
        /// The profiles that use the memory, with their sums.
        in_use: String,
    },
    /// Rows of requests are gone with a process that held them.
    RowsLost {
        detail: String,
        /// No other process continues.
        is_over: bool,
    },
    /// A session expired before this agent could start it.
    SessionExpired { end: Timestamp },
    /// The resource asks for something that is not supported.
    Unsupported {
        /// The user's field.
        field: String,
        detail: String,
    },
    /// Any other error of the kernel or the system.
    LoadFailed { what: String, detail: String },
}

impl Problem {
    /// The one word for conditions, events and metrics.
    pub fn reason(&self) -> Reason {
        match self {
            Self::PerfParanoid { .. } => Reason::PerfParanoid,
            Self::UprobeRefused { .. } => Reason::UprobeRefused,
            Self::NoSuchTracepoint { .. } => Reason::NoSuchTracepoint,
            Self::NoSuchArgument { .. } | Self::WrongArgument { .. } => Reason::NoSuchArgument,
            Self::NoSuchFunction { .. } | Self::FunctionLeftOut { .. } => Reason::NoSuchFunction,
            Self::NotAttachable { .. } => Reason::NotAttachable,
            Self::InvalidPolicy { reason, .. } => *reason,
            Self::TooManySelectors { .. } => Reason::TooManySelectors,
            Self::SyscallPointer { .. } => Reason::SyscallPointer,
            Self::SignalIsLate { .. } => Reason::SignalIsLate,
            Self::MatchesExecutedFile { .. } => Reason::MatchesExecutedFile,
            Self::KernelTooOld { .. } => Reason::KernelTooOld,
            Self::VerifierRejected { .. } => Reason::VerifierRejected,
            Self::MissingCapability { .. } => Reason::MissingCapability,
            Self::MapMemoryExceeded { .. } => Reason::MapMemoryExceeded,
            Self::CgroupV1 => Reason::CgroupV1,
            Self::HostNetworkPod { .. } => Reason::HostNetworkPod,
            Self::BtfMissing => Reason::BtfMissing,
            Self::WorkerFailed { .. } => Reason::WorkerFailed,
            // Metrics are an export as well: what somebody reads outside does not get there.
            Self::ExportFailed { .. } | Self::MetricsNotServed { .. } | Self::HubbleMetricsNotServed { .. } => {
                Reason::ExportFailed
            }
            Self::SeriesLimitReached { .. } => Reason::SeriesLimitReached,
            Self::PolicyNotEnforced { .. } => Reason::PolicyNotEnforced,
            Self::PortTaken { .. } => Reason::PortTaken,
            Self::CertificateNotIssued { .. } => Reason::CertificateNotIssued,
            Self::CertificateExpired { .. } => Reason::CertificateExpired,
            Self::LastGoodRefused { .. } => Reason::LastGoodRefused,
            Self::StateNotKept { .. } => Reason::StateNotKept,
            Self::WatchFailed { .. } => Reason::WatchFailed,
            Self::TooManySelections { .. } | Self::TooManyClasses { .. } => Reason::TooManySelections,
            Self::PartUnavailable { .. } => Reason::PartUnavailable,
            Self::NodeBudgetExceeded { .. } => Reason::NodeBudgetExceeded,
            Self::RowsLost { .. } => Reason::WorkerFailed,
            Self::SessionExpired { .. } => Reason::SessionExpired,
            Self::Unsupported { .. } => Reason::Unsupported,
            Self::LoadFailed { .. } => Reason::LoadFailed,
        }
    }

    /// The user's field, or nothing where it is about the whole resource.
    pub fn field(&self) -> &str {
        match self {
            Self::NoSuchTracepoint { field, .. }
            | Self::NoSuchArgument { field, .. }
            | Self::NoSuchFunction { field, .. }
            | Self::FunctionLeftOut { field, .. }
            | Self::NotAttachable { field, .. }
            | Self::WrongArgument { field, .. }
            | Self::InvalidPolicy { field, .. }
            | Self::TooManySelectors { field, .. }
            | Self::SyscallPointer { field }
            | Self::SignalIsLate { field }
            | Self::MatchesExecutedFile { field }
            | Self::Unsupported { field, .. } => field,
            _ => "",
        }
    }

    /// The text of the condition, at most 256 characters. The next step at its end is never cut, however long the kernel's text is.
    pub fn message(&self) -> String {
        self.within(MAX_MESSAGE)
    }

    /// The same, where an older generation of the resource stays active.
    pub fn message_beside(&self, generation: i64) -> String {
        let stays = format!("generation {generation} stays active: ");
        let rest = self.within(MAX_MESSAGE.saturating_sub(stays.len()));
        stays + &rest
    }

    fn within(&self, limit: usize) -> String {
        let said = |pieces: &[Piece<'_>]| fit(pieces, limit);
        let text = match self {
            Self::PerfParanoid { level } => format!(
                "perf events need kernel.perf_event_paranoid <= 2 (this node: {level}); set the sysctl, or runtime.allowSysAdmin: true in the stack"
            ),
            Self::UprobeRefused { too_old: Some(release) } => said(&[
                Ours("requests inside TLS are not read: probes need kernel 6.6 (this node: "),
                Theirs(release),
                Ours("); update its kernel, or set requests.tls: Off to see plain text only"),
            ]),
            Self::UprobeRefused { too_old: None } => {
                "requests inside TLS are not read: the kernel refuses probes to the agent; set runtime.allowSysAdmin: true in the stack, or requests.tls: Off to see plain text only".into()
            }
            Self::NoSuchTracepoint { name, field } => said(&[
                Theirs(field),
                Ours(": tracepoint "),
                Theirs(name),
                Ours(" does not exist in this kernel; see docs/why-is-my-policy-not-ready.md"),
            ]),
            Self::NoSuchFunction { name, advice, field } => said(&[
                Theirs(field),
                Ours(": function "),
                Theirs(name),
                Ours(" does not exist in this kernel; "),
                Ours(advice),
            ]),
            Self::FunctionLeftOut { name, field } => said(&[
                Theirs(field),
                Ours(": function "),
                Theirs(name),
                Ours(" does not exist in this kernel; it is left out, as ignore.callNotFound says"),
            ]),
            Self::NotAttachable { name, field } => said(&[
                Theirs(field),
                Ours(": function "),
                Theirs(name),
                Ours(" exists in this kernel, but cannot be traced; hook a function that calls it"),
            ]),
            Self::WrongArgument { detail, field } | Self::TooManySelectors { detail, field } => {
                let (what, instead) = split_advice(detail);
                said(&[Theirs(field), Ours(": "), Theirs(what), Ours(instead)])
            }
            Self::InvalidPolicy { message, .. } => {
                let (what, instead) = split_advice(message);
                said(&[Theirs(what), Ours(instead)])
            }
            Self::SyscallPointer { field } => said(&[
                Theirs(field),
                Ours(
                    ": reads user memory that the process can change during the call; hook the kernel's function behind it",
                ),
            ]),
            Self::SignalIsLate { field } => said(&[
                Theirs(field),
                Ours(": a signal alone lets the call finish; the process ends before it returns to its program"),
            ]),
            Self::MatchesExecutedFile { field } => said(&[
                Theirs(field),
                Ours(": also matches the file that is executed; use matchArgs to ask for it alone"),
            ]),
            Self::NoSuchArgument { name, detail, field } => {
                let (what, instead) = split_advice(detail);
                said(&[
                    Theirs(field),
                    Ours(": tracepoint "),
                    Theirs(name),
                    Ours(": "),
                    Theirs(what),
                    Ours(instead),
                    Ours("; compare args[].index with the tracepoint's format file"),
                ])
            }
            Self::KernelTooOld { what, needs, release } => said(&[
                Ours("Unsupported: "),
                Theirs(what),
                Ours(" needs "),
                Theirs(needs),
                Ours(" (this node: "),
                Theirs(release),
                Ours("); update its kernel, or exclude the node by spec.runtime.nodeSelector"),
            ]),
            Self::VerifierRejected { program, detail } => said(&[
                Ours("the kernel's verifier rejected "),
                Theirs(program),
                Ours(": "),
                Theirs(detail),
                Ours("; report it with the kernel's release, exclude the node by spec.runtime.nodeSelector"),
            ]),
            Self::MissingCapability { capability, needed_for } => said(&[
                Theirs(needed_for),
                Ours(" needs "),
                Theirs(capability),
                Ours(
                    ", which the agent lacks; see `kubectl -n trilobite-system describe daemonset trilobite-node`, restore its capabilities",
                ),
            ]),
            Self::MapMemoryExceeded { map, bytes } => said(&[
                Ours(&format!("the kernel refused {bytes} bytes for ")),
                Theirs(map),
                Ours("; lower memoryBudgetBytes, or runtime.allowSysResource: true before kernel 5.11"),
            ]),
            Self::CgroupV1 => {
                "pods cannot be told apart on a pure cgroup v1 node; boot it with systemd.unified_cgroup_hierarchy=1"
                    .into()
            }
            Self::HostNetworkPod { pod } => said(&[
                Ours("pod "),
                Theirs(pod),
                Ours(" is in the host's network and has no interface of its own; select pods without hostNetwork"),
            ]),
            Self::BtfMissing => {
                "this kernel has no /sys/kernel/btf/vmlinux; run one built with CONFIG_DEBUG_INFO_BTF=y".into()
            }
            Self::WorkerFailed { detail } => said(&[
                Ours("the profile's worker process ended early: "),
                Theirs(detail),
                Ours("; the result says what was lost: fetch it, or create another profile"),
            ]),
            Self::ExportFailed { detail } => said(&[
                Ours("events could not be written: "),
                Theirs(detail),
                Ours("; they are counted as lost at export_queue; check whether the node's disk is full"),
            ]),
            Self::MetricsNotServed { address, detail } => said(&[
                Ours("/metrics is not served on "),
                Theirs(address),
                Ours(": "),
                Theirs(detail),
                Ours("; free that port on the node, or set another in the stack's spec.metrics"),
            ]),
            Self::HubbleMetricsNotServed { address, detail } => said(&[
                Ours("Hubble's metrics are not served on "),
                Theirs(address),
                Ours(": "),
                Theirs(detail),
                Ours("; free that port on the node, or set another in the stack's spec.network.metrics.port"),
            ]),
            Self::SeriesLimitReached { metric, limit } => format!(
                "{metric} has its most series, {limit}: further label sets are counted in `other`; choose contexts with fewer values, or raise the stack's spec.network.metrics.maxSeries"
            ),
            Self::PolicyNotEnforced { policy, connections } => said(&[
                Ours("network policies are not enforced: connections that they deny were answered, at least "),
                Ours(&connections.to_string()),
                Ours(" (the last denied by "),
                Theirs(policy),
                Ours("), and none was dropped; use a CNI that enforces them"),
            ]),
            Self::PortTaken { address, detail } => said(&[
                Ours("the relay's port "),
                Theirs(address),
                Ours(" cannot be opened: "),
                Theirs(detail),
                Ours("; free it on the node, or set another in the stack's spec.network.listen"),
            ]),
            Self::CertificateNotIssued { detail } => said(&[
                Ours("the relay's port has no certificate: "),
                Theirs(detail),
                Ours("; it is requested again; see `kubectl get csr` and whether the operator runs"),
            ]),
            Self::CertificateExpired { end, detail } => said(&[
                Ours("the certificate expired at "),
                Theirs(&end.to_string()),
                Ours(": "),
                Theirs(detail),
                Ours("; see `kubectl get csr`, the operator and the node's clock"),
            ]),
            Self::LastGoodRefused { detail } => said(&[
                Ours("the state on this node's disk was refused: "),
                Theirs(detail),
                Ours("; it is written again once the API server answers"),
            ]),
            Self::StateNotKept { what, detail } => said(&[
                Theirs(what),
                Ours(" could not be written to this node's disk: "),
                Theirs(detail),
                Ours("; a restart would lose it; check whether the disk is full: it is retried every second"),
            ]),
            Self::WatchFailed { what, detail } => said(&[
                Theirs(what),
                Ours(" cannot be watched: "),
                Theirs(detail),
                Ours("; the last known ones stay; check whether the agent may list and watch them"),
            ]),
            Self::TooManySelections { limit, is_namespaced: true } => format!(
                "all {limit} pod selections of this node that resources of namespaces may have are in use; give several the same selectors, or use a cluster-wide policy"
            ),
            Self::TooManySelections { limit, is_namespaced: false } => format!(
                "all {limit} pod selections of this node are in use; give several resources the same namespace and selectors, or delete some"
            ),
            Self::TooManyClasses { needed, limit } => format!(
                "this resource and the others would divide the node's pods into {needed} groups that are selected differently, of at most {limit}; use fewer labels in their selectors"
            ),
            Self::PartUnavailable { detail } => said(&[
                Theirs(detail),
                Ours(
                    "; the active parts stay; if this lasts, check whether the agent may get nodeprofiles and profileparts",
                ),
            ]),
            Self::NodeBudgetExceeded { needed, limit, in_use } => {
                let mebibytes = |bytes: &u64| bytes.div_ceil(1 << 20);
                said(&[
                    Ours(&format!(
                        "{} MiB do not fit into the {} MiB of this node's profiles: ",
                        mebibytes(needed),
                        mebibytes(limit)
                    )),
                    Theirs(in_use),
                    Ours("; end one, lower memoryBudgetBytes, or raise the stack's spec.application.nodeMemoryBudgetBytes"),
                ])
            }
            Self::RowsLost { detail, is_over: false } => {
                said(&[Theirs(detail), Ours("; its rows are lost, new requests are captured")])
            }
            Self::RowsLost { detail, is_over: true } => {
                said(&[Theirs(detail), Ours("; its rows are lost: create another profile")])
            }
            Self::SessionExpired { end } => said(&[
                Ours("its end, "),
                Theirs(&end.to_string()),
                Ours(", passed before this agent could start it; check the node's clock, then create a new resource"),
            ]),
            Self::Unsupported { field, detail } => {
                let (what, instead) = split_advice(detail);
                said(&[Theirs(field), Ours(": "), Theirs(what), Ours(instead)])
            }
            Self::LoadFailed { what, detail } => {
                said(&[Theirs(what), Ours(": "), Theirs(detail), Ours("; read the log of the agent on this node")])
            }
        };
        cut(&text, limit)
    }
}

/// What is wrong, which may quote foreign text, and the advice after it, e.g. `; use filename, index 4`.
fn split_advice(detail: &str) -> (&str, &str) {
    detail.split_at(detail.find("; ").unwrap_or(detail.len()))
}

#[cfg(test)]
mod tests;
