//! Where the arguments of a hook are, and what is known about a location on the way to a value.

use trilobite_crds::policy::ArgumentType;

use crate::{
    kernel::btf::{CType, Function},
    plan::policy::{
        format::TracepointField,
        value::{Step, ValuePlan, ValueSource},
    },
};

/// Bytes that are read of text and of buffers, and with `maxData`.
pub(super) const TEXT_BYTES: u32 = 4096;
pub(super) const MAX_DATA_BYTES: u32 = 327_360;
/// Registers that hold arguments.
pub(crate) const MAX_ARGUMENTS: usize = 6;

/// Where the arguments of a hook are.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ArgumentPlace {
    /// In registers; the types are known where BTF has the function.
    Function { name: String, function: Option<Function> },
    /// In the user's registers: types are not known.
    Syscall { name: String },
    /// In registers, with the types of the tracepoint's prototype.
    RawTracepoint { event: String, types: Vec<CType> },
    /// In the trace record. That of a system call's own tracepoint is shorter than its format says.
    Tracepoint { subsystem: String, event: String, fields: Vec<TracepointField> },
}

/// Which list of the hook an argument is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Argument,
    Data,
    Return,
}

/// How an argument is read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ReadArgument {
    /// None for `nop`.
    pub(crate) value: Option<ValuePlan>,
    /// The size's own value, where a buffer has one.
    pub(crate) size: Option<ValuePlan>,
    /// The type of the policy; that of the kernel where the policy says `auto`.
    pub(crate) r#type: ArgumentType,
}

/// A value on its way: where the last step ended, and what is there.
#[derive(Clone, Debug)]
pub(super) struct Located {
    pub(super) source: ValueSource,
    pub(super) steps: Vec<Step>,
    pub(super) at: Content,
}

/// What is known about a location.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// A number or pointer in a register, of a type that is known or not.
    Register(Option<CType>),
    /// An object in memory, so many bytes behind the last step.
    Memory { r#type: CType, offset: u32 },
}
