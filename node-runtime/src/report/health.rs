//! The health that gRPC clients read, from the same snapshot as the node's status. Pure.

use trilobite_crds::{
    condition::ConditionStatus,
    node::{PartContent, SessionContent},
};

use super::status::{Snapshot, ready};
use crate::{
    kernel::Facts,
    plan::{UnitKey, UnitState},
};

/// The message of what is wrong with the node; none while it is Ready and has no problem of its own.
pub fn unhealthy_message(snapshot: &Snapshot, facts: &Facts) -> Option<String> {
    let ready = ready(snapshot, facts);
    if ready.status != ConditionStatus::True {
        return Some(ready.message);
    }
    snapshot.node_problems.first().map(|(_, problem)| problem.message())
}

/// Whether every unit that asks for flows is refused, so that a client waiting for flows would wait forever.
pub fn flows_are_refused(snapshot: &Snapshot) -> bool {
    let parts = snapshot.desired.parts.iter().filter(|part| matches!(part.content, PartContent::Flows(_)));
    let sessions =
        snapshot.desired.sessions.iter().filter(|session| matches!(session.content, SessionContent::Flows(_)));
    let keys = parts.map(UnitKey::of_part).chain(sessions.map(UnitKey::of_session));
    let states: Vec<&UnitState> = keys.filter_map(|key| snapshot.units.get(&key)).map(|unit| &unit.state).collect();
    !states.is_empty() && states.iter().all(|state| matches!(state, UnitState::Refused(_)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use trilobite_crds::node::{Desired, ProfilePartSpec, Source, SourceKind};

    use super::*;
    use crate::{loss::stack_source, problem::Problem, report::status::UnitReport};

    fn part(name: &str, content: serde_json::Value) -> ProfilePartSpec {
        let source = Source { kind: SourceKind::ObservabilityStack, namespace: None, name: name.into(), generation: 1 };
        ProfilePartSpec { source, digest: String::new(), content: serde_json::from_value(content).unwrap() }
    }

    fn flows(name: &str) -> ProfilePartSpec {
        let sizes = serde_json::json!({"pods": {}, "flowEntries": 4096, "ringBytes": 4096});
        part(name, serde_json::json!({ "flows": sizes }))
    }

    fn with(parts: &[(ProfilePartSpec, UnitState)]) -> Snapshot {
        let units = parts.iter().map(|(part, state)| {
            let (source, state) = (part.source.clone(), state.clone());
            (UnitKey::of_part(part), UnitReport { source, state, part: Some(part.digest.as_str().into()) })
        });
        let parts = parts.iter().map(|(part, _)| part.clone()).collect();
        let desired = Arc::new(Desired { parts, ..Desired::default() });
        Snapshot { units: units.collect(), desired, ..Snapshot::default() }
    }

    fn refused() -> UnitState {
        UnitState::Refused(Problem::BtfMissing)
    }

    fn active() -> UnitState {
        UnitState::Active { notes: Vec::new() }
    }

    fn facts() -> Facts {
        let all = ["CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN", "CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH", "CAP_SYSLOG"];
        Facts { capabilities: all.map(String::from).into(), ..Facts::default() }
    }

    #[test]
    fn node_is_unhealthy_when_not_ready_or_with_a_problem() {
        assert_eq!(unhealthy_message(&with(&[(flows("a"), active())]), &facts()), None);
        assert!(unhealthy_message(&with(&[(flows("a"), refused())]), &facts()).unwrap().contains("BTF"));
        assert!(unhealthy_message(&Snapshot::default(), &Facts::default()).unwrap().contains("CAP_BPF"));
        let problem = Problem::LastGoodRefused { detail: "cut short".into() };
        let with_problem = Snapshot { node_problems: vec![(stack_source(), problem)], ..Snapshot::default() };
        assert!(unhealthy_message(&with_problem, &facts()).unwrap().contains("cut short"));
    }

    #[test]
    fn flows_are_refused_when_all_their_units_are() {
        let processes = part("p", serde_json::json!({"processes": {"pods": {}, "ringBytes": 4096}}));
        assert!(!flows_are_refused(&with(&[(processes, refused())])));
        assert!(!flows_are_refused(&with(&[(flows("a"), refused()), (flows("b"), active())])));
        assert!(flows_are_refused(&with(&[(flows("a"), refused()), (flows("b"), refused())])));
    }
}
