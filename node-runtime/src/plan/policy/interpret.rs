//! What the kernel program does with a plan, in plain Rust: the same walk over the same tables. The tests' half of the comparison
//! with `crds::policy::evaluate`.

use std::net::IpAddr;

use trilobite_crds::policy::{
    self, Credential,
    evaluate::{CallValue, CallingProcess},
};

use super::{
    binaries::BinaryTables,
    dimension::{
        Answers, CapabilityKind, CredentialKind, DimensionKind, DimensionPlan, DimensionTable, NamespaceKind, Network,
        Operand, ProcessFact, Row, ValueFacet,
    },
    hook_plan::HookPlan,
};

/// What a call of a hook finds.
pub(super) struct HookCall<'a> {
    /// One for each value of the plan.
    pub(super) values: &'a [CallValue],
    pub(super) process: &'a CallingProcess,
    pub(super) binaries: &'a BinaryTables,
}

/// What a dimension looks up; none where the operand cannot be read.
enum LookupKey {
    Number(u64),
    Text(Vec<u8>),
    Address(IpAddr),
}

/// The bits that win: the lowest of each entry, upwards. `class_row` are the selectors that the task's class wants.
pub(super) fn winners(plan: &HookPlan, tables: &[DimensionTable], class_row: &Row, call: &HookCall<'_>) -> Vec<u16> {
    let mut live = class_row.clone();
    for (dimension, table) in plan.dimensions.iter().zip(tables) {
        if live.0.iter().all(|word| *word == 0) {
            return Vec::new();
        }
        let row = operand(dimension, call).and_then(|operand| answer(dimension, table, operand));
        for (index, word) in live.0.iter_mut().enumerate() {
            let found = row.as_ref().map_or(0, |row| row.0.get(index).copied().unwrap_or_default());
            *word &= (found ^ table.negated.0[index]) | table.does_not_care.0[index];
        }
    }
    let mut bits = Vec::new();
    for (index, word) in live.0.iter().enumerate() {
        let mut word = *word;
        while word != 0 {
            let bit = index as u16 * 64 + word.trailing_zeros() as u16;
            bits.push(bit);
            let selector = plan.selectors.iter().find(|selector| selector.bit == bit);
            let mask = selector.and_then(|selector| plan.entry_of(selector)).map_or(0, |entry| entry.mask);
            word &= !(mask | 1 << (bit % 64));
        }
    }
    bits
}

fn answer(dimension: &DimensionPlan, table: &DimensionTable, operand: LookupKey) -> Option<Row> {
    match (&table.answers, operand) {
        (Answers::Interval { bounds, rows }, LookupKey::Number(number)) => {
            let number = if dimension.unsigned { number ^ 1 << 63 } else { number }.cast_signed();
            // The last bound that is not above the number.
            let (mut low, mut high) = (0, bounds.len());
            while high - low > 1 {
                let middle = (low + high) / 2;
                if bounds[middle] <= number {
                    low = middle;
                } else {
                    high = middle;
                }
            }
            rows.get(low).cloned()
        }
        (Answers::Bytes { rows }, LookupKey::Number(number)) => {
            let mut all = rows[usize::from(number.to_le_bytes()[0])].clone();
            for (byte, value) in number.to_le_bytes().into_iter().enumerate().skip(1) {
                all.add_all(&rows[256 * byte + usize::from(value)]);
            }
            Some(all)
        }
        (Answers::Id { rows }, LookupKey::Number(id)) => rows.get(usize::try_from(id).ok()?).cloned(),
        (Answers::Exact { rows }, LookupKey::Text(text)) => rows.get(&text).cloned(),
        (Answers::Affix { rows }, LookupKey::Text(mut text)) => {
            if dimension.kind == DimensionKind::Suffix {
                text.reverse();
            }
            // A trie finds the longest key.
            (0..=text.len()).rev().find_map(|length| rows.get(&text[..length]).cloned())
        }
        (Answers::Address { rows }, LookupKey::Address(address)) => {
            let (family, bytes, bits) = match address {
                IpAddr::V4(address) => {
                    let mut bytes = [0; 16];
                    bytes[..4].copy_from_slice(&address.octets());
                    (4, bytes, 32)
                }
                IpAddr::V6(address) => (6, address.octets(), 128),
            };
            (0..=bits).rev().find_map(|bits| rows.get(&Network::new(family, bytes, bits)).cloned())
        }
        (Answers::Substring { automaton, rows }, LookupKey::Text(text)) => {
            let mut state = 0;
            let mut found: Option<Row> = None;
            for byte in text {
                state = automaton.step(state, byte);
                let Some(index) = automaton.accepts[usize::from(state)].checked_sub(1) else { continue };
                let row = &rows[index as usize];
                match &mut found {
                    Some(found) => found.add_all(row),
                    None => found = Some(row.clone()),
                }
            }
            found
        }
        _ => panic!("the table of {dimension:?} is of another kind than its operand"),
    }
}

fn operand(dimension: &DimensionPlan, call: &HookCall<'_>) -> Option<LookupKey> {
    match dimension.operand {
        Operand::Value { index, facet } => facet_of(&call.values[usize::from(index)], facet, call),
        Operand::Process(fact) => Some(LookupKey::Number(process_fact(fact, call))),
    }
}

fn facet_of(value: &CallValue, facet: ValueFacet, call: &HookCall<'_>) -> Option<LookupKey> {
    let number = |number: Option<u16>| number.map(|number| LookupKey::Number(number.into()));
    match (value, facet) {
        (CallValue::Unreadable | CallValue::Opaque, _) => None,
        (CallValue::Number(number), ValueFacet::Number) => Some(LookupKey::Number(*number as u64)),
        (CallValue::Capabilities(set), ValueFacet::Number) => Some(LookupKey::Number(*set)),
        (CallValue::Capabilities(new), ValueFacet::CapabilitiesGained { old }) => match call.values[usize::from(old)] {
            CallValue::Capabilities(old) => Some(LookupKey::Number(new & !old)),
            _ => None,
        },
        (CallValue::Text(text), ValueFacet::Text) => Some(LookupKey::Text(text.clone())),
        (CallValue::File { path, .. }, ValueFacet::Text) => Some(LookupKey::Text(path.clone())),
        (CallValue::File { mode, .. }, ValueFacet::FileType) => Some(LookupKey::Number(u64::from(mode >> 12 & 0xf))),
        (CallValue::Socket(socket), facet) => match facet {
            ValueFacet::Text => socket.path.clone().map(LookupKey::Text),
            ValueFacet::SourceAddress => socket.saddr.map(LookupKey::Address),
            ValueFacet::DestinationAddress => socket.daddr.map(LookupKey::Address),
            ValueFacet::SourcePort => number(socket.sport),
            ValueFacet::DestinationPort => number(socket.dport),
            ValueFacet::Protocol => number(socket.protocol),
            ValueFacet::Family => number(socket.family),
            ValueFacet::State => number(socket.state.map(u16::from)),
            other => panic!("a socket has no {other:?}"),
        },
        (value, facet) => panic!("{value:?} has no {facet:?}"),
    }
}

fn process_fact(fact: ProcessFact, call: &HookCall<'_>) -> u64 {
    let process = call.process;
    let parent = process.ancestors.first().map_or(&b""[..], |parent| &parent.binary);
    let own = call.binaries.ids(&process.binary);
    let of_parent = call.binaries.ids(parent);
    match fact {
        ProcessFact::Pid => process.pid.into(),
        ProcessFact::NamespacePid => process.namespace_pid.into(),
        ProcessFact::BinaryExact => own.exact.into(),
        ProcessFact::BinaryPrefix => own.prefix.into(),
        ProcessFact::BinarySuffix => own.suffix.into(),
        ProcessFact::ParentBinaryExact => of_parent.exact.into(),
        ProcessFact::ParentBinaryPrefix => of_parent.prefix.into(),
        ProcessFact::ParentBinarySuffix => of_parent.suffix.into(),
        ProcessFact::Followed => {
            let own = (&process.binary[..], process.pid, process.namespace_pid);
            followed(call.binaries, [own].into_iter().chain(ancestors(process)))
        }
        ProcessFact::ParentFollowed => followed(call.binaries, ancestors(process)),
        ProcessFact::Namespace(kind) => process.namespaces.0[kind as usize].into(),
        ProcessFact::NamespacesChanged => {
            let before_and_now = process.namespaces_at_exec.0.iter().zip(process.namespaces.0);
            before_and_now
                .enumerate()
                .fold(0, |bits, (kind, (before, now))| bits | u64::from(*before != 0 && *before != now) << kind)
        }
        ProcessFact::Capabilities(kind) => process.capabilities.set(capability_set(kind)),
        ProcessFact::CapabilitiesChanged(kind) => {
            let set = capability_set(kind);
            process.capabilities.set(set) ^ process.capabilities_at_exec.set(set)
        }
        ProcessFact::Credential(kind) => credential(kind).map_or(0, |which| process.credentials.id(which).into()),
    }
}

/// Path, pid and pid in its own namespace of each ancestor.
fn ancestors(process: &CallingProcess) -> impl Iterator<Item = (&[u8], u32, u32)> + Clone {
    process.ancestors.iter().map(|ancestor| (&ancestor.binary[..], ancestor.pid, ancestor.namespace_pid))
}

/// Bits of the conditions that a process or one of its ancestors, which follow it, meets. Pids of the host end where a container begins.
fn followed<'a>(binaries: &BinaryTables, processes: impl Iterator<Item = (&'a [u8], u32, u32)> + Clone) -> u64 {
    let is_on_host = processes.clone().next().is_none_or(|(.., namespace_pid)| namespace_pid == 0);
    binaries.followed.iter().fold(0, |bits, (bit, condition)| {
        let is_met = processes.clone().any(|(path, pid, namespace_pid)| {
            let of_container = is_on_host || namespace_pid != 0 || !condition.is_namespaced();
            of_container && condition.is_met(path, pid, namespace_pid)
        });
        bits | u64::from(is_met) << bit
    })
}

fn capability_set(kind: CapabilityKind) -> policy::CapabilitySet {
    match kind {
        CapabilityKind::Effective => policy::CapabilitySet::Effective,
        CapabilityKind::Inheritable => policy::CapabilitySet::Inheritable,
        CapabilityKind::Permitted => policy::CapabilitySet::Permitted,
    }
}

fn credential(kind: CredentialKind) -> Option<Credential> {
    Some(match kind {
        CredentialKind::Uid => Credential::Uid,
        CredentialKind::Gid => Credential::Gid,
        CredentialKind::Suid => Credential::Suid,
        CredentialKind::Sgid => Credential::Sgid,
        CredentialKind::Euid => Credential::Euid,
        CredentialKind::Egid => Credential::Egid,
        CredentialKind::Fsuid => Credential::Fsuid,
        CredentialKind::Fsgid => Credential::Fsgid,
        CredentialKind::AuditUid => Credential::Auid,
        CredentialKind::Securebits => return None,
    })
}

/// The numbers of namespaces are positions in the evaluator's lists.
#[test]
fn namespaces_are_numbered_as_in_the_evaluator() {
    use trilobite_crds::policy::{NamespaceKind as Written, Vocabulary};

    assert_eq!(Written::ALL.len(), 10);
    assert_eq!(Written::Mnt as usize, NamespaceKind::Mount as usize);
    assert_eq!(Written::Net as usize, NamespaceKind::Network as usize);
    assert_eq!(Written::User as usize, NamespaceKind::User as usize);
}
