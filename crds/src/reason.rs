//! Every reason that a condition or a node's problem can have. A reason is API: it is in docs/reasons.md and is never renamed.

use std::{fmt, str::FromStr};

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// One word that says why; docs/reasons.md says what to do.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Reason {
            /// All of them, in the order of docs/reasons.md.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// As it stands in conditions, problems, Events and metrics.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)+
                }
            }

            /// What it means, in one sentence.
            pub fn meaning(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($doc),+).trim_ascii(),)+
                }
            }
        }
    };
}

reasons! {
    /// The spec can be carried out.
    Valid,
    /// A field has a value, or a name, that nothing can be made of.
    InvalidSpec,
    /// A field asks for something that this version or this node does not carry out.
    Unsupported,
    /// The stack has switched off the layer that this resource needs.
    LayerDisabled,
    /// There is no ObservabilityStack, so nothing can be in force.
    NoStack,
    /// The spec names an object that does not exist.
    RefNotFound,
    /// Another resource already asks for this, and only one can.
    Conflict,
    /// The list of parts would pass what one NodeProfile holds.
    ProfileTooLarge,
    /// Every counted node was told and has answered.
    AllNodesApplied,
    /// Nodes are being told of a change, a few at a time.
    RollingOut,
    /// A change was stopped because too many nodes failed with it.
    RolloutHalted,
    /// No agent has reported yet.
    WaitingForAgents,
    /// No node matches the stack's nodeSelector.
    NoMatchingNodes,
    /// No running pod matches, so no node has anything to do.
    NoMatchingPods,
    /// What was asked is in force.
    Ready,
    /// Nodes are taking up what was asked.
    Progressing,
    /// The operator failed at something and tries again.
    ProgressingWithRetry,
    /// More nodes fail than are tolerated.
    TooManyNodesFailing,
    /// The spec was not accepted; the condition Accepted says why.
    NotAccepted,
    /// The stack is suspended; nothing is loaded on any node.
    Suspended,
    /// The operator has not looked yet.
    Pending,
    /// The API server denies the operator something that it needs.
    AccessDenied,
    /// Nodes fail for different reasons; the status lists them.
    Mixed,
    /// Nothing is wrong.
    AsExpected,
    /// The time that was asked for is over.
    DurationElapsed,
    /// A limit was met before the time was over.
    LimitReached,
    /// The time that was asked for is not over.
    Running,
    /// The namespace's Pod Security level forbids the agent's pods.
    PodSecurityForbidden,
    /// A node that must run an agent has not been heard of for too long.
    AgentSilent,
    /// The agent's pod runs but is not ready.
    AgentNotReady,
    /// The kernel's verifier refused a program.
    VerifierRejected,
    /// The kernel lacks what the feature needs.
    KernelTooOld,
    /// The kernel has no BTF, so programs cannot be fitted to it.
    BtfMissing,
    /// The tracepoint does not exist in this node's kernel.
    NoSuchTracepoint,
    /// The tracepoint exists, but not the field or argument that was asked for.
    NoSuchArgument,
    /// A program could not be loaded or attached, for a reason that has no word of its own.
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
    /// The node already holds as many sessions as it can.
    NodeFull,
    /// The end of the session had come before it could be started or resumed.
    SessionExpired,
    /// The last good state on the node's disk was damaged and was not used.
    LastGoodRefused,
    /// What the agent needs for a restart could not be kept on the node's disk.
    StateNotKept,
    /// The API server does not let the agent follow this node's pods, or namespaces.
    WatchFailed,
    /// The node already tells as many selections of pods apart as it can.
    TooManySelections,
    /// A part of the profile could not be fetched, or is not what its digest says.
    PartUnavailable,
    /// The process that parses what strangers wrote has ended unexpectedly.
    WorkerFailed,
    /// Events could not be written where the stack asks for.
    ExportFailed,
    /// Records were lost; metrics and status count them.
    RecordsLost,
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
