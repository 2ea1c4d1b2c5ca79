//! Event filters of GetEvents and of exports. All fields that a filter sets must hold; one member of a list is enough. An
//! event passes if a filter of the allow list holds, or the list is empty, and no filter of the deny list holds. Events that
//! cannot come and invalid patterns are refused by name.

mod capabilities;
mod expression;
mod impossible;
mod labels;
mod pattern;
mod refusal;
#[cfg(test)]
mod tests;

use tonic::Status;
use trilobite_api::tetragon as api;

use self::{
    capabilities::CapabilityFilter,
    expression::Expression,
    impossible::impossible_field,
    labels::LabelSelector,
    pattern::PatternField,
    refusal::{Refusal, parse_each, refusal},
};
use super::{EventEncoder, health_check};
use crate::{
    identity::Process,
    layers::security::{SecurityEvent, SecurityEventKind},
};

pub(crate) use impossible::EVENT_TYPES;

pub struct EventFilters {
    allow: Vec<Filter>,
    deny: Vec<Filter>,
    /// For expressions, which look at the message of an event.
    encoder: Option<EventEncoder>,
}

#[derive(Default)]
struct Filter {
    health_check: Option<bool>,
    event_set: Option<Vec<i32>>,
    pids: Option<Vec<u32>>,
    pid_sets: Option<Vec<u32>>,
    namespaces: Option<Vec<String>>,
    policies: Option<Vec<String>>,
    labels: Option<Vec<LabelSelector>>,
    capabilities: Option<CapabilityFilter>,
    expressions: Option<Vec<Expression>>,
    in_init_tree: Option<bool>,
    patterns: Vec<PatternField>,
}

impl EventFilters {
    /// Filters without expressions; one that has them is refused.
    #[cfg(test)]
    pub fn new(allow: Vec<api::Filter>, deny: Vec<api::Filter>) -> Result<Self, Refusal> {
        Self::with_encoder(allow, deny, &super::samples::encoder())
    }

    pub fn with_encoder(
        allow: Vec<api::Filter>,
        deny: Vec<api::Filter>,
        encoder: &EventEncoder,
    ) -> Result<Self, Refusal> {
        for (at, filter) in allow.iter().enumerate() {
            if let Some(fault) = impossible_field(filter) {
                return Err(Box::new(Status::invalid_argument(format!("allow_list[{at}].{fault}"))));
            }
        }
        let list = |filters: Vec<api::Filter>, name: &str| {
            let numbered = filters.into_iter().enumerate();
            numbered.map(|(at, filter)| Filter::new(filter, &format!("{name}[{at}]"))).collect::<Result<Vec<_>, _>>()
        };
        let (allow, deny) = (list(allow, "allow_list")?, list(deny, "deny_list")?);
        let has_expressions = allow.iter().chain(&deny).any(|filter| filter.expressions.is_some());
        Ok(Self { allow, deny, encoder: has_expressions.then(|| encoder.clone()) })
    }

    pub fn pass(&self, event: &SecurityEvent) -> bool {
        // Made once for all expressions.
        let message = self.encoder.as_ref().map(|encoder| encoder.message_with(event, true));
        let message = message.as_ref();
        (self.allow.is_empty() || self.allow.iter().any(|filter| filter.holds(event, message)))
            && !self.deny.iter().any(|filter| filter.holds(event, message))
    }

    /// Events must have their ancestors for these filters.
    pub fn want_ancestors(&self) -> bool {
        self.encoder.is_some()
            || self
                .allow
                .iter()
                .chain(&self.deny)
                .any(|filter| filter.pid_sets.is_some() || filter.patterns.iter().any(PatternField::is_about_ancestors))
    }
}

impl Filter {
    fn new(from: api::Filter, path: &str) -> Result<Self, Refusal> {
        let patterns = PatternField::all_of(&from, path)?;
        let api::Filter {
            namespace,
            health_check,
            pid,
            pid_set,
            event_set,
            labels,
            policy_names,
            capabilities,
            cel_expression,
            in_init_tree,
            ..
        } = from;
        Ok(Self {
            health_check,
            event_set: unless_empty(event_set),
            pids: unless_empty(pid),
            pid_sets: unless_empty(pid_set),
            namespaces: unless_empty(namespace),
            policies: unless_empty(policy_names),
            labels: unless_empty(parse_each(&labels, &format!("{path}.labels"), LabelSelector::parse)?),
            capabilities: capabilities
                .map(|sets| CapabilityFilter::new(&sets))
                .transpose()
                .map_err(|reason| refusal(&format!("{path}.capabilities"), &reason))?,
            expressions: unless_empty(parse_each(
                &cel_expression,
                &format!("{path}.cel_expression"),
                Expression::compile,
            )?),
            in_init_tree,
            patterns,
        })
    }

    /// The message is there if a filter has expressions.
    fn holds(&self, event: &SecurityEvent, message: Option<&api::GetEventsResponse>) -> bool {
        let Self {
            health_check,
            event_set,
            pids,
            pid_sets,
            namespaces,
            policies,
            labels,
            capabilities,
            expressions,
            in_init_tree,
            patterns,
        } = self;
        let process = &event.process;
        let named = process.pod.as_ref().filter(|place| !place.pod.name.is_empty());
        let namespace = match &process.pod {
            None => Some(""),
            // Of a container whose pod is not known yet: neither the host nor any namespace.
            Some(_) => named.map(|place| place.pod.namespace.as_str()),
        };
        let is_descendant = |of: &[u32]| lineage(event).any(|process| of.contains(&process.key.pid));
        event_set.as_ref().is_none_or(|set| set.contains(&event.kind.event_type().into()))
            && pids.as_ref().is_none_or(|pids| pids.contains(&process.process.key.pid))
            && namespaces.as_ref().is_none_or(|wanted| wanted.iter().any(|one| Some(one.as_str()) == namespace))
            && policies.as_ref().is_none_or(|wanted| wanted.iter().any(|one| policy(event) == Some(one)))
            // As with Tetragon, unknown counts as false.
            && in_init_tree.is_none_or(|wanted| wanted == process.process.in_init_tree.unwrap_or_default())
            && capabilities.as_ref().is_none_or(|filter| filter.holds(&process.process))
            && labels.as_ref().is_none_or(|selectors| {
                named.is_some_and(|place| selectors.iter().any(|selector| selector.matches(&place.pod.labels)))
            })
            && health_check.is_none_or(|wanted| wanted == health_check::is_health_check(event))
            && pid_sets.as_ref().is_none_or(|of| is_descendant(of))
            && patterns.iter().all(|field| field.matches(event))
            && expressions.as_ref().is_none_or(|expressions| {
                message.is_some_and(|message| expressions.iter().any(|expression| expression.holds(message)))
            })
    }
}

/// The process, its parent and further ancestors.
fn lineage(event: &SecurityEvent) -> impl Iterator<Item = &Process> {
    let ancestors = event.parent.iter().chain(&event.ancestors);
    std::iter::once(&event.process).chain(ancestors).map(|located| &*located.process)
}

fn policy(event: &SecurityEvent) -> Option<&str> {
    match &event.kind {
        SecurityEventKind::Hook(hook) => Some(&hook.selector.policy),
        SecurityEventKind::Exec | SecurityEventKind::Exit { .. } => None,
    }
}

fn unless_empty<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}
