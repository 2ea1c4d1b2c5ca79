//! The planner: turns user resources into a NodeProfile and its ProfileParts. Pure; operator and agent call it and must agree.

pub mod budget;
mod capacity;
mod digest;
mod namespace_budget;
mod network;
mod policy_part;
mod refusal;
mod requests;
mod session;
mod standing;

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

pub use capacity::{MAX_NAMESPACED_BYTES, MAX_NAMESPACED_PARTS, MAX_PARTS, MAX_PROFILE_BYTES};
pub use digest::{content_digest, object_name, part_digest, profile_digest};
pub use namespace_budget::{NamespaceClaim, above_namespace_budget};
pub use refusal::Refusal;
pub use session::{session_for_capture, session_for_profile};

use crate::{
    CiliumTracingPolicy, CiliumTracingPolicyNamespaced, ObservabilityStack, TracingPolicy, TracingPolicyNamespaced,
    TracingPolicySpec, UserKind,
    app_profile::MIN_PROFILE_BUDGET,
    node::{
        FlowsPart, NodeProfile, NodeProfileSpec, PartContent, PartRef, PodScope, ProcessesPart, ProfilePart,
        ProfilePartSpec, Source,
    },
    selector,
    stack::{Layer, LayerMode, LayerView},
    user_kind::is_dry_run,
};
use capacity::{ProfileCapacity, json_bytes};
use network::{metric_refusals, network_settings, wants_flows};
use standing::{application_settings, standing_profile};

/// The pool of nodes until pools exist.
pub const DEFAULT_POOL: &str = "default";

/// Everything that lasts: the stack and the policies. Captures and profiles have an end and become sessions.
#[derive(Clone, Debug)]
pub struct Inputs<'a> {
    /// The stack.
    pub stack: &'a ObservabilityStack,
    /// Cluster-wide policies, in any order.
    pub policies: Vec<&'a TracingPolicy>,
    /// Policies of namespaces, in any order.
    pub namespaced_policies: Vec<&'a TracingPolicyNamespaced>,
    /// Cluster-wide policies of Tetragon's API group, in any order.
    pub cilium_policies: Vec<&'a CiliumTracingPolicy>,
    /// Policies of namespaces of Tetragon's API group, in any order.
    pub cilium_namespaced_policies: Vec<&'a CiliumTracingPolicyNamespaced>,
}

impl<'a> Inputs<'a> {
    /// A stack without policies.
    pub fn new(stack: &'a ObservabilityStack) -> Self {
        Self {
            stack,
            policies: Vec::new(),
            namespaced_policies: Vec::new(),
            cilium_policies: Vec::new(),
            cilium_namespaced_policies: Vec::new(),
        }
    }
}

/// The plan of a pool of nodes, and what is refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// The parts, sorted by name.
    pub parts: Vec<ProfilePart>,
    /// The profile, which lists exactly `parts`.
    pub profile: NodeProfile,
    /// What is refused; one resource may have several refusals.
    pub refusals: Vec<Refusal>,
}

/// Plans a pool of nodes. The same inputs give the same names and digests, whatever their order.
pub fn plan(inputs: &Inputs<'_>) -> Planned {
    let stack = inputs.stack;
    let mut planned = Planning { source: stack.source(), parts: Vec::new(), refusals: Vec::new() };
    planned.application(stack);
    let network = planned.network(stack);
    let security = planned.security(stack, inputs);
    planned.parts.extend(network.into_iter().chain(security));
    let Planning { mut parts, refusals, .. } = planned;
    if stack.spec.suspend {
        parts.clear();
    }
    parts.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    let profile = profile(stack, parts.iter().map(part_ref).collect());
    Planned { parts, profile, refusals }
}

struct Planning {
    source: Source,
    parts: Vec<ProfilePart>,
    refusals: Vec<Refusal>,
}

impl Planning {
    /// Refusals of the application layer, which has no parts: AppProfiles become sessions, the standing profile a setting.
    fn application(&mut self, stack: &ObservabilityStack) {
        let layer = stack.spec.layer(Layer::Application);
        let least = MIN_PROFILE_BUDGET;
        if let Some(budget) = layer.memory_budget_bytes.filter(|budget| *budget < least) {
            let small = budget::TooSmall { minimum: least };
            self.refusals.push(Refusal::budget_too_small(&self.source, Layer::Application, budget, small));
        }
        if self.scope(Layer::Application, layer).is_some() {
            self.refusals.extend(standing_profile(stack).err());
        }
        if let Some(allowed) = &stack.spec.application.allow_payloads
            && let Err(error) = selector::check(allowed)
        {
            self.refusals.push(Refusal::bad_selector(&self.source, "spec.application.allowPayloads", &error));
        }
    }

    /// The part for flows that the stack itself asks for.
    fn network(&mut self, stack: &ObservabilityStack) -> Option<ProfilePart> {
        let layer = stack.spec.layer(Layer::Network);
        let sizes = budget::flow_sizes(layer.memory_budget_bytes);
        let budget = layer.memory_budget_bytes.unwrap_or_default();
        let sizes = self.sizes_or_refusal(sizes.map_err(|small| (Layer::Network, budget, small)));
        self.refusals.extend(metric_refusals(stack));
        let namespace_selector = self.scope(Layer::Network, layer)?;
        let sizes = sizes.filter(|_| wants_flows(stack))?;
        let pods = Arc::new(PodScope { namespace_selector, ..PodScope::default() });
        let content = FlowsPart { pods, flow_entries: sizes.flow_entries, ring_bytes: sizes.ring_bytes };
        Some(part(&self.source, PartContent::Flows(content)))
    }

    /// The parts of policies, and the part for processes that the stack itself asks for.
    fn security(&mut self, stack: &ObservabilityStack, inputs: &Inputs<'_>) -> Vec<ProfilePart> {
        let layer = stack.spec.layer(Layer::Security);
        let sizes = budget::security_sizes(layer.memory_budget_bytes);
        let budget = layer.memory_budget_bytes.unwrap_or_default();
        let sizes = self.sizes_or_refusal(sizes.map_err(|small| (Layer::Security, budget, small)));
        let scope = self.scope(Layer::Security, layer);
        let candidates = candidates(inputs);
        let open = sizes.zip(scope).filter(|_| layer.mode != LayerMode::Disabled);
        let Some((sizes, namespace_selector)) = open else {
            let why =
                if layer.mode == LayerMode::Disabled { Refusal::layer_disabled } else { Refusal::layer_not_accepted };
            self.refusals.extend(candidates.iter().map(|candidate| why(&candidate.source, Layer::Security)));
            return Vec::new();
        };
        let processes = part(
            &self.source,
            PartContent::Processes(ProcessesPart {
                pods: Arc::new(PodScope {
                    include_host: namespace_selector.is_none(),
                    namespace_selector: namespace_selector.clone(),
                    ..PodScope::default()
                }),
                ring_bytes: sizes.identity_ring_bytes,
            }),
        );
        // Room for every part of the stack is reserved from the start, so that enabling a layer refuses no policy.
        let stack_parts = vec![part_ref(&processes), part_ref(&processes)];
        let mut capacity = ProfileCapacity::new(stack_parts.len(), json_bytes(&profile(stack, stack_parts).spec));
        let mut parts = Vec::new();
        let ring_bytes = sizes.policy_ring_bytes;
        for Candidate { source, policy, dry_run, .. } in candidates {
            match policy_part::policy_part(policy, &source, namespace_selector.as_ref(), ring_bytes, dry_run) {
                Err(refusals) => self.refusals.extend(refusals),
                Ok(content) => {
                    let part = part(&source, PartContent::Policy(content));
                    match capacity.reserve(&part_ref(&part), source.namespace.is_some()) {
                        Ok(()) => parts.push(part),
                        Err(full) => self.refusals.push(Refusal::profile_full(&source, &full)),
                    }
                }
            }
        }
        if layer.mode == LayerMode::Enabled || parts.iter().any(|part| !part.spec.content.is_dry_run()) {
            parts.push(processes);
        }
        parts
    }

    /// The layer's namespaceSelector; none, and a refusal, where it is not valid.
    fn scope(&mut self, layer: Layer, view: LayerView<'_>) -> Option<Option<LabelSelector>> {
        if let Some(Err(error)) = view.namespace_selector.map(selector::check) {
            let field = format!("{}.namespaceSelector", layer.field());
            self.refusals.push(Refusal::bad_selector(&self.source, &field, &error));
            return None;
        }
        Some(view.namespace_selector.cloned())
    }

    fn sizes_or_refusal<T>(&mut self, sizes: Result<T, (Layer, i64, budget::TooSmall)>) -> Option<T> {
        sizes
            .map_err(|(layer, budget, small)| {
                self.refusals.push(Refusal::budget_too_small(&self.source, layer, budget, small));
            })
            .ok()
    }
}

struct Candidate<'a> {
    created: Option<jiff::Timestamp>,
    source: Source,
    policy: &'a TracingPolicySpec,
    dry_run: bool,
}

/// Policies, oldest first, so that a full profile refuses the newest. A policy without a creation time is the newest, and a dry run
/// takes no policy's room.
fn candidates<'a>(inputs: &Inputs<'a>) -> Vec<Candidate<'a>> {
    let cluster = inputs.policies.iter().map(|policy| candidate(*policy, &policy.spec));
    let namespaced = inputs.namespaced_policies.iter().map(|policy| candidate(*policy, &policy.spec.0));
    let cilium_cluster = inputs.cilium_policies.iter().map(|policy| candidate(*policy, &policy.spec.0));
    let cilium_namespaced = inputs.cilium_namespaced_policies.iter();
    let cilium_namespaced = cilium_namespaced.map(|policy| candidate(*policy, &policy.spec.0));
    let mut all: Vec<_> = cluster.chain(namespaced).chain(cilium_cluster).chain(cilium_namespaced).collect();
    let age = |it: &Candidate<'a>| (it.dry_run, it.created.is_none(), it.created);
    all.sort_by(|a, b| (age(a), &a.source).cmp(&(age(b), &b.source)));
    all
}

fn candidate<'a>(object: &'a impl UserKind, policy: &'a TracingPolicySpec) -> Candidate<'a> {
    let created = object.meta().creation_timestamp.as_ref().map(|time| time.0);
    Candidate { created, source: object.source(), policy, dry_run: is_dry_run(object.meta()) }
}

fn part(source: &Source, content: PartContent) -> ProfilePart {
    let digest = part_digest(source, &content);
    let kind = format!("{:?}", source.kind);
    let words: Vec<&str> =
        [Some(kind.as_str()), source.namespace.as_deref(), Some(&source.name)].into_iter().flatten().collect();
    ProfilePart::new(
        &object_name(&words, &digest),
        ProfilePartSpec { source: source.clone(), digest: digest.clone(), content },
    )
}

fn part_ref(part: &ProfilePart) -> PartRef {
    PartRef { name: part.metadata.name.clone().unwrap_or_default(), digest: part.spec.digest.clone() }
}

fn profile(stack: &ObservabilityStack, parts: Vec<PartRef>) -> NodeProfile {
    let name = stack.source().name;
    let suspended = stack.spec.suspend;
    let export = Some(stack.spec.export.plan());
    let application = application_settings(stack);
    let network = network_settings(stack);
    let digest =
        profile_digest(&name, DEFAULT_POOL, suspended, &parts, export.as_ref(), application.as_ref(), network.as_ref());
    let spec = NodeProfileSpec {
        stack: name.clone(),
        pool: DEFAULT_POOL.into(),
        digest: digest.clone(),
        suspended,
        parts,
        export,
        application,
        network,
    };
    NodeProfile::new(&object_name(&[&name, DEFAULT_POOL], &digest), spec)
}
