//! How many pods each policy selects, for the node's status. Counted again when pods or policies have changed, and not more often
//! than the status is written.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::watch;
use trilobite_crds::node::{Desired, SourceKind};

use crate::identity::IdentityService;

/// Least time between two counts.
const BETWEEN_COUNTS: Duration = Duration::from_secs(5);

pub(super) struct PodCounts {
    changed: watch::Receiver<u64>,
    counted: Option<(Instant, Arc<Desired>)>,
    by_part: BTreeMap<String, u64>,
}

impl PodCounts {
    pub(super) fn new(identity: &IdentityService) -> Self {
        Self { changed: identity.changed(), counted: None, by_part: BTreeMap::new() }
    }

    /// By the digest of the part.
    pub(super) fn by_part(
        &mut self,
        desired: &Arc<Desired>,
        identity: &IdentityService,
        now: Instant,
    ) -> &BTreeMap<String, u64> {
        let is_due = match &self.counted {
            Some((_, counted)) if !Arc::ptr_eq(counted, desired) => true,
            Some((at, _)) => {
                now.duration_since(*at) >= BETWEEN_COUNTS && self.changed.has_changed().unwrap_or_default()
            }
            None => true,
        };
        if is_due {
            self.changed.mark_unchanged();
            self.counted = Some((now, desired.clone()));
            let is_policy = |kind| matches!(kind, SourceKind::TracingPolicy | SourceKind::TracingPolicyNamespaced);
            let policies = desired.parts.iter().filter(|part| is_policy(part.source.kind));
            let counts = policies.map(|part| (part.digest.clone(), identity.count_pods(part.content.pods())));
            self.by_part = counts.map(|(digest, pods)| (digest, pods as u64)).filter(|(_, pods)| *pods > 0).collect();
        }
        &self.by_part
    }
}

#[cfg(test)]
mod tests {
    use trilobite_crds::node::{PartContent, PodScope, ProcessesPart, ProfilePartSpec, Source};

    use super::*;
    use crate::{identity::Pod, loss::Ledger};

    fn part(kind: SourceKind, namespace: &str) -> ProfilePartSpec {
        let pods = PodScope { namespace: Some(namespace.into()), ..PodScope::default() };
        ProfilePartSpec {
            source: Source { kind, namespace: None, name: namespace.into(), generation: 1 },
            digest: format!("digest-of-{namespace}"),
            content: PartContent::Processes(ProcessesPart { pods: Arc::new(pods), ring_bytes: 4096 }),
        }
    }

    fn pods(count: u32) -> Vec<Arc<Pod>> {
        let pod = |number: u32| {
            let uid = number.to_string();
            Arc::new(Pod {
                cgroup_uid: uid.clone(),
                uid,
                namespace: "shop".into(),
                ended: number == 0,
                ..Pod::default()
            })
        };
        (0..count).map(pod).collect()
    }

    #[test]
    fn pods_of_policies_are_counted_again_after_a_change() {
        let identity = IdentityService::new(Arc::default(), Ledger::default(), true);
        let mut counts = PodCounts::new(&identity);
        let parts = vec![
            part(SourceKind::TracingPolicy, "shop"),
            part(SourceKind::TracingPolicyNamespaced, "till"),
            part(SourceKind::ObservabilityStack, "shop"),
        ];
        let desired = Arc::new(Desired { parts, ..Desired::default() });
        let begin = Instant::now();
        let mut at = |seconds| counts.by_part(&desired, &identity, begin + Duration::from_secs(seconds)).clone();
        assert_eq!(at(0), BTreeMap::new());
        identity.set_pods(pods(3));
        assert_eq!(at(1), BTreeMap::new(), "not more often than every five seconds");
        // One of the three has ended.
        assert_eq!(at(5), BTreeMap::from([("digest-of-shop".to_owned(), 2)]));
    }
}
