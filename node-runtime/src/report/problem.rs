//! Everything the agent can say about a unit that is not in force. What, where, what next; at most 200 characters.
//! A reason is API: it stands in docs/reasons.md and is never renamed.

use jiff::Timestamp;
use trilobite_crds::{condition::cut, reason::Reason, status::MAX_MESSAGE};

use super::fit::{
    Piece::{self, Ours, Theirs},
    fit,
};

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
    /// `/metrics` has no address to listen on.
    MetricsNotServed {
        /// Where it was to be.
        address: String,
        /// The system's words.
        detail: String,
    },
    /// The state on disk was not whole.
    LastGoodRefused {
        /// What does not fit.
        detail: String,
    },
    /// Something could not be kept on the node's disk.
    StateNotKept {
        /// What.
        what: String,
        /// The file, and the system's words.
        detail: String,
    },
    /// The API server answers a watch, and not with what the agent needs.
    WatchFailed {
        /// What is watched, as `namespaces`.
        what: String,
        /// Its words.
        detail: String,
    },
    /// All selections that a node can tell apart are in use.
    TooManySelections {
        /// How many those are.
        limit: u32,
    },
    /// The profile, or a part of it, could not be had, or is not what its digest says.
    PartUnavailable {
        /// Which, and why.
        detail: String,
    },
    /// The end of a session had come before this agent could begin it.
    SessionExpired {
        /// The end that it was given.
        end: Timestamp,
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
            // Metrics are an export as well: what somebody reads outside does not get there.
            Self::ExportFailed { .. } | Self::MetricsNotServed { .. } => Reason::ExportFailed,
            Self::LastGoodRefused { .. } => Reason::LastGoodRefused,
            Self::StateNotKept { .. } => Reason::StateNotKept,
            Self::WatchFailed { .. } => Reason::WatchFailed,
            Self::TooManySelections { .. } => Reason::TooManySelections,
            Self::PartUnavailable { .. } => Reason::PartUnavailable,
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
            | Self::Unsupported { field, .. } => field,
            _ => "",
        }
    }

    /// What a user reads; at most 200 characters, the last of which say what to do next, however long the kernel's own words are.
    pub fn message(&self) -> String {
        self.within(MAX_MESSAGE)
    }

    /// The same, where an older generation of the resource stays in force.
    pub fn beside(&self, generation: i64) -> String {
        let stays = format!("generation {generation} stays in force: ");
        let rest = self.within(MAX_MESSAGE.saturating_sub(stays.len()));
        stays + &rest
    }

    fn within(&self, limit: usize) -> String {
        let said = |pieces: &[Piece<'_>]| fit(pieces, limit);
        let text = match self {
            Self::PerfParanoid { level } => format!(
                "perf events need kernel.perf_event_paranoid <= 2 (this node: {level}); set the sysctl, or runtime.allowSysAdmin: true in the stack"
            ),
            Self::NoSuchTracepoint { name, field } => said(&[
                Theirs(field),
                Ours(": tracepoint "),
                Theirs(name),
                Ours(" does not exist in this kernel; see docs/why-is-my-policy-not-ready.md"),
            ]),
            Self::NoSuchArgument { name, detail, field } => said(&[
                Theirs(field),
                Ours(": tracepoint "),
                Theirs(name),
                Ours(": "),
                Theirs(detail),
                Ours("; compare args[].index with the tracepoint's format file"),
            ]),
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
                Ours("the worker without privilege ended before its work: "),
                Theirs(detail),
                Ours("; the result says what was lost: fetch it, or make another profile"),
            ]),
            Self::ExportFailed { detail } => said(&[
                Ours("events could not be written: "),
                Theirs(detail),
                Ours("; counted as lost at export_queue; see whether the node's disk is full"),
            ]),
            Self::MetricsNotServed { address, detail } => said(&[
                Ours("/metrics is not served on "),
                Theirs(address),
                Ours(": "),
                Theirs(detail),
                Ours("; free that port on the node, or set another in the stack's spec.metrics"),
            ]),
            Self::LastGoodRefused { detail } => said(&[
                Ours("the state on this node's disk was refused: "),
                Theirs(detail),
                Ours("; wait: it is written anew when the API server answers"),
            ]),
            Self::StateNotKept { what, detail } => said(&[
                Theirs(what),
                Ours(" could not be kept on this node's disk: "),
                Theirs(detail),
                Ours("; a restart would not know it; see whether the disk is full: it is tried every second"),
            ]),
            Self::WatchFailed { what, detail } => said(&[
                Theirs(what),
                Ours(" cannot be watched: "),
                Theirs(detail),
                Ours("; what is known of them stays; see whether the agent may list and watch them"),
            ]),
            Self::TooManySelections { limit } => format!(
                "all {limit} selections that a node can tell apart are in use; give several resources the same namespace and selectors, or delete some"
            ),
            Self::PartUnavailable { detail } => said(&[
                Theirs(detail),
                Ours(
                    "; what is in force stays; if this does, see whether the agent may get nodeprofiles and profileparts",
                ),
            ]),
            Self::SessionExpired { end } => said(&[
                Ours("its end, "),
                Theirs(&end.to_string()),
                Ours(", had come before this agent could begin; check the node's clock, and make a new resource"),
            ]),
            Self::Unsupported { field, detail } => said(&[Theirs(field), Ours(": "), Theirs(detail)]),
            Self::LoadFailed { what, detail } => {
                said(&[Theirs(what), Ours(": "), Theirs(detail), Ours("; read the log of the agent on this node")])
            }
        };
        cut(&text, limit)
    }
}

#[cfg(test)]
mod tests;
