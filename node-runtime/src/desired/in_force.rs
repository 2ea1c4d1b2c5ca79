//! What a node has in force where some of what was asked is refused: a new version that fails leaves the old one in force,
//! also across a restart of the agent. Pure.

use std::mem::discriminant;

use serde::{Deserialize, Serialize};
use trilobite_crds::node::{Desired, PartContent, ProfilePartSpec, Source, SourceKind};

/// What was asked of a node, and what it had in force instead where that was refused.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct InForce {
    /// What was asked.
    #[serde(flatten)]
    pub desired: Desired,
    /// Parts that stayed in force, since what `desired` has in their place was refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub standing: Vec<ProfilePartSpec>,
}

impl InForce {
    /// What was asked before some of it was refused; none where nothing was in force before. An agent that takes this first,
    /// and then what is asked, has in force what the one before it had.
    pub fn before(&self) -> Option<Desired> {
        if self.standing.is_empty() {
            return None;
        }
        let mut before = self.desired.clone();
        for standing in &self.standing {
            before.parts.retain(|part| !in_place_of(part, standing));
            before.parts.push(standing.clone());
        }
        Some(before)
    }
}

/// Two versions of one thing. The stack asks for processes and for flows: those are two.
pub fn in_place_of(a: &ProfilePartSpec, b: &ProfilePartSpec) -> bool {
    discriminant(&a.content) == discriminant(&b.content) && name(&a.source) == name(&b.source)
}

fn name(source: &Source) -> (SourceKind, Option<&str>, &str) {
    (source.kind, source.namespace.as_deref(), &source.name)
}

/// The layer of this part leaves an old version in force when a new one fails. Flows share their attachments: there the
/// old one ends.
pub fn may_stand(part: &ProfilePartSpec) -> bool {
    match part.content {
        PartContent::Processes(_) | PartContent::Tracepoints(_) => true,
        PartContent::Flows(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &str, generation: i64, content: serde_json::Value) -> ProfilePartSpec {
        let source = Source { kind: SourceKind::TracingPolicy, namespace: None, name: name.into(), generation };
        ProfilePartSpec { source, digest: String::new(), content: serde_json::from_value(content).unwrap() }
    }

    fn processes(name: &str, generation: i64) -> ProfilePartSpec {
        part(name, generation, serde_json::json!({"processes": {"pods": {}, "ringBytes": 4096}}))
    }

    fn tracepoints(name: &str, generation: i64) -> ProfilePartSpec {
        part(name, generation, serde_json::json!({"tracepoints": {"pods": {}, "ringBytes": 4096, "hooks": []}}))
    }

    #[test]
    fn what_stands_takes_the_place_of_what_was_refused_and_of_nothing_else() {
        let desired = Desired {
            parts: vec![tracepoints("shell", 2), tracepoints("fossil", 1), processes("shell", 2)],
            ..Desired::default()
        };
        let kept = InForce { desired, standing: vec![tracepoints("shell", 1)] };
        let before = kept.before().unwrap().parts;
        assert_eq!(before, [tracepoints("fossil", 1), processes("shell", 2), tracepoints("shell", 1)]);
        assert_eq!(InForce { standing: Vec::new(), ..kept }.before(), None);
    }

    #[test]
    fn a_state_that_an_older_agent_has_kept_is_read() {
        let desired = Desired { parts: vec![tracepoints("shell", 2)], ..Desired::default() };
        let kept: InForce = serde_json::from_slice(&serde_json::to_vec(&desired).unwrap()).unwrap();
        assert_eq!(kept, InForce { desired, standing: Vec::new() });
    }
}
