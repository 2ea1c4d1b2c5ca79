//! Desired state + kernel facts -> the units that each layer loads, and those that this node refuses. Pure; golden-tested as text.

mod allowed;
pub mod policy;
mod text;
mod unit;

use allowed::network_allowed;
pub use allowed::{flows_allowed, sampling_allowed, tracing_allowed};
pub use unit::{PartKeys, Unit, UnitContent, UnitCount, UnitKey, UnitState};

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use trilobite_crds::node::{
    AppProfileSession, Desired, FlowsPart, FlowsSession, PartContent, PolicyPart, ProcessesPart, SessionContent, Source,
};

use crate::{kernel::Facts, loss::stack_source, problem::Problem};

/// The units of a node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    pub units: BTreeMap<UnitKey, Unit<UnitContent>>,
    /// Units that this kernel or privilege does not support.
    pub refused: BTreeMap<UnitKey, (Source, Problem)>,
    /// Sessions that have expired and whose resources still exist: the rows of their requests are kept for a while.
    pub expired: BTreeSet<UnitKey>,
    /// Memory of all profiles together; none for the default.
    pub node_memory_budget_bytes: Option<u64>,
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

    /// What AppProfiles ask for, and the standing profile.
    pub fn app_profiles(&self) -> BTreeMap<UnitKey, Unit<AppProfileSession>> {
        self.of_kind(|content| if let UnitContent::AppProfile(session) = content { Some(session) } else { None })
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
            UnitContent::Flows(_) | UnitContent::Capture(_) => network_allowed(facts),
            UnitContent::AppProfile(session) if session.requests.is_none() => sampling_allowed(facts),
            // The layer checks each part: one may be active where the other is refused.
            UnitContent::AppProfile(_) => tracing_allowed(facts),
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

/// Plans a node. Sessions that have expired by `now` are no units.
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
    for session in &desired.sessions {
        let key = UnitKey::of_session(session);
        if session.expires_at <= now {
            plan.expired.insert(key);
            continue;
        }
        let content = match session.content.clone() {
            SessionContent::AppProfile(content) => UnitContent::AppProfile(content),
            SessionContent::CpuProfile(content) => UnitContent::AppProfile(content.into()),
            SessionContent::Flows(content) => UnitContent::Capture(content),
        };
        let unit = Unit { source: session.source.clone(), expires_at: Some(session.expires_at), content };
        plan.add(key, unit, facts);
    }
    plan.node_memory_budget_bytes = desired.application.node_memory_budget_bytes;
    if let Some(standing) = &desired.application.standing {
        let content = UnitContent::AppProfile(standing.clone());
        let unit = Unit { source: stack_source(), expires_at: None, content };
        plan.add(UnitKey::of_standing(standing), unit, facts);
    }
    plan
}

#[cfg(test)]
pub(crate) mod tests {
    use trilobite_crds::node::{CpuProfileSession, CpuSampling, PodScope, RequestsSession, Session, SourceKind};

    use super::*;
    use crate::kernel::{CgroupMode, Release};

    /// A machine that allows samples and requests.
    pub(crate) fn machine() -> Facts {
        Facts {
            release: Release { major: 6, minor: 18 },
            btf: true,
            cgroup: CgroupMode::V2,
            capabilities: ["CAP_BPF", "CAP_PERFMON"].map(String::from).into(),
            ..Facts::default()
        }
    }

    fn profile(cpu: bool, requests: bool) -> AppProfileSession {
        AppProfileSession {
            pods: PodScope::default(),
            memory_budget_bytes: 32 << 20,
            cpu: cpu.then_some(CpuSampling { frequency_hz: 49 }),
            requests: requests.then(RequestsSession::default),
        }
    }

    fn session(content: SessionContent) -> Session {
        Session {
            name: "appprofile.shop.cart".into(),
            source: Source {
                kind: SourceKind::AppProfile,
                namespace: Some("shop".into()),
                name: "cart".into(),
                generation: 1,
            },
            expires_at: Timestamp::from_second(100).unwrap(),
            content,
        }
    }

    fn planned(desired: &Desired, facts: &Facts, second: i64) -> Plan {
        plan(desired, facts, Timestamp::from_second(second).unwrap())
    }

    #[test]
    fn standing_profile_is_a_unit_without_an_end() {
        let mut desired = Desired::default();
        desired.application.standing = Some(profile(false, true));
        let plan = planned(&desired, &machine(), 1_000_000);
        let unit = plan.app_profiles().into_values().next().unwrap();
        assert_eq!((unit.source.kind, unit.expires_at), (SourceKind::ObservabilityStack, None));
        assert!(plan.to_string().contains("requests=all no end"), "{plan}");
        desired.application.standing = Some(AppProfileSession { memory_budget_bytes: 1, ..profile(false, true) });
        let changed = planned(&desired, &machine(), 1_000_000);
        assert_ne!(changed.units.keys().next(), plan.units.keys().next());
        let suspended = Desired { suspended: true, ..desired };
        assert!(planned(&suspended, &machine(), 1_000_000).units.is_empty());
    }

    #[test]
    fn expired_session_is_no_unit_and_is_remembered() {
        let session = session(SessionContent::AppProfile(profile(true, true)));
        let key = UnitKey::of_session(&session);
        let desired = Desired { sessions: vec![session], ..Desired::default() };
        assert!(planned(&desired, &machine(), 99).units.contains_key(&key));
        let plan = planned(&desired, &machine(), 100);
        assert!(plan.units.is_empty() && plan.expired.contains(&key));
    }

    #[test]
    fn profile_of_an_earlier_operator_is_the_same_unit() {
        let earlier = CpuProfileSession { pods: PodScope::default(), frequency_hz: 49, memory_budget_bytes: 32 << 20 };
        let [earlier, later] = [SessionContent::CpuProfile(earlier), SessionContent::AppProfile(profile(true, false))]
            .map(|content| Desired { sessions: vec![session(content)], ..Desired::default() })
            .map(|desired| planned(&desired, &machine(), 0));
        assert_eq!(earlier, later);
    }

    #[test]
    fn requests_are_planned_where_samples_are_refused() {
        let paranoid = Facts { perf_refused: true, perf_paranoid: 4, ..machine() };
        let refused = |cpu, requests| {
            let sessions = vec![session(SessionContent::AppProfile(profile(cpu, requests)))];
            !planned(&Desired { sessions, ..Desired::default() }, &paranoid, 0).refused.is_empty()
        };
        assert_eq!([refused(true, false), refused(true, true), refused(false, true)], [true, false, false]);
    }

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
