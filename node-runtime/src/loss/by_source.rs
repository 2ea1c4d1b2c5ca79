//! Assigns each loss to a resource: the one it was recorded for, or the stack, so that no loss is left out of the status.

use std::collections::BTreeMap;

use trilobite_crds::node::{Desired, Source, SourceKind, SourceLoss};

use super::{ledger::Loss, stack_source};

/// Losses by resource of `desired`, sorted. Losses of the whole node, and of resources that are gone, are the stack's.
pub fn by_source(losses: &[Loss], desired: &Desired) -> Vec<SourceLoss> {
    let parts = desired.parts.iter().map(|part| &part.source);
    let sources: BTreeMap<String, &Source> =
        parts.chain(desired.sessions.iter().map(|session| &session.source)).map(|it| (it.to_string(), it)).collect();
    let of_stack = sources.values().find(|source| source.kind == SourceKind::ObservabilityStack);
    let of_stack = of_stack.map_or_else(stack_source, |source| Source::clone(source));
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
    use trilobite_crds::node::{PartContent, ProcessesPart, ProfilePartSpec};

    use super::*;
    use crate::loss::LossPoint;

    fn part(kind: SourceKind, name: &str) -> ProfilePartSpec {
        ProfilePartSpec {
            source: Source { kind, namespace: None, name: name.into(), generation: 7 },
            digest: String::new(),
            content: PartContent::Processes(ProcessesPart { pods: Default::default(), ring_bytes: 4096 }),
        }
    }

    fn lost(of: &str, kind: &'static str, count: u64) -> Loss {
        Loss { place: LossPoint::IdentityRing, of: of.into(), kind, count }
    }

    fn lines(losses: &[Loss], desired: &Desired) -> Vec<(String, i64, String, i64)> {
        let line = |loss: SourceLoss| (loss.source.to_string(), loss.source.generation, loss.kind, loss.count);
        by_source(losses, desired).into_iter().map(line).collect()
    }

    #[test]
    fn losses_of_the_node_belong_to_the_stack() {
        let parts = vec![part(SourceKind::TracingPolicy, "opens"), part(SourceKind::ObservabilityStack, "default")];
        let desired = Desired { parts, ..Desired::default() };
        let losses = [lost("", "exec", 2), lost("", "exit", 1), lost("TracingPolicy/opens", "", 5)];
        assert_eq!(
            lines(&losses, &desired),
            [
                ("ObservabilityStack/default".into(), 7, "exec".into(), 2),
                ("ObservabilityStack/default".into(), 7, "exit".into(), 1),
                ("TracingPolicy/opens".into(), 7, String::new(), 5),
            ]
        );
    }

    #[test]
    fn loss_survives_its_resource() {
        let losses = [lost("TracingPolicy/gone", "", 2), lost("AppProfile/shop/gone", "", 3)];
        let stack = ("ObservabilityStack/default".into(), 0, String::new(), 5);
        assert_eq!(lines(&losses, &Desired::default()), [stack]);
    }
}
