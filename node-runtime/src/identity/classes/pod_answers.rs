//! What every scope answers about the pods of the node and their containers, kept so that a change of one pod or one scope does not
//! evaluate all of them. Pure.

use std::{collections::HashMap, sync::Arc};

use trilobite_crds::node::PodScope;

use super::answers::{Answer, ClassAnswers};
use crate::identity::{
    Pod,
    selection::{ClusterView, PodPart, Scopes, pod_in_scope},
};

#[derive(Debug, Default)]
pub(in crate::identity) struct PodAnswersCache(HashMap<String, PodAnswers>);

#[derive(Debug)]
struct PodAnswers {
    pod: Arc<Pod>,
    unnamed: ClassAnswers,
    /// Of the sandbox and of each container; none while no scope is about containers.
    parts: Option<(ClassAnswers, Vec<ClassAnswers>)>,
}

impl PodAnswersCache {
    /// The answers about a part of a pod.
    pub(in crate::identity) fn get(
        &mut self,
        pod: &Arc<Pod>,
        part: PodPart<'_>,
        scopes: &Scopes,
        view: &ClusterView<'_>,
    ) -> ClassAnswers {
        let is_current = |known: &PodAnswers| Arc::ptr_eq(&known.pod, pod) || known.pod == *pod;
        if !self.0.get(&pod.cgroup_uid).is_some_and(is_current) {
            self.0.insert(pod.cgroup_uid.clone(), PodAnswers::new(pod, scopes, view));
        }
        self.0.get(&pod.cgroup_uid).map_or_else(ClassAnswers::default, |known| known.of(part))
    }

    /// Every answer has to be found again: the labels of namespaces have changed.
    pub(in crate::identity) fn clear(&mut self) {
        self.0.clear();
    }

    pub(in crate::identity) fn retain(&mut self, is_known: impl Fn(&str) -> bool) {
        self.0.retain(|uid, _| is_known(uid));
    }

    /// A scope was added.
    pub(in crate::identity) fn add_scope(&mut self, id: u32, scope: &PodScope, view: &ClusterView<'_>) {
        let is_about_containers = scope.container_selectors().next().is_some();
        for PodAnswers { pod, unnamed, parts } in self.0.values_mut() {
            if is_about_containers {
                parts.get_or_insert_with(|| (*unnamed, vec![*unnamed; pod.containers.len()]));
            }
            let answer = |part| Answer::from(pod_in_scope(scope, pod, part, view));
            unnamed.set(id, answer(PodPart::Unnamed));
            let Some((sandbox, containers)) = parts else { continue };
            sandbox.set(id, answer(PodPart::Sandbox));
            for (container, answers) in pod.containers.iter().zip(containers) {
                answers.set(id, answer(PodPart::Container(container)));
            }
        }
    }

    /// A scope was removed.
    pub(in crate::identity) fn remove_scope(&mut self, id: u32) {
        for PodAnswers { unnamed, parts, .. } in self.0.values_mut() {
            unnamed.set(id, Answer::Unknown);
            let Some((sandbox, containers)) = parts else { continue };
            sandbox.set(id, Answer::Unknown);
            containers.iter_mut().for_each(|answers| answers.set(id, Answer::Unknown));
        }
    }
}

impl PodAnswers {
    fn new(pod: &Arc<Pod>, scopes: &Scopes, view: &ClusterView<'_>) -> Self {
        let answers = |part| scopes.answers(|scope| pod_in_scope(scope, pod, part, view));
        let containers = || pod.containers.iter().map(|container| answers(PodPart::Container(container))).collect();
        Self {
            unnamed: answers(PodPart::Unnamed),
            parts: scopes.needs_containers().then(|| (answers(PodPart::Sandbox), containers())),
            pod: pod.clone(),
        }
    }

    fn of(&self, part: PodPart<'_>) -> ClassAnswers {
        let Some((sandbox, containers)) = &self.parts else { return self.unnamed };
        match part {
            PodPart::Sandbox => *sandbox,
            PodPart::Container(container) => {
                let at = self.pod.containers.iter().position(|known| known.name == container.name);
                at.and_then(|at| containers.get(at)).copied().unwrap_or(self.unnamed)
            }
            PodPart::Unnamed | PodPart::Whole => self.unnamed,
        }
    }
}
