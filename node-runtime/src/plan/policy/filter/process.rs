//! Filters on the process: ids, binaries, namespaces, capabilities, credentials. matchWorkloads is part of the scope.

use trilobite_crds::policy::{
    self, BinaryFilter, CapabilityFilter, CapabilitySet, Credential, NamespaceFilter, Operator, Selector, Vocabulary,
    value::{self, HOST_NAMESPACE},
};

use super::{
    condition::{Conditions, FilterContext, FilterError, dimension, of_value, texts},
    value::check_affixes,
};
use crate::plan::policy::{
    binaries::{BinaryTables, FollowCondition, MAX_FOLLOWED_PATH},
    dimension::{
        CapabilityKind, CredentialKind, DimensionKind, DimensionPlan, NamespaceKind, Operand, ProcessFact, ValueFacet,
    },
    predicate::{Term, ValueSet},
};

pub(super) fn add_filters(
    conditions: &mut Conditions,
    selector: &Selector,
    context: &FilterContext<'_>,
    binaries: &mut BinaryTables,
) -> Result<(), FilterError> {
    add_pids(conditions, selector, binaries)?;
    for (number, filter) in selector.match_namespaces.iter().enumerate() {
        let field = |name: &str| format!("matchNamespaces[{number}].{name}");
        let kind = filter.namespace.known().ok_or_else(|| refused(field("namespace"), "is no kind of namespace"))?;
        let is_negated = negation(&filter.operator, || field("operator"))?;
        let set = namespace_inodes(filter, namespace_kind(kind), context)
            .map_err(|(value, detail)| refused(field(&format!("values[{value}]")), &detail))?;
        conditions.add(interval(ProcessFact::Namespace(namespace_kind(kind))), Term { is_negated, set });
    }
    for (number, filter) in selector.match_namespace_changes.iter().enumerate() {
        let field = |name: &str| format!("matchNamespaceChanges[{number}].{name}");
        let is_negated = negation(&filter.operator, || field("operator"))?;
        let mut mask = 0;
        for kind in &filter.values {
            let kind =
                kind.known().ok_or_else(|| refused(field("values"), "has a word that is no kind of namespace"))?;
            mask |= 1_u64 << namespace_kind(kind) as u32;
        }
        // `NotIn` matches a change of any other namespace.
        let all = policy::NamespaceKind::ALL.iter().fold(0, |all, kind| all | 1_u64 << namespace_kind(*kind) as u32);
        let mask = if is_negated { all & !mask } else { mask };
        conditions.add(bytes(ProcessFact::NamespacesChanged), positive(ValueSet::Mask(mask)));
    }
    add_capabilities(conditions, selector)?;
    for (number, filter) in selector.match_credentials.iter().enumerate() {
        let field = |name: &str| format!("matchCredentials[{number}].{name}");
        let which = filter.credential.known().ok_or_else(|| refused(field("credential"), "is no id of credentials"))?;
        let is_negated = negation(&filter.operator, || field("operator"))?;
        let mut ranges = Vec::new();
        for (index, text) in filter.values.iter().enumerate() {
            let range = value::range(text)
                .ok_or_else(|| refused(field(&format!("values[{index}]")), "is neither an id nor a range"))?;
            let (from, to) = (range.min.max(0), range.max.min(u32::MAX.into()));
            if from <= to {
                ranges.push((i64::try_from(from).unwrap_or_default(), i64::try_from(to).unwrap_or_default()));
            }
        }
        let fact = ProcessFact::Credential(credential_kind(which));
        conditions.add(interval(fact), Term { is_negated, set: ValueSet::Ranges(ranges) });
    }
    Ok(())
}

fn add_pids(conditions: &mut Conditions, selector: &Selector, binaries: &mut BinaryTables) -> Result<(), FilterError> {
    for (number, filter) in selector.match_pids.iter().enumerate() {
        let field = |name: &str| format!("matchPIDs[{number}].{name}");
        let is_negated = negation(&filter.operator, || field("operator"))?;
        if filter.follow_forks {
            let pids = filter.values.iter().filter_map(|pid| u32::try_from(*pid).ok()).collect();
            let condition = FollowCondition::Pids { in_own_namespace: filter.is_namespace_pid, pids };
            let mask = followed(condition, binaries).map_err(|detail| refused(field("followForks"), detail))?;
            conditions.add(bytes(ProcessFact::Followed), Term { is_negated, set: ValueSet::Mask(mask) });
            continue;
        }
        let fact = if filter.is_namespace_pid { ProcessFact::NamespacePid } else { ProcessFact::Pid };
        let set = ValueSet::Ranges(filter.values.iter().map(|pid| (*pid, *pid)).collect());
        conditions.add(interval(fact), Term { is_negated, set });
    }
    Ok(())
}

fn add_capabilities(conditions: &mut Conditions, selector: &Selector) -> Result<(), FilterError> {
    let lists = [
        ("matchCapabilities", &selector.match_capabilities),
        ("matchCapabilityChanges", &selector.match_capability_changes),
    ];
    for (list, filters) in lists {
        for (number, filter) in filters.iter().enumerate() {
            let field = |name: &str| format!("{list}[{number}].{name}");
            let is_negated = negation(&filter.operator, || field("operator"))?;
            let set = filter.r#type.known().ok_or_else(|| refused(field("type"), "is no set of capabilities"))?;
            let mask = capability_mask(filter)
                .map_err(|index| refused(field(&format!("values[{index}]")), "is no capability"))?;
            let term = Term { is_negated, set: ValueSet::Mask(mask) };
            if list == "matchCapabilities" {
                conditions.add(bytes(ProcessFact::Capabilities(capability_kind(set))), term);
            } else {
                let changed = bytes(ProcessFact::CapabilitiesChanged(capability_kind(set)));
                if is_negated {
                    // Others, but at least one.
                    conditions.add(changed, positive(ValueSet::Mask(u64::MAX)));
                }
                conditions.add(changed, term);
            }
            if filter.is_namespace_capability {
                let initial = NamespaceKind::User.initial_inode().map(i64::from);
                let ranges = initial.into_iter().map(|inode| (inode, inode)).collect();
                let elsewhere = Term { is_negated: true, set: ValueSet::Ranges(ranges) };
                conditions.add(interval(ProcessFact::Namespace(NamespaceKind::User)), elsewhere);
            }
        }
    }
    Ok(())
}

/// For each filter on binaries, the conditions of which one must hold.
pub(super) fn binary_choices(
    selector: &Selector,
    context: &FilterContext<'_>,
    binaries: &mut BinaryTables,
) -> Result<Vec<Vec<(DimensionPlan, Term)>>, FilterError> {
    let mut all = Vec::new();
    for (number, filter) in selector.match_binaries.iter().enumerate() {
        let field = |name: &str| format!("matchBinaries[{number}].{name}");
        let (kind, is_negated) = binary_kind(filter, &field)?;
        let set = texts(&filter.values);
        let mut choices = Vec::new();
        if filter.follow_children {
            let set = followed_binaries(filter, kind, &field, binaries)?;
            choices.push((bytes(ProcessFact::Followed), Term { is_negated, set }));
        } else {
            let fact = match kind {
                DimensionKind::Prefix => ProcessFact::BinaryPrefix,
                DimensionKind::Suffix => ProcessFact::BinarySuffix,
                _ => ProcessFact::BinaryExact,
            };
            let own = dimension(DimensionKind::Id, Operand::Process(fact));
            choices.push((own, Term { is_negated, set: set.clone() }));
        }
        if !is_negated {
            for value in context.executed {
                choices.push((of_value(kind, *value, ValueFacet::Text), positive(set.clone())));
            }
        }
        all.push(choices);
    }
    for (number, filter) in selector.match_parent_binaries.iter().enumerate() {
        let field = |name: &str| format!("matchParentBinaries[{number}].{name}");
        let (kind, is_negated) = binary_kind(filter, &field)?;
        if filter.follow_children {
            let set = followed_binaries(filter, kind, &field, binaries)?;
            all.push(vec![(bytes(ProcessFact::ParentFollowed), Term { is_negated, set })]);
            continue;
        }
        let fact = match kind {
            DimensionKind::Prefix => ProcessFact::ParentBinaryPrefix,
            DimensionKind::Suffix => ProcessFact::ParentBinarySuffix,
            _ => ProcessFact::ParentBinaryExact,
        };
        let parent = dimension(DimensionKind::Id, Operand::Process(fact));
        all.push(vec![(parent, Term { is_negated, set: texts(&filter.values) })]);
    }
    Ok(all)
}

fn binary_kind(filter: &BinaryFilter, field: &dyn Fn(&str) -> String) -> Result<(DimensionKind, bool), FilterError> {
    let unknown =
        || refused(field("operator"), "is no operator for binaries; use In, Prefix or Postfix, or their negations");
    let operator = filter.operator.known().ok_or_else(unknown)?;
    let kind = match operator.positive() {
        Operator::In => DimensionKind::Exact,
        Operator::Prefix => DimensionKind::Prefix,
        Operator::Postfix => DimensionKind::Suffix,
        _ => return Err(unknown()),
    };
    if kind != DimensionKind::Exact {
        check_affixes(&filter.values).map_err(|(_, detail)| refused(field("values"), &detail))?;
    }
    Ok((kind, operator.is_negated()))
}

/// The bit of processes that one of the listed files makes, and of their descendants.
fn followed_binaries(
    filter: &BinaryFilter,
    kind: DimensionKind,
    field: &dyn Fn(&str) -> String,
    binaries: &mut BinaryTables,
) -> Result<ValueSet, FilterError> {
    if kind != DimensionKind::Exact {
        return Err(refused(field("followChildren"), "is for In and NotIn; use one of them, or remove it"));
    }
    if let Some(index) = filter.values.iter().position(|text| text.len() > MAX_FOLLOWED_PATH) {
        let detail = format!("is longer than {MAX_FOLLOWED_PATH} bytes, which followChildren cannot compare");
        return Err(refused(field(&format!("values[{index}]")), &detail));
    }
    let paths = filter.values.iter().map(|text| text.as_bytes().to_vec()).collect();
    let condition = FollowCondition::Binaries(paths);
    followed(condition, binaries).map(ValueSet::Mask).map_err(|detail| refused(field("followChildren"), detail))
}

/// The bit of a condition that processes inherit. Equal conditions share one.
fn followed(condition: FollowCondition, binaries: &mut BinaryTables) -> Result<u64, &'static str> {
    let bit = binaries
        .follow(condition)
        .ok_or("64 conditions that processes inherit are in use on this node; give several policies the same values")?;
    Ok(1 << bit)
}

fn namespace_inodes(
    filter: &NamespaceFilter,
    kind: NamespaceKind,
    context: &FilterContext<'_>,
) -> Result<ValueSet, (usize, String)> {
    let mut ranges = Vec::new();
    for (index, text) in filter.values.iter().enumerate() {
        let inode = if text == HOST_NAMESPACE {
            let unknown = || (index, "the host's namespace cannot be read on this node; write its inode".to_owned());
            i128::from(context.kernel.host_namespace(kind).ok_or_else(unknown)?)
        } else {
            value::number(text).ok_or_else(|| (index, format!("{text:?} is no namespace id")))?
        };
        ranges.extend(i64::try_from(inode).map(|inode| (inode, inode)));
    }
    Ok(ValueSet::Ranges(ranges))
}

fn capability_mask(filter: &CapabilityFilter) -> Result<u64, usize> {
    let mut mask = 0;
    for (index, name) in filter.values.iter().enumerate() {
        mask |= 1 << value::capability(name).ok_or(index)?;
    }
    Ok(mask)
}

fn negation(operator: &policy::Word<Operator>, field: impl FnOnce() -> String) -> Result<bool, FilterError> {
    match operator.known() {
        Some(Operator::In) => Ok(false),
        Some(Operator::NotIn) => Ok(true),
        _ => Err(refused(field(), "is not supported here; use In or NotIn")),
    }
}

fn refused(field: String, detail: &str) -> FilterError {
    FilterError { field, detail: detail.to_owned() }
}

fn positive(set: ValueSet) -> Term {
    Term { is_negated: false, set }
}

fn interval(fact: ProcessFact) -> DimensionPlan {
    dimension(DimensionKind::Interval, Operand::Process(fact))
}

fn bytes(fact: ProcessFact) -> DimensionPlan {
    dimension(DimensionKind::Bytes, Operand::Process(fact))
}

fn namespace_kind(kind: policy::NamespaceKind) -> NamespaceKind {
    match kind {
        policy::NamespaceKind::Uts => NamespaceKind::Uts,
        policy::NamespaceKind::Ipc => NamespaceKind::Ipc,
        policy::NamespaceKind::Mnt => NamespaceKind::Mount,
        policy::NamespaceKind::Pid => NamespaceKind::Pid,
        policy::NamespaceKind::PidForChildren => NamespaceKind::PidForChildren,
        policy::NamespaceKind::Net => NamespaceKind::Network,
        policy::NamespaceKind::Time => NamespaceKind::Time,
        policy::NamespaceKind::TimeForChildren => NamespaceKind::TimeForChildren,
        policy::NamespaceKind::Cgroup => NamespaceKind::Cgroup,
        policy::NamespaceKind::User => NamespaceKind::User,
    }
}

fn capability_kind(set: CapabilitySet) -> CapabilityKind {
    match set {
        CapabilitySet::Effective => CapabilityKind::Effective,
        CapabilitySet::Inheritable => CapabilityKind::Inheritable,
        CapabilitySet::Permitted => CapabilityKind::Permitted,
    }
}

fn credential_kind(credential: Credential) -> CredentialKind {
    match credential {
        Credential::Uid => CredentialKind::Uid,
        Credential::Euid => CredentialKind::Euid,
        Credential::Suid => CredentialKind::Suid,
        Credential::Fsuid => CredentialKind::Fsuid,
        Credential::Gid => CredentialKind::Gid,
        Credential::Egid => CredentialKind::Egid,
        Credential::Sgid => CredentialKind::Sgid,
        Credential::Fsgid => CredentialKind::Fsgid,
        Credential::Auid => CredentialKind::AuditUid,
    }
}
