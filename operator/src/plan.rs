//! `Plan`: what the stack's controller last planned and applied. The policies' controllers look their outcome up here.

use trilobite_crds::{
    Planned, Refusal,
    node::{PodScope, ProfileRef, Source},
};

/// A plan whose parts and profile exist in the API server.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    planned: Planned,
    profile: ProfileRef,
    suspended: bool,
}

/// What the plan says about one generation of one policy.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum PolicyOutcome {
    Part {
        profile: ProfileRef,
        digest: String,
        pods: Box<PodScope>,
        dry_run: bool,
    },
    Refused(Vec<Refusal>),
    /// The stack is suspended, so no policy is active.
    Suspended,
    /// The plan is older than this generation.
    NotPlanned,
}

impl Plan {
    pub(crate) fn new(planned: Planned) -> Self {
        let profile = profile_ref(&planned);
        let suspended = planned.profile.spec.suspended;
        Self { planned, profile, suspended }
    }

    pub(crate) fn outcome(&self, source: &Source) -> PolicyOutcome {
        let refusals: Vec<_> =
            self.planned.refusals.iter().filter(|refusal| refusal.source == *source).cloned().collect();
        if !refusals.is_empty() {
            return PolicyOutcome::Refused(refusals);
        }
        let part = self.planned.parts.iter().find(|part| part.spec.source == *source);
        match part {
            Some(part) => PolicyOutcome::Part {
                profile: self.profile.clone(),
                digest: part.spec.digest.clone(),
                pods: Box::new(part.spec.content.pods().clone()),
                dry_run: part.spec.content.is_dry_run(),
            },
            None if self.suspended => PolicyOutcome::Suspended,
            None => PolicyOutcome::NotPlanned,
        }
    }
}

/// The reference by which a NodeRuntime points at the plan's profile.
pub(crate) fn profile_ref(planned: &Planned) -> ProfileRef {
    ProfileRef {
        name: planned.profile.metadata.name.clone().unwrap_or_default(),
        digest: planned.profile.spec.digest.clone(),
    }
}
