//! Whether cgroups belong to a session. If the pod of a cgroup is not known yet, the worker's question waits for the pod, for a
//! limited time.

use trilobite_worker_wire::Message;

use crate::identity::pending::{Disposition, PendingEvents, PendingLimits};

/// How long the pod of a cgroup may stay unknown.
pub(super) const UNKNOWN_MAX_NS: u64 = 5_000_000_000;
/// Questions of one kind that may wait.
pub(super) const QUESTIONS_MAX: usize = 1024;

/// Whether a cgroup belongs to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Membership {
    /// It is a selected pod's.
    Selected,
    NotSelected,
    /// Its pod is not known yet.
    Unknown,
}

impl Membership {
    /// What becomes of a question of this age.
    pub(super) fn disposition(self, age_ns: u64) -> Disposition {
        match self {
            Self::Selected => Disposition::Deliver,
            Self::NotSelected => Disposition::Drop,
            Self::Unknown if age_ns < UNKNOWN_MAX_NS => Disposition::Wait,
            Self::Unknown => Disposition::Expire,
        }
    }
}

/// The answer to a worker's question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CgroupAnswer {
    pub(super) cgroup: u64,
    /// None: its pod did not become known.
    pub(super) selected: Option<bool>,
}

impl From<CgroupAnswer> for Message {
    fn from(CgroupAnswer { cgroup, selected }: CgroupAnswer) -> Self {
        Self::CgroupMembership { cgroup, selected }
    }
}

/// Cgroups that a worker has asked about.
pub(super) struct CgroupQuestions(PendingEvents<u64>);

impl CgroupQuestions {
    pub(super) fn new() -> Self {
        Self(PendingEvents::new(PendingLimits { total: QUESTIONS_MAX, per_cgroup: 1 }))
    }

    /// The answer about a cgroup; none if its pod is not known yet.
    pub(super) fn decide(&mut self, cgroup: u64, membership: Membership, now_ns: u64) -> Option<CgroupAnswer> {
        let selected = match membership {
            Membership::Selected => Some(true),
            Membership::NotSelected => Some(false),
            Membership::Unknown if self.0.has(cgroup) => return None,
            Membership::Unknown if self.0.has_room(cgroup) => {
                self.0.push(cgroup, now_ns, cgroup);
                return None;
            }
            Membership::Unknown => None,
        };
        Some(CgroupAnswer { cgroup, selected })
    }

    /// Answers what waits, as far as the pods are known by now or the time is over.
    pub(super) fn review(&mut self, now_ns: u64, membership: impl Fn(u64) -> Membership) -> Vec<CgroupAnswer> {
        let reviewed = self.0.review(now_ns, usize::MAX, |cgroup, _, age_ns| membership(cgroup).disposition(age_ns));
        let answer = |selected| move |cgroup| CgroupAnswer { cgroup, selected };
        (reviewed.delivered.into_iter().map(answer(Some(true))))
            .chain(reviewed.dropped.into_iter().map(answer(Some(false))))
            .chain(reviewed.expired.into_iter().map(answer(None)))
            .collect()
    }

    /// Forgets all questions: the worker that asked has died.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
