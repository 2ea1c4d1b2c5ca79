//! Whose a loss is: the resource that it was entered for, or the stack, so that none is without an owner.

use std::collections::BTreeMap;

use trilobite_crds::node::{Desired, Source, SourceKind, SourceLoss};

use super::{ledger::Loss, stack};

/// What was lost for each resource of `desired`, sorted. What no resource there was named for is the stack's: losses of the
/// whole node, and of resources that have gone since.
pub fn by_source(losses: &[Loss], desired: &Desired) -> Vec<SourceLoss> {
    let parts = desired.parts.iter().map(|part| &part.source);
    let sources: BTreeMap<String, &Source> =
        parts.chain(desired.sessions.iter().map(|session| &session.source)).map(|it| (it.to_string(), it)).collect();
    let of_stack = sources.values().find(|source| source.kind == SourceKind::ObservabilityStack);
    let of_stack = of_stack.map_or_else(stack, |source| Source::clone(source));
    let mut sums: BTreeMap<(Source, &str, &str), u64> = BTreeMap::new();
    for loss in losses {
        let source = sources.get(&loss.of).map_or_else(|| of_stack.clone(), |source| Source::clone(source));
        *sums.entry((source, loss.place.as_str(), loss.kind)).or_default() += loss.count;
    }
    let entry = |((source, place, kind), count): ((Source, &str, &str), u64)| SourceLoss {
        source,
        place: place.into(),
        kind: kind.into(),
        count: i64::try_from(count).unwrap_or(i64::MAX),
    };
    sums.into_iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use trilobite_crds::node::{PartContent, PodScope, ProcessesPart, ProfilePartSpec};

    use super::*;
    use crate::report::Place;

    fn part(kind: SourceKind, name: &str) -> ProfilePartSpec {
        ProfilePartSpec {
            source: Source { kind, namespace: None, name: name.into(), generation: 7 },
            digest: String::new(),
            content: PartContent::Processes(ProcessesPart { pods: PodScope::default(), ring_bytes: 4096 }),
        }
    }

    fn lost(of: &str, kind: &'static str, count: u64) -> Loss {
        Loss { place: Place::IdentityRing, of: of.into(), kind, count }
    }

    fn told(losses: &[Loss], desired: &Desired) -> Vec<(String, i64, String, i64)> {
        let line = |loss: SourceLoss| (loss.source.to_string(), loss.source.generation, loss.kind, loss.count);
        by_source(losses, desired).into_iter().map(line).collect()
    }

    #[test]
    fn losses_of_the_node_are_the_stacks_and_never_a_policys() {
        let parts = vec![part(SourceKind::TracingPolicy, "opens"), part(SourceKind::ObservabilityStack, "default")];
        let desired = Desired { parts, ..Desired::default() };
        let losses = [lost("", "exec", 2), lost("", "exit", 1), lost("TracingPolicy/opens", "", 5)];
        assert_eq!(
            told(&losses, &desired),
            [
                ("ObservabilityStack/default".into(), 7, "exec".into(), 2),
                ("ObservabilityStack/default".into(), 7, "exit".into(), 1),
                ("TracingPolicy/opens".into(), 7, String::new(), 5),
            ]
        );
    }

    #[test]
    fn a_loss_does_not_vanish_with_the_resource_that_it_was_for() {
        let losses = [lost("TracingPolicy/gone", "", 2), lost("AppProfile/shop/gone", "", 3)];
        let stack = ("ObservabilityStack/default".into(), 0, String::new(), 5);
        assert_eq!(told(&losses, &Desired::default()), [stack]);
    }
}
