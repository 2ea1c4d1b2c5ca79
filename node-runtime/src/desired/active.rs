//! The desired state together with the older parts that stay active because their new version was refused. Persisted, so that
//! this holds across a restart of the agent. Pure.

use std::mem::{Discriminant, discriminant};

use serde::{Deserialize, Serialize};
use trilobite_crds::node::{Desired, PartContent, ProfilePartSpec, Source, SourceKind};

/// The desired state, and the previous versions that are active where it was refused.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ActiveState {
    /// As the operator or the files asked.
    #[serde(flatten)]
    pub desired: Desired,
    /// Parts that stay active because `desired` has a refused version in their place. The stored name is older than the field's.
    #[serde(default, rename = "standing", skip_serializing_if = "Vec::is_empty")]
    pub previous_versions: Vec<ProfilePartSpec>,
}

impl ActiveState {
    /// `desired` with the previous versions in place of the refused ones; none when nothing was refused. An agent that applies
    /// this first, and `desired` after it, has the same parts active as the agent that wrote it.
    pub fn with_previous_versions(&self) -> Option<Desired> {
        if self.previous_versions.is_empty() {
            return None;
        }
        let mut before = self.desired.clone();
        for previous in &self.previous_versions {
            before.parts.retain(|part| !is_version_of(part, previous));
            before.parts.push(previous.clone());
        }
        Some(before)
    }
}

/// Whether two parts are versions of one unit.
fn is_version_of(a: &ProfilePartSpec, b: &ProfilePartSpec) -> bool {
    unit_name(a) == unit_name(b)
}

/// What all versions of a unit have in common.
type UnitName<'a> = (Discriminant<PartContent>, bool, SourceKind, Option<&'a str>, &'a str);

/// The name of a part's unit. The stack's processes and flows are two units of one resource, and a dry run is no version of a
/// policy that is loaded.
pub fn unit_name(part: &ProfilePartSpec) -> UnitName<'_> {
    let Source { kind, namespace, name, .. } = &part.source;
    (discriminant(&part.content), part.content.is_dry_run(), *kind, namespace.as_deref(), name)
}

/// Whether the layer of this part keeps the old version active when the new one is refused. Flows share their attachments, so
/// their old version ends.
pub fn keeps_previous_version(part: &ProfilePartSpec) -> bool {
    match part.content {
        PartContent::Processes(_) | PartContent::Tracepoints(_) => true,
        PartContent::Policy(_) => !part.content.is_dry_run(),
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
    fn previous_version_replaces_only_the_refused_part() {
        let desired = Desired {
            parts: vec![tracepoints("shell", 2), tracepoints("fossil", 1), processes("shell", 2)],
            ..Desired::default()
        };
        let kept = ActiveState { desired, previous_versions: vec![tracepoints("shell", 1)] };
        let before = kept.with_previous_versions().unwrap().parts;
        assert_eq!(before, [tracepoints("fossil", 1), processes("shell", 2), tracepoints("shell", 1)]);
        assert_eq!(ActiveState { previous_versions: Vec::new(), ..kept }.with_previous_versions(), None);
    }

    #[test]
    fn state_of_an_older_agent_is_read() {
        let desired = Desired { parts: vec![tracepoints("shell", 2)], ..Desired::default() };
        let kept: ActiveState = serde_json::from_slice(&serde_json::to_vec(&desired).unwrap()).unwrap();
        assert_eq!(kept, ActiveState { desired, previous_versions: Vec::new() });
    }
}
