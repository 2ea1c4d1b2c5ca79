//! Problems of one pod or interface. The stack or FlowCapture that they belong to stays active and carries them as notes.

use std::collections::{BTreeMap, btree_map::Entry};

use crate::{layers::network::deliver::subscriber::SubscriberSpec, plan::UnitKey, problem::Problem};

#[derive(Default)]
pub(super) struct UnitNotes {
    single: BTreeMap<UnitKey, Vec<Problem>>,
    /// For the stack, which selects pods without naming them: the number of problems, and the first.
    counted: BTreeMap<UnitKey, (usize, Problem)>,
}

impl UnitNotes {
    pub(super) fn all(&self, key: &UnitKey) -> Vec<Problem> {
        let mut notes = self.single.get(key).cloned().unwrap_or_default();
        notes.extend(self.counted.get(key).map(|(count, first)| match count {
            1 => first.clone(),
            _ => Problem::LoadFailed { what: format!("watching {count} pods, e.g. this one"), detail: first.message() },
        }));
        notes
    }

    pub(super) fn add(&mut self, key: &UnitKey, problem: Problem) {
        self.single.entry(key.clone()).or_default().push(problem);
    }

    /// A session lists each pod that cannot be watched. The stack counts them, without pods in the host's network: every node
    /// has some, and no user has named them.
    pub(super) fn add_for_pod(&mut self, key: &UnitKey, spec: &SubscriberSpec, problem: &Problem) {
        if spec.session {
            self.add(key, problem.clone());
        } else if !matches!(problem, Problem::HostNetworkPod { .. }) {
            match self.counted.entry(key.clone()) {
                Entry::Vacant(entry) => drop(entry.insert((1, problem.clone()))),
                Entry::Occupied(entry) => entry.into_mut().0 += 1,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use trilobite_crds::node::{FlowsPart, SourceKind};

    use super::*;

    #[test]
    fn stack_counts_the_pods_that_cannot_be_watched() {
        let key = UnitKey { kind: SourceKind::ObservabilityStack, name: "default".into(), version: "1".into() };
        let stack =
            SubscriberSpec::from_part(&FlowsPart { pods: Default::default(), flow_entries: 256, ring_bytes: 4096 });
        let mut notes = UnitNotes::default();
        let of_pod = |pod: &str| Problem::LoadFailed { what: format!("watching pod {pod}"), detail: "no veth".into() };
        notes.add_for_pod(&key, &stack, &of_pod("shop/a"));
        assert_eq!(notes.all(&key), [of_pod("shop/a")]);
        notes.add_for_pod(&key, &stack, &of_pod("shop/b"));
        let [one] = &notes.all(&key)[..] else { panic!("not one") };
        assert!(one.message().contains("2 pods") && one.message().contains("shop/a"), "{}", one.message());
    }
}
