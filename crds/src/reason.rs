//! Every reason that a condition or a node's problem can have. A reason is API: it is in docs/reasons.md and is never renamed.

use std::{fmt, str::FromStr};

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// The reason of a condition or a problem, one word; docs/reasons.md says what to do.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Reason {
    /// Whether it describes something that is active as asked, e.g. a signal that lets the call finish.
    pub fn is_note(self) -> bool {
        matches!(
            self,
            Self::SyscallPointer
                | Self::UprobeRefused
                | Self::SignalIsLate
                | Self::MatchesExecutedFile
                | Self::SeriesLimitReached
                | Self::PolicyNotEnforced
        )
    }

            /// All reasons, in the order of docs/reasons.md.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The word, as conditions, problems, Events and metrics show it.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)+
                }
            }

            /// The meaning in one sentence.
            pub fn meaning(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($doc),+).trim_ascii(),)+
                }
            }
        }
    };
}

reasons! {
    /// The spec is valid and supported.
    Valid,
    /// A field has a value or a name that is not valid.
    InvalidSpec,
    /// A field asks for something that this version or this node does not support.
    Unsupported,
    /// The stack disables the layer that this resource needs.
    LayerDisabled,
    /// There is no ObservabilityStack, so nothing can be active.
    NoStack,
    /// The spec names an object that does not exist.
    RefNotFound,
    /// Another resource already asks for the same, and only one can have it.
    Conflict,
    /// The list of parts would exceed what one NodeProfile can hold.
    ProfileTooLarge,
    /// The namespace's budget for AppProfiles and FlowCaptures is in use by older ones.
    NamespaceBudgetExceeded,
    /// The spec asks for bodies or literals, and the stack does not allow them in this namespace.
    PayloadsNotAllowed,
    /// Every counted node was given the spec and has answered.
    AllNodesApplied,
    /// Nodes are given a change, a few at a time.
    RollingOut,
    /// A change was stopped because too many nodes failed with it.
    RolloutHalted,
    /// No agent has reported yet.
    WaitingForAgents,
    /// No node matches the stack's nodeSelector, or a policy's `spec.nodeSelector` matches none of the stack's nodes.
    NoMatchingNodes,
    /// No running pod matches, so no node has work.
    NoMatchingPods,
    /// The spec is active.
    Ready,
    /// Nodes are applying the spec.
    Progressing,
    /// An operation of the operator failed and is retried.
    ProgressingWithRetry,
    /// More nodes fail than the stack tolerates.
    TooManyNodesFailing,
    /// The spec was not accepted; the condition Accepted says why.
    NotAccepted,
    /// The stack is suspended, so nodes unload everything.
    Suspended,
    /// The policy is checked by the nodes and not loaded, as its annotation `trilobite.dev/dry-run` asks.
    DryRun,
    /// The operator has not reconciled the resource yet.
    Pending,
    /// The API server denies the operator a permission that it needs.
    AccessDenied,
    /// Nodes fail for different reasons; the status lists them.
    Mixed,
    /// Nothing is wrong.
    AsExpected,
    /// The requested duration has elapsed.
    DurationElapsed,
    /// A limit was reached before the requested duration elapsed.
    LimitReached,
    /// The requested duration has not elapsed yet.
    Running,
    /// The namespace's Pod Security level forbids the agent's pods.
    PodSecurityForbidden,
    /// The agent of a node has not reported for too long.
    AgentSilent,
    /// The agent's pod runs but is not ready.
    AgentNotReady,
    /// The kernel's verifier refused a program.
    VerifierRejected,
    /// The kernel lacks a function that the feature needs.
    KernelTooOld,
    /// The kernel has no BTF, so programs cannot be adapted to it.
    BtfMissing,
    /// The tracepoint does not exist in this node's kernel.
    NoSuchTracepoint,
    /// The function does not exist in this node's kernel.
    NoSuchFunction,
    /// The function exists in this node's kernel, but no program can be attached to it.
    NotAttachable,
    /// The tracepoint or function exists, but not the requested field or argument, or not in this type.
    NoSuchArgument,
    /// A program could not be loaded or attached, for a reason not listed here.
    LoadFailed,
    /// The agent does not hold a capability that the feature needs.
    MissingCapability,
    /// The kernel's perf_event_paranoid forbids CPU samples to the agent.
    PerfParanoid,
    /// The node's cgroup hierarchy does not tell pods apart.
    CgroupV1,
    /// The pod uses the node's own network, so its flows cannot be told from the node's.
    HostNetworkPod,
    /// The kernel refused the memory for a map or a ring.
    MapMemoryExceeded,
    /// The memory budget was used up before the end.
    MemoryBudgetExceeded,
    /// The memory that the stack allows all profiles of a node together is in use by others.
    NodeBudgetExceeded,
    /// The node already holds as many sessions as it can.
    NodeFull,
    /// The session ended before it could be started or resumed.
    SessionExpired,
    /// The last known good state on the node's disk was damaged and was not used.
    LastGoodRefused,
    /// State that the agent needs for a restart could not be written to the node's disk.
    StateNotKept,
    /// The API server does not allow the agent to watch this node's pods, or namespaces.
    WatchFailed,
    /// The node has reached its limit of distinct pod selections, or of pods that are selected differently.
    TooManySelections,
    /// The policies on one hook have together more selectors, values or conditions than a hook has room for.
    TooManySelectors,
    /// A part of the profile could not be fetched, or is not what its digest says.
    PartUnavailable,
    /// The worker process, which parses untrusted data, has ended unexpectedly, or no agent ran for a while; rows of requests
    /// that it had are lost.
    WorkerFailed,
    /// Events could not be written to the file or stream that the stack names.
    ExportFailed,
    /// No replica of the relay is available.
    RelayUnavailable,
    /// No layer is Enabled and no session exists, so nothing wants the relay.
    RelayNotNeeded,
    /// The stack disables the relay.
    RelayDisabled,
    /// Another program on the node uses the agent's port for the relay.
    PortTaken,
    /// The agent has no certificate for its port, so the relay cannot read from this node.
    CertificateNotIssued,
    /// The certificate of the agent's port has expired and was not renewed.
    CertificateExpired,
    /// A selector decides by user memory that the process can change during the call.
    SyscallPointer,
    /// The kernel refuses probes in processes to an agent without more rights, so requests inside TLS are not read.
    UprobeRefused,
    /// A signal alone lets the call finish before the process ends.
    SignalIsLate,
    /// matchBinaries of this hook also matches the file that is executed.
    MatchesExecutedFile,
    /// A metric of flows has its most series, so other label sets are counted together.
    SeriesLimitReached,
    /// Connections pass that network policies deny, and none is dropped.
    PolicyNotEnforced,
    /// Records were lost; metrics and status count them.
    RecordsLost,
    /// Rows of requests were made.
    RowsSeen,
    /// The selected pods were seen, and no request of theirs.
    NoTraffic,
    /// The selected pods speak only protocols that are not asked for or not supported.
    OtherProtocol,
    /// The selected pods speak TLS that is not decrypted.
    Encrypted,
    /// The selected pods have the other role in all of their connections.
    RoleNotSeen,
}

impl Reason {
    /// Whether a node that fails for this reason fails again at each attempt, until a user changes the resource, the
    /// stack or the node. Other failures may end by themselves: an agent comes back, a session makes room, a disk is
    /// cleaned. `LoadFailed` is any other error of the kernel, so nothing is known about its end.
    pub fn is_deterministic(self) -> bool {
        matches!(
            self,
            Self::InvalidSpec
                | Self::Unsupported
                | Self::PayloadsNotAllowed
                | Self::PodSecurityForbidden
                | Self::VerifierRejected
                | Self::KernelTooOld
                | Self::BtfMissing
                | Self::NoSuchTracepoint
                | Self::NoSuchFunction
                | Self::NotAttachable
                | Self::NoSuchArgument
                | Self::MissingCapability
                | Self::PerfParanoid
                | Self::CgroupV1
                | Self::HostNetworkPod
                | Self::MapMemoryExceeded
                | Self::MemoryBudgetExceeded
                | Self::SessionExpired
        )
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The word is not a reason of this version.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a known reason")]
pub struct UnknownReason(pub String);

impl FromStr for Reason {
    type Err = UnknownReason;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL.iter().copied().find(|reason| reason.as_str() == word).ok_or_else(|| UnknownReason(word.into()))
    }
}
