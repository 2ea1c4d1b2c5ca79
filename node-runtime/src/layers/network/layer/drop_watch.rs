//! Whose dropped packets are counted, and what units are told about it.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use crate::{
    identity::Pod,
    kernel::{Facts, net_namespace},
    layers::network::{
        deliver::watched_for::WatchedFor,
        enrich::WatchTarget,
        sources::{
            FlowSink,
            drops::{DropSource, Interest},
        },
    },
    plan::flows_allowed,
    problem::Problem,
};

#[derive(Default)]
pub(super) struct DropWatch {
    pub(super) source: DropSource,
    /// Network namespaces of pods, by the pod's uid and the interface that leads there.
    namespaces: HashMap<(String, u32), u32>,
    /// Why drops are not seen.
    problem: Option<Problem>,
}

impl DropWatch {
    /// Counts drops of the pods that units select; without a cluster, of the whole machine. `process_behind` finds a process in the
    /// network namespace to which an interface leads.
    pub(super) fn watch(
        &mut self,
        is_machine: bool,
        pods: &[Arc<Pod>],
        watched_for: &WatchedFor,
        targets: &[WatchTarget],
        process_behind: impl Fn(u32, &Pod) -> Option<u32>,
    ) -> Result<(), Problem> {
        let wanted = pods.iter().filter(|pod| !pod.ended && watched_for.has_pod(&pod.uid));
        let addresses: BTreeSet<_> = wanted.flat_map(|pod| pod.ips.iter().copied()).collect();
        self.find_namespaces(targets, process_behind);
        let interfaces: HashMap<u32, u32> =
            self.namespaces.iter().map(|((_, interface), namespace)| (*namespace, *interface)).collect();
        let interest = Interest { addresses, namespaces: interfaces.keys().copied().collect() };
        let answer = self.source.watch(is_machine, &interest, interfaces);
        if let Some(problem) = answer.as_ref().err().filter(|problem| self.problem.as_ref() != Some(problem)) {
            tracing::warn!(problem = problem.message(), "dropped packets are not seen");
        }
        self.problem = answer.clone().err();
        answer
    }

    /// Remembers the network namespace of each pod: to find its processes can cost a walk over the node's cgroups.
    fn find_namespaces(&mut self, targets: &[WatchTarget], process_behind: impl Fn(u32, &Pod) -> Option<u32>) {
        let mut known = std::mem::take(&mut self.namespaces);
        for target in targets {
            let (Some(pod), index) = (&target.pod, target.interface.index) else { continue };
            let key = (pod.uid.clone(), index);
            let found = known.remove(&key).or_else(|| net_namespace::of_process(process_behind(index, pod)?));
            self.namespaces.extend(found.map(|namespace| (key, namespace)));
        }
    }

    /// Reports what was counted, and unloads.
    pub(super) fn stop(&mut self, sink: &mut FlowSink<'_>) {
        self.source.stop(sink);
        self.namespaces = HashMap::new();
        self.problem = None;
    }

    /// What every unit is told: which packets are not seen, and of which the kernel does not say why they are dropped.
    pub(super) fn notes(&self, facts: &Facts) -> Vec<Problem> {
        let no_reasons = || Problem::KernelTooOld {
            what: "the reason of a dropped packet, beside its place,".into(),
            needs: "5.17".into(),
            release: facts.release_text.clone(),
        };
        let no_reasons = self.source.has_no_reasons().then(no_reasons);
        sees_only_drops(facts).into_iter().chain(self.problem.clone()).chain(no_reasons).collect()
    }
}

/// The problem of a kernel that cannot count forwarded packets: dropped ones are seen all the same.
pub(super) fn sees_only_drops(facts: &Facts) -> Option<Problem> {
    flows_allowed(facts).err().filter(|problem| matches!(problem, Problem::KernelTooOld { .. }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Release;

    #[test]
    fn kernel_too_old_for_flows_sees_drops_alone() {
        let of = |major, minor| Facts { release: Release { major, minor }, btf: true, ..Facts::default() };
        assert!(matches!(sees_only_drops(&of(5, 9)), Some(Problem::KernelTooOld { .. })));
        // A capability that is missing is another problem.
        assert_eq!(sees_only_drops(&of(5, 10)), None);
        assert_eq!(DropWatch::default().notes(&of(5, 9)).len(), 1);
    }
}
