//! Decides which cgroups and processes belong to a profile. If the pod of a cgroup is not known yet, the worker's question waits for
//! the pod, for a limited time.

use trilobite_worker_wire::ProcessImage;

use super::spec::{ProfileTarget, ProfiledPod};
use crate::{
    identity::pending::{Disposition, PendingEvents, PendingLimits},
    layers::application::{
        membership::{CgroupAnswer, CgroupQuestions, Membership, QUESTIONS_MAX, UNKNOWN_MAX_NS},
        process_inspector::InspectionRequest,
    },
};

/// An answer to the worker.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Cgroup(CgroupAnswer),
    /// `pod/container` of a cgroup.
    Name {
        cgroup: u64,
        name: String,
    },
    /// The process is in a selected pod: inspect it.
    Inspect(InspectionRequest),
    /// The process is not in a selected pod, or its pod did not become known.
    Refuse(ProcessImage),
}

pub(super) struct MembershipResolver {
    target: ProfileTarget,
    /// Cgroups of samples that wait in the worker.
    cgroups: CgroupQuestions,
    inspections: PendingEvents<InspectionRequest>,
    /// Cgroups whose names the worker wants.
    names: PendingEvents<u64>,
    /// Sampling has ended.
    finished: bool,
}

impl MembershipResolver {
    pub(super) fn new(target: ProfileTarget) -> Self {
        let limits = |per_cgroup| PendingLimits { total: QUESTIONS_MAX, per_cgroup };
        let (names, inspections) = (PendingEvents::new(limits(1)), PendingEvents::new(limits(QUESTIONS_MAX)));
        Self { target, cgroups: CgroupQuestions::new(), inspections, names, finished: false }
    }

    /// The pods that are selected now.
    pub(super) fn selected_pods(&self) -> Vec<ProfiledPod> {
        (self.target.pods)()
    }

    /// Answers the worker about the name of a cgroup; none if its pod is not known yet.
    pub(super) fn name_cgroup(&mut self, cgroup: u64, now_ns: u64) -> Option<Decision> {
        match (self.target.container_name)(cgroup) {
            None if !self.finished && self.names.has(cgroup) => None,
            None if !self.finished && self.names.has_room(cgroup) => {
                self.names.push(cgroup, now_ns, cgroup);
                None
            }
            name => Some(named(cgroup, name)),
        }
    }

    /// Answers all questions for names, as far as they are known; from now on each is answered at once. The worker makes its
    /// result, and nothing of it waits for a name.
    pub(super) fn finish_names(&mut self) -> Vec<Decision> {
        self.finished = true;
        let expired = self.names.review(0, usize::MAX, |_, _, _| Disposition::Expire).expired;
        expired.into_iter().map(|cgroup| named(cgroup, (self.target.container_name)(cgroup))).collect()
    }

    /// Answers the worker about a cgroup; none if its pod is not known yet.
    pub(super) fn decide_cgroup(&mut self, cgroup: u64, now_ns: u64) -> Option<Decision> {
        let membership = (self.target.membership)(cgroup);
        self.cgroups.decide(cgroup, membership, now_ns).map(Decision::Cgroup)
    }

    /// Decides whether a process may be inspected; none if its pod is not known yet.
    pub(super) fn decide_inspection(&mut self, request: InspectionRequest, now_ns: u64) -> Option<Decision> {
        match (self.target.membership)(request.cgroup) {
            Membership::Selected => Some(Decision::Inspect(request)),
            Membership::Unknown if self.inspections.has_room(request.cgroup) => {
                self.inspections.push(request.cgroup, now_ns, request);
                None
            }
            Membership::NotSelected | Membership::Unknown => Some(Decision::Refuse(request.image)),
        }
    }

    /// Decides about what waits, as far as the pods are known by now or the time is over.
    pub(super) fn review(&mut self, now_ns: u64) -> Vec<Decision> {
        let Self { target, cgroups, inspections, names, .. } = self;
        let cgroups = cgroups.review(now_ns, &target.membership);
        let inspections =
            inspections.review(now_ns, usize::MAX, |cgroup, _, age_ns| (target.membership)(cgroup).disposition(age_ns));
        let names = names.review(now_ns, usize::MAX, |cgroup, _, age_ns| match (target.container_name)(cgroup) {
            Some(_) => Disposition::Deliver,
            None if age_ns < UNKNOWN_MAX_NS => Disposition::Wait,
            None => Disposition::Expire,
        });
        let names = names.delivered.into_iter().chain(names.expired);
        let refused = inspections.dropped.into_iter().chain(inspections.expired);
        (cgroups.into_iter().map(Decision::Cgroup))
            .chain(inspections.delivered.into_iter().map(Decision::Inspect))
            .chain(refused.map(|request| Decision::Refuse(request.image)))
            .chain(names.map(|cgroup| named(cgroup, (target.container_name)(cgroup))))
            .collect()
    }

    /// Forgets all questions: the worker that asked has died.
    pub(super) fn clear(&mut self) {
        self.cgroups.clear();
        self.inspections.clear();
        self.names.clear();
    }
}

fn named(cgroup: u64, name: Option<String>) -> Decision {
    Decision::Name { cgroup, name: name.unwrap_or_else(|| format!("[cgroup {cgroup}]")) }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };

    use super::*;

    const REQUEST: InspectionRequest = InspectionRequest { image: ProcessImage { pid: 7, ktime: 1 }, cgroup: 3 };

    /// The pod of cgroup 3 is selected, and known once the flag is set. The pod of every other cgroup is not selected.
    fn resolver() -> (MembershipResolver, Arc<AtomicBool>) {
        let known = Arc::new(AtomicBool::new(false));
        let pod_is_known = known.clone();
        let membership = move |cgroup| match cgroup {
            3 if pod_is_known.load(Ordering::Relaxed) => Membership::Selected,
            3 => Membership::Unknown,
            _ => Membership::NotSelected,
        };
        let name_is_known = known.clone();
        let container_name = move |cgroup| name_is_known.load(Ordering::Relaxed).then(|| format!("cart-{cgroup}/app"));
        let target = ProfileTarget {
            membership: Box::new(membership),
            pods: Box::new(Vec::new),
            container_name: Box::new(container_name),
        };
        (MembershipResolver::new(target), known)
    }

    #[test]
    fn known_pods_are_decided_at_once() {
        let (mut resolver, _) = resolver();
        assert_eq!(
            resolver.decide_cgroup(4, 0),
            Some(Decision::Cgroup(CgroupAnswer { cgroup: 4, selected: Some(false) }))
        );
        let request = InspectionRequest { cgroup: 4, ..REQUEST };
        assert_eq!(resolver.decide_inspection(request, 0), Some(Decision::Refuse(REQUEST.image)));
    }

    #[test]
    fn questions_wait_until_the_pod_is_known() {
        let (mut resolver, known) = resolver();
        assert_eq!((resolver.decide_cgroup(3, 0), resolver.decide_cgroup(3, 0)), (None, None));
        assert_eq!(resolver.decide_inspection(REQUEST, 0), None);
        assert!(resolver.review(UNKNOWN_MAX_NS - 1).is_empty());
        known.store(true, Ordering::Relaxed);
        let decisions = resolver.review(UNKNOWN_MAX_NS - 1);
        assert_eq!(
            decisions,
            [Decision::Cgroup(CgroupAnswer { cgroup: 3, selected: Some(true) }), Decision::Inspect(REQUEST)]
        );
    }

    #[test]
    fn questions_about_an_unknown_pod_expire() {
        let (mut resolver, _) = resolver();
        resolver.decide_cgroup(3, 0);
        resolver.decide_inspection(REQUEST, 0);
        let decisions = resolver.review(UNKNOWN_MAX_NS);
        assert_eq!(
            decisions,
            [Decision::Cgroup(CgroupAnswer { cgroup: 3, selected: None }), Decision::Refuse(REQUEST.image)]
        );
        assert!(resolver.review(UNKNOWN_MAX_NS).is_empty());
    }

    #[test]
    fn name_of_a_cgroup_waits_for_its_pod_but_not_for_the_result() {
        let name = |name: &str| Decision::Name { cgroup: 3, name: name.into() };
        let (mut waiting, known) = resolver();
        assert_eq!((waiting.name_cgroup(3, 0), waiting.name_cgroup(3, 0)), (None, None));
        assert!(waiting.review(UNKNOWN_MAX_NS - 1).is_empty());
        known.store(true, Ordering::Relaxed);
        assert_eq!(waiting.review(UNKNOWN_MAX_NS - 1), [name("cart-3/app")]);
        assert_eq!(waiting.name_cgroup(3, 0), Some(name("cart-3/app")));

        let (mut finished, _) = resolver();
        assert_eq!(finished.name_cgroup(3, 0), None);
        assert_eq!(finished.finish_names(), [name("[cgroup 3]")]);
        assert_eq!(finished.name_cgroup(3, 0), Some(name("[cgroup 3]")));
    }

    #[test]
    fn waiting_questions_are_limited_and_forgotten_with_their_worker() {
        let (mut resolver, _) = resolver();
        for _ in 0..QUESTIONS_MAX {
            assert_eq!(resolver.decide_inspection(REQUEST, 0), None);
        }
        assert_eq!(resolver.decide_inspection(REQUEST, 0), Some(Decision::Refuse(REQUEST.image)));
        resolver.clear();
        assert_eq!(resolver.decide_inspection(REQUEST, 0), None);
    }
}
