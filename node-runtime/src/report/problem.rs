//! Everything the agent can say about a unit that is not in force. What, where, what next; at most 200 characters.
//! A reason is API: it stands in docs/reasons.md and is never renamed.

use trilobite_crds::{condition::cut, reason::Reason, status::MAX_MESSAGE};

/// Why a unit is not in force, or not wholly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// `perf_event_open` was refused.
    PerfParanoid {
        /// The node's `kernel.perf_event_paranoid`.
        level: i32,
    },
    /// The kernel has no such tracepoint.
    NoSuchTracepoint {
        /// `subsystem/event`.
        name: String,
        /// The user's field.
        field: String,
    },
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
        /// What was asked for, as `flows`.
        what: String,
        /// The first release that has it, as `6.6`.
        needs: String,
        /// This node's.
        release: String,
    },
    /// The verifier said no.
    VerifierRejected {
        /// The program.
        program: String,
        /// The last telling line of its log.
        detail: String,
    },
    /// A capability is not there.
    MissingCapability {
        /// As `CAP_BPF`.
        capability: String,
        /// What needs it.
        needed_for: String,
    },
    /// The kernel would not give memory to a map (before 5.11: memlock).
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
    /// The worker ended before its work.
    WorkerFailed {
        /// How.
        detail: String,
    },
    /// Events could not be written.
    ExportFailed {
        /// Where to, and the system's words.
        detail: String,
    },
    /// The state on disk was not whole.
    LastGoodRefused {
        /// What does not fit.
        detail: String,
    },
    /// The resource asks for something that is not carried out.
    Unsupported {
        /// The user's field.
        field: String,
        /// What, and what to use instead.
        detail: String,
    },
    /// Anything else that the kernel or the system refused, by its own words.
    LoadFailed {
        /// What was being done.
        what: String,
        /// The system's words.
        detail: String,
    },
}

impl Problem {
    /// The one word for conditions, events and metrics.
    pub fn reason(&self) -> Reason {
        match self {
            Self::PerfParanoid { .. } => Reason::PerfParanoid,
            Self::NoSuchTracepoint { .. } => Reason::NoSuchTracepoint,
            Self::NoSuchArgument { .. } => Reason::NoSuchArgument,
            Self::KernelTooOld { .. } => Reason::KernelTooOld,
            Self::VerifierRejected { .. } => Reason::VerifierRejected,
            Self::MissingCapability { .. } => Reason::MissingCapability,
            Self::MapMemoryExceeded { .. } => Reason::MapMemoryExceeded,
            Self::CgroupV1 => Reason::CgroupV1,
            Self::HostNetworkPod { .. } => Reason::HostNetworkPod,
            Self::BtfMissing => Reason::BtfMissing,
            Self::WorkerFailed { .. } => Reason::WorkerFailed,
            Self::ExportFailed { .. } => Reason::ExportFailed,
            Self::LastGoodRefused { .. } => Reason::LastGoodRefused,
            Self::Unsupported { .. } => Reason::Unsupported,
            Self::LoadFailed { .. } => Reason::LoadFailed,
        }
    }

    /// The user's field, or nothing where it is about the whole resource.
    pub fn field(&self) -> &str {
        match self {
            Self::NoSuchTracepoint { field, .. }
            | Self::NoSuchArgument { field, .. }
            | Self::Unsupported { field, .. } => field,
            _ => "",
        }
    }

    /// What a user reads; at most 200 characters.
    pub fn message(&self) -> String {
        let text = match self {
            Self::PerfParanoid { level } => format!(
                "CPU samples need kernel.perf_event_paranoid <= 2 (this node: {level}); set the sysctl, or runtime.allowSysAdmin: true in the stack"
            ),
            Self::NoSuchTracepoint { name, field } => {
                format!(
                    "{field}: tracepoint {name} does not exist in this kernel; see docs/why-is-my-policy-not-ready.md"
                )
            }
            Self::NoSuchArgument { name, detail, field } => format!("{field}: tracepoint {name}: {detail}"),
            Self::KernelTooOld { what, needs, release } => {
                format!("Unsupported: {what} needs {needs} (this node: {release})")
            }
            Self::VerifierRejected { program, detail } => format!("the kernel's verifier rejected {program}: {detail}"),
            Self::MissingCapability { capability, needed_for } => {
                format!(
                    "{needed_for} needs {capability}, which the agent's container does not have; compare the DaemonSet with the chart"
                )
            }
            Self::MapMemoryExceeded { map, bytes } => {
                format!(
                    "the kernel refused {bytes} bytes for {map}; lower memoryBudgetBytes, or runtime.allowSysResource: true before kernel 5.11"
                )
            }
            Self::CgroupV1 => {
                "pods cannot be told apart on a pure cgroup v1 node; boot it with systemd.unified_cgroup_hierarchy=1"
                    .into()
            }
            Self::HostNetworkPod { pod } => format!(
                "pod {pod} is in the host's network and has no interface of its own; select pods without hostNetwork"
            ),
            Self::BtfMissing => {
                "this kernel has no /sys/kernel/btf/vmlinux; run one built with CONFIG_DEBUG_INFO_BTF=y".into()
            }
            Self::WorkerFailed { detail } => {
                format!("the worker without privilege ended before its work: {detail}; what it had counted is kept")
            }
            Self::ExportFailed { detail } => {
                format!("events could not be written: {detail}; they are counted as lost at export_queue")
            }
            Self::LastGoodRefused { detail } => format!(
                "the state on this node's disk was refused: {detail}; it is written anew when the API server answers"
            ),
            Self::Unsupported { field, detail } => format!("{field}: {detail}"),
            Self::LoadFailed { what, detail } => format!("{what}: {detail}"),
        };
        cut(&text, MAX_MESSAGE)
    }
}
