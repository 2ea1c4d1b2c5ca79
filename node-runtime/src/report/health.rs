//! What health says, to clients that never see the node's status: the same, from the same snapshot. Pure.

use trilobite_crds::{
    condition::ConditionStatus,
    node::{PartContent, SessionContent},
};

use super::status::{Snapshot, ready};
use crate::{
    kernel::Facts,
    layers::{UnitKey, UnitState},
};

/// What is wrong with the node, in words; nothing while it is Ready and has no problem of its own.
pub fn wrong(snapshot: &Snapshot, facts: &Facts) -> Option<String> {
    let ready = ready(snapshot, facts);
    if ready.status != ConditionStatus::True {
        return Some(ready.message);
    }
    snapshot.node_problems.first().map(|(_, problem)| problem.message())
}

/// Flows are asked for, and none can be had: whoever waits for one waits for nothing.
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
    use crate::report::{Problem, stack, status::UnitReport};

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
            (UnitKey::of_part(part), UnitReport { source, state, part: Some(part.digest.clone()) })
        });
        let parts = parts.iter().map(|(part, _)| part.clone()).collect();
        let desired = Arc::new(Desired { parts, ..Desired::default() });
        Snapshot { units: units.collect(), desired, ..Snapshot::default() }
    }

    fn refused() -> UnitState {
        UnitState::Refused(Problem::BtfMissing)
    }

    fn in_force() -> UnitState {
        UnitState::InForce { notes: Vec::new() }
    }

    fn able() -> Facts {
        let all = ["CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN", "CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH", "CAP_SYSLOG"];
        Facts { capabilities: all.map(String::from).into(), ..Facts::default() }
    }

    #[test]
    fn health_is_wrong_for_all_that_makes_the_node_not_ready_and_for_what_is_wrong_with_it() {
        assert_eq!(wrong(&with(&[(flows("a"), in_force())]), &able()), None);
        assert!(wrong(&with(&[(flows("a"), refused())]), &able()).unwrap().contains("BTF"));
        assert!(wrong(&Snapshot::default(), &Facts::default()).unwrap().contains("CAP_BPF"));
        let problem = Problem::LastGoodRefused { detail: "cut short".into() };
        let troubled = Snapshot { node_problems: vec![(stack(), problem)], ..Snapshot::default() };
        assert!(wrong(&troubled, &able()).unwrap().contains("cut short"));
    }

    #[test]
    fn flows_are_refused_when_all_that_ask_for_them_are() {
        let processes = part("p", serde_json::json!({"processes": {"pods": {}, "ringBytes": 4096}}));
        assert!(!flows_are_refused(&with(&[(processes, refused())])));
        assert!(!flows_are_refused(&with(&[(flows("a"), refused()), (flows("b"), in_force())])));
        assert!(flows_are_refused(&with(&[(flows("a"), refused()), (flows("b"), refused())])));
    }
}
