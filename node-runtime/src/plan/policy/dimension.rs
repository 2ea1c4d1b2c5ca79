//! A dimension: one kind of condition on one value or one fact of the process, for all selectors of a hook at once. Its table
//! answers with a row, a bit for each selector. What a call does with it: `m &= (row ^ negated) | does_not_care`.

use std::collections::BTreeMap;

use super::automaton::Automaton;
pub use super::row::Row;

/// The most dimensions of one hook, of all policies together.
pub const MAX_DIMENSIONS: usize = 16;
/// The longest prefix or suffix in bytes: what a key of an LPM trie holds besides the number of its dimension.
pub const MAX_AFFIX: usize = 255;
/// Strings up to this length are keys as they are; longer ones by their length and FNV-1a-64, compared again by the agent.
pub const MAX_EXACT_KEY: usize = 60;

/// One dimension of a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DimensionPlan {
    pub kind: DimensionKind,
    pub operand: Operand,
    /// `Substring` alone: upper and lower case of ASCII letters are the same.
    pub ignore_case: bool,
    /// `Interval` alone: the operand is an unsigned number of 64 bits, its top bit is flipped before the search and in the bounds.
    pub unsigned: bool,
    /// 1 and more for further conditions of one selector on the same thing, where one row cannot answer both: `Bytes` and
    /// `Substring`, whose rows are ORed. Also for patterns whose characters do not fit into one automaton.
    pub ordinal: u8,
    /// The operand is known at the return of the function only.
    pub at_return: bool,
}

/// The structure of a dimension's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DimensionKind {
    /// A row for each interval between sorted bounds.
    Interval,
    /// A row for each value of each of 8 bytes, ORed: an operand with any bit of a mask.
    Bytes,
    /// A row for each id.
    Id,
    /// A row for each string.
    Exact,
    /// The row of the longest prefix.
    Prefix,
    /// The row of the longest suffix; keys are reversed.
    Suffix,
    /// The row of the longest network.
    Address,
    /// The rows of all patterns that the text contains, ORed.
    Substring,
}

/// What a dimension looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operand {
    /// A facet of a value, by its index in `HookPlan::values`.
    Value { index: u8, facet: ValueFacet },
    /// A fact about the current process.
    Process(ProcessFact),
}

/// Which part of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ValueFacet {
    /// The number itself: an integer, a system call with its ABI's bit, a capability set.
    Number,
    /// The text: a string, a path, the bytes of a buffer.
    Text,
    /// The four uppermost bits of a file's mode: `S_IFMT >> 12`.
    FileType,
    SourceAddress,
    DestinationAddress,
    SourcePort,
    DestinationPort,
    Protocol,
    Family,
    State,
    /// The bits that this capability set has and that of value `old` lacks.
    CapabilitiesGained {
        old: u8,
    },
}

/// A fact about the current process, read live unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProcessFact {
    /// Thread group id in the initial pid namespace.
    Pid,
    /// Thread group id in the process's own pid namespace; 0 in the initial one.
    NamespacePid,
    /// Id of the binary's path in `BinaryTables::exact`, given at exec; 0 where it is in none.
    BinaryExact,
    /// Id of the longest prefix in `BinaryTables::prefixes`.
    BinaryPrefix,
    /// Id of the longest suffix in `BinaryTables::suffixes`.
    BinarySuffix,
    /// The same three of the parent's binary.
    ParentBinaryExact,
    ParentBinaryPrefix,
    ParentBinarySuffix,
    /// 64 bits, one for each `FollowCondition` that this process or one of its ancestors has met.
    Followed,
    /// The same of its parent.
    ParentFollowed,
    /// Inode of one of its namespaces.
    Namespace(NamespaceKind),
    /// A bit for each `NamespaceKind` that is another than at exec.
    NamespacesChanged,
    /// One capability set, 64 bits.
    Capabilities(CapabilityKind),
    /// Bits of a set that are others than at exec.
    CapabilitiesChanged(CapabilityKind),
    /// A number of the live credentials.
    Credential(CredentialKind),
}

/// A namespace of a process; the numbers are bits of `NamespacesChanged`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NamespaceKind {
    Uts = 0,
    Ipc = 1,
    Mount = 2,
    Pid = 3,
    PidForChildren = 4,
    Network = 5,
    Time = 6,
    TimeForChildren = 7,
    Cgroup = 8,
    User = 9,
}

impl NamespaceKind {
    /// Inode of the initial namespace, a constant of the kernel (proc_ns.h). None of the mount and the network namespace, which have
    /// others at each boot.
    pub const fn initial_inode(self) -> Option<u32> {
        match self {
            Self::Ipc => Some(0xefff_ffff),
            Self::Uts => Some(0xefff_fffe),
            Self::User => Some(0xefff_fffd),
            Self::Pid | Self::PidForChildren => Some(0xefff_fffc),
            Self::Cgroup => Some(0xefff_fffb),
            Self::Time | Self::TimeForChildren => Some(0xefff_fffa),
            Self::Mount | Self::Network => None,
        }
    }
}

/// A capability set of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CapabilityKind {
    Effective = 0,
    Inheritable = 1,
    Permitted = 2,
}

/// A number of a process's credentials, in the initial user namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CredentialKind {
    Uid = 0,
    Gid = 1,
    Suid = 2,
    Sgid = 3,
    Euid = 4,
    Egid = 5,
    Fsuid = 6,
    Fsgid = 7,
    /// `loginuid`.
    AuditUid = 8,
    Securebits = 9,
}

/// What one dimension answers.
#[derive(Clone, Debug, PartialEq)]
pub struct DimensionTable {
    pub answers: Answers,
    /// Selectors whose conditions are all negative: they match what is in no row, and what cannot be read.
    pub negated: Row,
    /// Selectors without a condition on this dimension.
    pub does_not_care: Row,
}

/// The rows of a dimension. What is not in the table, or cannot be read, has an empty row.
#[derive(Clone, Debug, PartialEq)]
pub enum Answers {
    /// Row `i` is that of the numbers from `bounds[i]` to below `bounds[i + 1]`; `bounds[0]` is `i64::MIN`.
    Interval { bounds: Vec<i64>, rows: Vec<Row> },
    /// Row `256 * byte + value` of the operand's byte, the lowest first; 2,048 rows.
    Bytes { rows: Vec<Row> },
    /// By id; row 0 is that of a process without an id.
    Id { rows: Vec<Row> },
    /// By text, without a NUL.
    Exact { rows: BTreeMap<Vec<u8>, Row> },
    /// By prefix (`Prefix`) or by reversed suffix (`Suffix`). Closed: the row of a longer key is the whole answer.
    Affix { rows: BTreeMap<Vec<u8>, Row> },
    /// By network, closed.
    Address { rows: BTreeMap<Network, Row> },
    /// The rows of the states that the automaton passes through, ORed.
    Substring { automaton: Automaton, rows: Vec<Row> },
}

/// A network: family 4 or 6, the address's first bits. An IPv4 address mapped into IPv6 is one of family 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    /// 4 or 6.
    pub family: u8,
    /// The address in network order, an IPv4 one in the first four bytes; 0 behind `bits`.
    pub address: [u8; 16],
    pub bits: u8,
}
