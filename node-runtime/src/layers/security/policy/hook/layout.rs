//! The constants of a hook's program, from its plan. Pure.

use trilobite_node_ebpf::{
    DimensionKind as KernelDimension, FacetKind, HookDimension, HookLayout, HookStep, HookValue, SourceKind,
    ValueKind as KernelValue, dimension_flag, feature_flag, value_flag,
};

use crate::plan::policy::{
    AttachMethod, HookPlan,
    dimension::{CapabilityKind, DimensionKind, DimensionPlan, Operand, ProcessFact, ValueFacet},
    hook_plan::ActionParts,
    syscalls,
    value::{Step, ValueKind, ValuePlan, ValueSource},
};

/// The agent itself, which hooks never record.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::layers::security) struct AgentProcess {
    pub(in crate::layers::security) pid: u32,
    /// Its pid namespace, by inode.
    pub(in crate::layers::security) namespace: u32,
}

/// The constants of a program that is attached in this way. `function_args` are those of a traced function, by BTF.
pub(in crate::layers::security) fn hook_layout(
    plan: &HookPlan,
    way: AttachMethod,
    hook_id: u32,
    function_args: Option<u8>,
    agent: AgentProcess,
) -> HookLayout {
    let mut layout = HookLayout {
        hook_id,
        features: features(plan),
        agent: agent.pid,
        agent_namespace: agent.namespace,
        value_count: plan.values.len() as u8,
        dimension_count: plan.dimensions.len() as u8,
        arg_count: arg_count(plan, way, function_args),
        entry_dimension_count: plan.dimensions.iter().filter(|dimension| !dimension.at_return).count() as u8,
        ..HookLayout::default()
    };
    for (to, value) in layout.values.iter_mut().zip(&plan.values) {
        *to = hook_value(value);
    }
    for (to, dimension) in layout.dimensions.iter_mut().zip(&plan.dimensions) {
        *to = hook_dimension(dimension);
    }
    layout
}

/// How many arguments a program copies: those of the function where its return value follows them, else those that are read.
fn arg_count(plan: &HookPlan, way: AttachMethod, function_args: Option<u8>) -> u8 {
    if way == AttachMethod::Fexit {
        return function_args.unwrap_or_default();
    }
    if plan.is_syscall {
        return 1;
    }
    let last = plan.values.iter().filter_map(|value| match value.source {
        ValueSource::Argument(index) => Some(index + 1),
        _ => None,
    });
    last.max().unwrap_or_default()
}

fn features(plan: &HookPlan) -> u32 {
    let values = plan.values.iter().fold(0, |bits, value| bits | value_feature(value.kind));
    let dimensions = plan.dimensions.iter().fold(0, |bits, dimension| bits | dimension_features(dimension));
    let actions = action_features(plan.parts);
    let syscall = if plan.is_syscall { feature_flag::SYSCALL } else { 0 };
    let compat = if plan.is_syscall && syscalls::is_compat(plan.point.name()) { feature_flag::SYSCALL_32 } else { 0 };
    let returns = if plan.point.has_return() { feature_flag::RETURN } else { 0 };
    values | dimensions | actions | syscall | compat | returns
}

fn value_feature(kind: ValueKind) -> u32 {
    match kind {
        ValueKind::Number { .. } | ValueKind::Syscall | ValueKind::CapabilitySet | ValueKind::Nothing => {
            feature_flag::NUMBERS
        }
        ValueKind::String | ValueKind::Inline | ValueKind::DataLoc | ValueKind::RelLoc => feature_flag::STRINGS,
        ValueKind::Buffer | ValueKind::Iovec | ValueKind::IovIter => feature_flag::BUFFERS,
        ValueKind::File | ValueKind::Path | ValueKind::Dentry | ValueKind::Fd => feature_flag::PATHS,
        ValueKind::Sock | ValueKind::Skb | ValueKind::Sockaddr | ValueKind::SockaddrUnix => feature_flag::SOCKETS,
        ValueKind::Credentials
        | ValueKind::UserNamespace
        | ValueKind::Module
        | ValueKind::BpfAttr
        | ValueKind::BpfMap
        | ValueKind::BpfProg
        | ValueKind::PerfEvent => feature_flag::OBJECTS,
    }
}

fn dimension_features(dimension: &DimensionPlan) -> u32 {
    let kind = match dimension.kind {
        DimensionKind::Interval => feature_flag::INTERVALS,
        DimensionKind::Bytes => feature_flag::BYTES,
        DimensionKind::Id => feature_flag::IDS,
        DimensionKind::Exact => feature_flag::EXACT,
        DimensionKind::Prefix => feature_flag::PREFIXES,
        DimensionKind::Suffix => feature_flag::SUFFIXES,
        DimensionKind::Address => feature_flag::ADDRESSES,
        DimensionKind::Substring => feature_flag::SUBSTRINGS,
    };
    let operand = match dimension.operand {
        Operand::Value { .. } => 0,
        Operand::Process(fact) if fact.is_binary_id().is_some() => feature_flag::BINARIES,
        Operand::Process(
            ProcessFact::Followed
            | ProcessFact::ParentFollowed
            | ProcessFact::NamespacesChanged
            | ProcessFact::CapabilitiesChanged(_),
        ) => feature_flag::FACTS | feature_flag::PROCESSES,
        Operand::Process(_) => feature_flag::FACTS,
    };
    kind | operand
}

fn action_features(parts: ActionParts) -> u32 {
    let flags = [
        (parts.signals, feature_flag::SIGNALS),
        (parts.rate_limits, feature_flag::RATE_LIMITS),
        (parts.stacks, feature_flag::STACKS),
        (parts.sockets, feature_flag::TRACKED_SOCKETS),
    ];
    flags.into_iter().filter(|(is_needed, _)| *is_needed).fold(0, |bits, (_, flag)| bits | flag)
}

fn hook_value(value: &ValuePlan) -> HookValue {
    let (source, index, offset) = match value.source {
        ValueSource::Argument(index) => (SourceKind::Arg, index, 0),
        ValueSource::Return => (SourceKind::Return, 0, 0),
        ValueSource::CurrentTask => (SourceKind::Task, 0, 0),
        ValueSource::PtRegs(offset) => (SourceKind::Registers, 0, offset.into()),
        ValueSource::Record { offset, .. } => (SourceKind::Record, 0, offset.into()),
    };
    // A number in a trace record is behind the address of its field.
    let in_record = match value.source {
        ValueSource::Record { bytes, .. } if value.steps.is_empty() => u8::try_from(bytes).unwrap_or_default(),
        _ => value.load,
    };
    let steps = steps(value);
    let (kind, load, bytes, is_signed) = match value.kind {
        ValueKind::Number { bytes, signed } => (KernelValue::Number, in_record, bytes, signed),
        ValueKind::Syscall => (KernelValue::Syscall, in_record, 8, false),
        ValueKind::CapabilitySet => (KernelValue::CapabilitySet, 8, 8, false),
        ValueKind::Nothing => (KernelValue::None, 0, 0, false),
        ValueKind::String => (KernelValue::String, 0, 0, false),
        ValueKind::Inline => (KernelValue::Inline, 0, 0, false),
        ValueKind::DataLoc => (KernelValue::DataLoc, 0, 0, false),
        ValueKind::RelLoc => (KernelValue::RelLoc, 0, 0, false),
        ValueKind::Buffer => (KernelValue::Buffer, 0, 0, false),
        ValueKind::Iovec => (KernelValue::Iovec, 0, 0, false),
        ValueKind::IovIter => (KernelValue::IovIter, 0, 0, false),
        ValueKind::File => (KernelValue::File, 0, 0, false),
        ValueKind::Path => (KernelValue::Path, 0, 0, false),
        ValueKind::Dentry => (KernelValue::Dentry, 0, 0, false),
        ValueKind::Fd => (KernelValue::Fd, 0, 0, false),
        ValueKind::Sock => (KernelValue::Sock, 0, 0, false),
        ValueKind::Skb => (KernelValue::Skb, 0, 0, false),
        ValueKind::Sockaddr | ValueKind::SockaddrUnix => (KernelValue::Sockaddr, 0, 0, false),
        ValueKind::Credentials => (KernelValue::Credentials, 0, 0, false),
        ValueKind::UserNamespace => (KernelValue::UserNamespace, 0, 0, false),
        ValueKind::Module => (KernelValue::Module, 0, 0, false),
        ValueKind::BpfAttr => (KernelValue::BpfAttr, 0, 0, false),
        ValueKind::BpfMap => (KernelValue::BpfMap, 0, 0, false),
        ValueKind::BpfProg => (KernelValue::BpfProg, 0, 0, false),
        ValueKind::PerfEvent => (KernelValue::PerfEvent, 0, 0, false),
    };
    let mut to = HookValue {
        source: source as u8,
        kind: kind as u8,
        index,
        step_count: steps.len() as u8,
        load,
        bytes,
        size_from: value.size_from.map_or(0, |index| index + 1),
        pad: 0,
        flags: value_flags(value, is_signed),
        offset,
        bound: bound(value),
        ..HookValue::default()
    };
    for (to, Step { offset, dereference }) in to.steps.iter_mut().zip(&steps) {
        *to = HookStep { offset: *offset, dereference: u32::from(*dereference) };
    }
    to
}

fn value_flags(value: &ValuePlan, is_signed: bool) -> u32 {
    let signed = if is_signed { value_flag::SIGNED } else { 0 };
    let silent = if value.is_emitted { 0 } else { value_flag::SILENT };
    signed | silent | if value.at_return { value_flag::AT_RETURN } else { 0 }
}

/// What is not in the trace record itself begins with the pointer, or the number, that the record contains.
fn steps(value: &ValuePlan) -> Vec<Step> {
    let is_inside = match value.kind {
        ValueKind::Inline | ValueKind::DataLoc | ValueKind::RelLoc => true,
        ValueKind::Number { .. } | ValueKind::Syscall => value.steps.is_empty(),
        _ => false,
    };
    let is_record = matches!(value.source, ValueSource::Record { .. });
    let first = (is_record && !is_inside).then_some(Step { offset: 0, dereference: true });
    first.into_iter().chain(value.steps.iter().copied()).collect()
}

/// Of an inline string: its field, which has no NUL when it is full.
fn bound(value: &ValuePlan) -> u32 {
    match (value.kind, value.source) {
        (ValueKind::Inline, ValueSource::Record { bytes, .. }) => u32::from(bytes) + 1,
        _ => value.bound,
    }
}

fn hook_dimension(dimension: &DimensionPlan) -> HookDimension {
    let kind = match dimension.kind {
        DimensionKind::Interval => KernelDimension::Interval,
        DimensionKind::Bytes => KernelDimension::Bytes,
        DimensionKind::Id => KernelDimension::Id,
        DimensionKind::Exact => KernelDimension::Exact,
        DimensionKind::Prefix => KernelDimension::Prefix,
        DimensionKind::Suffix => KernelDimension::Suffix,
        DimensionKind::Address => KernelDimension::Address,
        DimensionKind::Substring => KernelDimension::Substring,
    };
    let mut to = HookDimension {
        kind: kind as u8,
        flags: if dimension.unsigned { dimension_flag::UNSIGNED as u8 } else { 0 },
        ..HookDimension::default()
    };
    match dimension.operand {
        Operand::Value { index, facet } => {
            to.value = index;
            to.facet = facet_of(facet) as u8;
            if let ValueFacet::CapabilitiesGained { old } = facet {
                to.others[0] = old;
            }
        }
        Operand::Process(fact) => to.facet = fact_facet(fact),
    }
    to
}

fn facet_of(facet: ValueFacet) -> FacetKind {
    match facet {
        ValueFacet::Number | ValueFacet::Text => FacetKind::Self_,
        ValueFacet::FileType => FacetKind::FileType,
        ValueFacet::SourceAddress => FacetKind::SourceAddress,
        ValueFacet::DestinationAddress => FacetKind::DestinationAddress,
        ValueFacet::SourcePort => FacetKind::SourcePort,
        ValueFacet::DestinationPort => FacetKind::DestinationPort,
        ValueFacet::Protocol => FacetKind::Protocol,
        ValueFacet::Family => FacetKind::Family,
        ValueFacet::State => FacetKind::State,
        ValueFacet::CapabilitiesGained { .. } => FacetKind::CapabilitiesGained,
    }
}

fn fact_facet(fact: ProcessFact) -> u8 {
    let capability = |kind: CapabilityKind| kind as u8;
    match fact {
        ProcessFact::Pid => FacetKind::Pid as u8,
        ProcessFact::NamespacePid => FacetKind::NamespacePid as u8,
        ProcessFact::BinaryExact => FacetKind::BinaryExact as u8,
        ProcessFact::BinaryPrefix => FacetKind::BinaryPrefix as u8,
        ProcessFact::BinarySuffix => FacetKind::BinarySuffix as u8,
        ProcessFact::ParentBinaryExact => FacetKind::ParentBinaryExact as u8,
        ProcessFact::ParentBinaryPrefix => FacetKind::ParentBinaryPrefix as u8,
        ProcessFact::ParentBinarySuffix => FacetKind::ParentBinarySuffix as u8,
        ProcessFact::Namespace(kind) => FacetKind::Namespace as u8 + kind as u8,
        ProcessFact::Capabilities(kind) => FacetKind::Capabilities as u8 + capability(kind),
        ProcessFact::Credential(kind) => FacetKind::Credential as u8 + kind as u8,
        ProcessFact::Followed => FacetKind::Followed as u8,
        ProcessFact::ParentFollowed => FacetKind::ParentFollowed as u8,
        ProcessFact::NamespacesChanged => FacetKind::NamespacesChanged as u8,
        ProcessFact::CapabilitiesChanged(kind) => FacetKind::CapabilitiesChanged as u8 + capability(kind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_of_a_trace_record_is_loaded_from_its_field() {
        let value = ValuePlan {
            source: ValueSource::Record { offset: 8, bytes: 4 },
            steps: Vec::new(),
            kind: ValueKind::Number { bytes: 4, signed: true },
            load: 0,
            bound: 0,
            size_from: None,
            at_return: false,
            is_filtered: false,
            is_emitted: true,
        };
        let read = hook_value(&value);
        assert_eq!((read.source, read.offset, read.load, read.bytes), (SourceKind::Record as u8, 8, 4, 4));
        assert_eq!(read.flags, value_flag::SIGNED);
    }
}
