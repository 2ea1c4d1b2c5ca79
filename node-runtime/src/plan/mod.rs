//! Desired state + kernel facts -> the units that each layer loads, and those that this node refuses. Pure; golden-tested as text.

mod allowed;
pub mod policy;
mod text;
mod unit;

pub use allowed::{flows_allowed, sampling_allowed, tracing_allowed};
pub use unit::{PartKeys, Unit, UnitContent, UnitCount, UnitKey, UnitState};

use std::collections::BTreeMap;

use jiff::Timestamp;
use trilobite_crds::node::{
    CpuProfileSession, Desired, FlowsPart, FlowsSession, PartContent, PolicyPart, ProcessesPart, SessionContent, Source,
};

use crate::{kernel::Facts, problem::Problem};

/// The units of a node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    pub units: BTreeMap<UnitKey, Unit<UnitContent>>,
    /// Units that this kernel or privilege does not support.
    pub refused: BTreeMap<UnitKey, (Source, Problem)>,
}

impl Plan {
    /// The resource that requested a unit.
    pub fn source(&self, key: &UnitKey) -> Option<&Source> {
        let refused = self.refused.get(key).map(|(source, _)| source);
        refused.or_else(|| self.units.get(key).map(|unit| &unit.source))
    }

    /// process_exec and process_exit.
    pub fn processes(&self) -> BTreeMap<UnitKey, Unit<ProcessesPart>> {
        self.of_kind(|content| if let UnitContent::Processes(part) = content { Some(part) } else { None })
    }

    /// Policies, one unit each.
    pub fn policies(&self) -> BTreeMap<UnitKey, Unit<PolicyPart>> {
        self.of_kind(|content| if let UnitContent::Policy(part) = content { Some(part) } else { None })
    }

    /// Policies that are checked and not loaded.
    pub fn policy_checks(&self) -> BTreeMap<UnitKey, Unit<PolicyPart>> {
        self.of_kind(|content| if let UnitContent::PolicyCheck(part) = content { Some(part) } else { None })
    }

    /// Flows of the stack.
    pub fn flows(&self) -> BTreeMap<UnitKey, Unit<FlowsPart>> {
        self.of_kind(|content| if let UnitContent::Flows(part) = content { Some(part) } else { None })
    }

    /// Flows of a FlowCapture, for a limited time.
    pub fn captures(&self) -> BTreeMap<UnitKey, Unit<FlowsSession>> {
        self.of_kind(|content| if let UnitContent::Capture(session) = content { Some(session) } else { None })
    }

    pub fn cpu_profiles(&self) -> BTreeMap<UnitKey, Unit<CpuProfileSession>> {
        self.of_kind(|content| if let UnitContent::CpuProfile(session) = content { Some(session) } else { None })
    }

    fn of_kind<T: Clone>(&self, content_of: fn(&UnitContent) -> Option<&T>) -> BTreeMap<UnitKey, Unit<T>> {
        let units = self.units.iter().filter_map(|(key, unit)| {
            let content = content_of(&unit.content)?.clone();
            Some((key.clone(), Unit { source: unit.source.clone(), expires_at: unit.expires_at, content }))
        });
        units.collect()
    }

    fn add(&mut self, key: UnitKey, unit: Unit<UnitContent>, facts: &Facts) {
        let allowed = match &unit.content {
            UnitContent::Processes(_) | UnitContent::Policy(_) => tracing_allowed(facts),
            // The layer answers: a refused part counts as a policy.
            UnitContent::PolicyCheck(_) => Ok(()),
            UnitContent::Flows(_) | UnitContent::Capture(_) => flows_allowed(facts),
            UnitContent::CpuProfile(_) => sampling_allowed(facts),
        };
        match allowed {
            Ok(()) => drop(self.units.insert(key, unit)),
            Err(problem) => drop(self.refused.insert(key, (unit.source, problem))),
        }
    }
}

/// Why a part is refused whose kind only earlier operators made.
fn of_earlier_operator() -> Problem {
    Problem::Unsupported {
        field: "spec.tracepoints".into(),
        detail: "an operator of an earlier version prepared this policy; update the operator".into(),
    }
}

/// Plans a node. Sessions that have expired by `now` are left out.
pub fn plan(desired: &Desired, facts: &Facts, now: Timestamp) -> Plan {
    plan_with_keys(desired, facts, now, &PartKeys::default())
}

/// The same with keys of parts that are known already.
pub fn plan_with_keys(desired: &Desired, facts: &Facts, now: Timestamp, keys: &PartKeys) -> Plan {
    let mut plan = Plan::default();
    if desired.suspended {
        return plan;
    }
    for part in desired.parts.iter().filter(|part| part.content.selects_node(&desired.node_labels)) {
        let content = match part.content.clone() {
            PartContent::Processes(content) => UnitContent::Processes(content),
            PartContent::Policy(content) if content.dry_run => UnitContent::PolicyCheck(content),
            PartContent::Policy(content) => UnitContent::Policy(content),
            PartContent::Tracepoints(_) => {
                plan.refused.insert(keys.key(part), (part.source.clone(), of_earlier_operator()));
                continue;
            }
            PartContent::Flows(content) => UnitContent::Flows(content),
        };
        plan.add(keys.key(part), Unit { source: part.source.clone(), expires_at: None, content }, facts);
    }
    for session in desired.sessions.iter().filter(|session| session.expires_at > now) {
        let content = match session.content.clone() {
            SessionContent::CpuProfile(content) => UnitContent::CpuProfile(content),
            SessionContent::Flows(content) => UnitContent::Capture(content),
        };
        let unit = Unit { source: session.source.clone(), expires_at: Some(session.expires_at), content };
        plan.add(UnitKey::of_session(session), unit, facts);
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policy_of_an_earlier_operator_is_refused_and_not_ignored() {
        let part = serde_json::json!({
            "source": { "kind": "TracingPolicy", "name": "watch-ink", "generation": 1 },
            "digest": "",
            "content": { "tracepoints": { "pods": {}, "hooks": [], "ringBytes": 65536 } },
        });
        let desired = Desired { parts: vec![serde_json::from_value(part).unwrap()], ..Desired::default() };
        let plan = plan(&desired, &Facts::default(), Timestamp::UNIX_EPOCH);
        let refused: Vec<_> = plan.refused.values().map(|(source, problem)| (source.name.as_str(), problem)).collect();
        assert_eq!(refused, [("watch-ink", &of_earlier_operator())]);
        assert!(plan.units.is_empty());
    }
}
